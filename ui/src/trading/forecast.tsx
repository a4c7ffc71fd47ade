import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { overridesQuery } from "../api/queries";
import type { Account, Forecast, Position } from "../api/types";
import { money, wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { Decisions } from "../operate/decisions";
import { Failure, Skeleton } from "../parts/states";
import {
  effectWords,
  figureText,
  type MovingFloor,
  movingFloors,
  outcomeSentence,
  outcomeTitle,
} from "./ahead";

interface ForecastTabProps {
  account: Account;
  positions: readonly Position[];
  forecast: UseQueryResult<Forecast>;
}

/** What would come next if prices stayed. */
export function ForecastTab({ account, positions, forecast }: ForecastTabProps) {
  // One that is a moment old stays while it is asked again, even in vain.
  if (forecast.data === undefined)
    return forecast.isError ? (
      <Failure error={forecast.error} retry={() => forecast.refetch()} />
    ) : (
      <Skeleton lines={4} height={22} label="Loading the forecast" />
    );
  const ahead = forecast.data;
  if (account.status !== "active")
    return <p className="none">This account has ended: nothing is ahead of it any more.</p>;
  return (
    <div className="forecast">
      <section className={`outcome-note ${ahead.next_reset.fires ? "fires" : "holds"}`}>
        <h3>{outcomeTitle(ahead)}</h3>
        <p>
          {outcomeSentence(ahead)} <span className="fine">Seen at {utcSeconds(ahead.as_of)} UTC.</span>
        </p>
      </section>
      <div className="forecast-grid">
        <Firing ahead={ahead} positions={positions} />
        <AfterReset floors={movingFloors(account.floors, ahead.next_reset.floors)} />
        <Coming ahead={ahead} zone={account.next_reset.zone} />
      </div>
      <ByHand accountId={account.id} />
      <section>
        <h3>Rules with their numbers</h3>
        <div className="rule-numbers">
          {ahead.rules.map((rule, index) => (
            <details key={`${index}-${rule.rule}`} data-rule={rule.rule}>
              <summary>
                <b>{rule.label}</b> <span className="muted">{keyFigures(rule.figures)}</span>
              </summary>
              <p>{rule.sentence}</p>
              <dl>
                {rule.figures.map((figure) => (
                  <div key={figure.name}>
                    <dt>{figure.label}</dt>
                    <dd>{figureText(figure.value)}</dd>
                  </div>
                ))}
              </dl>
            </details>
          ))}
        </div>
      </section>
    </div>
  );
}

/** Rules that the firm decided on for this account alone. */
function ByHand({ accountId }: { accountId: string }) {
  const overrides = useQuery(overridesQuery(accountId));
  if (overrides.isError) return <Failure error={overrides.error} retry={() => overrides.refetch()} />;
  if (!overrides.data || overrides.data.length === 0) return null;
  return (
    <section>
      <h3>Decided by the firm for this account</h3>
      <Decisions decisions={overrides.data} />
    </section>
  );
}

/** The one or two numbers that a trader looks for first. */
function keyFigures(figures: Forecast["rules"][number]["figures"]): string {
  const text = (name: string) => {
    const found = figures.find((figure) => figure.name === name);
    return found ? figureText(found.value) : null;
  };
  const room = text("room");
  if (room !== null) return `floor ${text("floor") ?? "–"}, room ${room}`;
  const current = text("current");
  if (current !== null) return `${current} of ${text("target") ?? "–"}`;
  const deadline = text("deadline");
  return deadline === null ? "" : `until ${deadline}`;
}

const moveWords: Record<MovingFloor["moves"], string> = {
  up: "rises to",
  down: "falls to",
  stays: "stays at",
  unknown: "is then at",
};

function AfterReset({ floors }: { floors: readonly MovingFloor[] }) {
  return (
    <section className="table-scroll" tabIndex={0} aria-label="Floors after the next reset">
      <h3>Floors after the next reset</h3>
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Rule</th>
            <th scope="col" className="num">
              Floor now
            </th>
            <th scope="col" className="num">
              Then
            </th>
            <th scope="col" className="num">
              Room then
            </th>
          </tr>
        </thead>
        <tbody>
          {floors
            .filter((floor) => floor.rule !== "ruin" || floor.crossed)
            .map((floor, index) => (
              <tr key={`${index}-${floor.rule}`} title={floor.derivation}>
                <th scope="row">{floor.label}</th>
                <td className="num">{floor.now === null ? "–" : money(floor.now)}</td>
                <td className="num">
                  <span className="hidden">{moveWords[floor.moves]} </span>
                  <span aria-hidden="true">{arrow(floor.moves)}</span> {money(floor.floor)}
                </td>
                <td className={`num ${floor.crossed ? "loss" : ""}`}>{money(floor.room)}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </section>
  );
}

const arrow = (moves: MovingFloor["moves"]) => (moves === "up" ? "↑" : moves === "down" ? "↓" : "");

function Firing({ ahead, positions }: { ahead: Forecast; positions: readonly Position[] }) {
  return (
    <section className="table-scroll" tabIndex={0} aria-label="Firing prices">
      <h3>Prices at which a position alone would fire a floor</h3>
      {ahead.positions.length === 0 ? (
        <p className="muted">No position is open.</p>
      ) : (
        <table className="data">
          <thead>
            <tr>
              <th scope="col" className="num">
                Ticket
              </th>
              <th scope="col">Position</th>
              <th scope="col" className="num">
                Price now
              </th>
              <th scope="col" className="num">
                Fires at
              </th>
              <th scope="col">Rule</th>
            </tr>
          </thead>
          <tbody>
            {ahead.positions.map((position) => {
              const held = positions.find((found) => found.ticket === position.ticket);
              return (
                <tr key={position.ticket} data-fires={position.ticket}>
                  <td className="num">{position.ticket}</td>
                  <th scope="row">
                    {held && <span className={`side ${held.side}`}>{wordFor(held.side)}</span>}{" "}
                    {held?.quantity} {position.symbol}
                  </th>
                  <td className="num">{held?.current_price ?? "–"}</td>
                  <td className="num firing">{position.price ?? "no price in range"}</td>
                  <td>{position.label ?? "–"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      <p className="fine">
        Each price is the one on the side at which the position closes, if nothing else moved.
      </p>
    </section>
  );
}

function Coming({ ahead, zone }: { ahead: Forecast; zone: string }) {
  return (
    <section>
      <h3>Resets and deadlines</h3>
      <ul className="coming">
        {ahead.deadlines.map((deadline, index) => (
          <li key={`${index}-${deadline.rule}`}>
            <b>{utcSeconds(deadline.at)}</b> UTC
            <span>
              {deadline.label}: {effectWords[deadline.effect]}
            </span>
          </li>
        ))}
        {ahead.resets.map((reset) => (
          <li key={reset.at}>
            <b>{utcSeconds(reset.at)}</b> UTC
            <span>
              Reset, {reset.local} {zone}
              {reset.clock_change && <span className="tag expired">clocks change</span>}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
