import { useEffect, useState } from "react";
import type { Account, Floor, Objective } from "../api/types";
import { dec, isDecimal, ratio, sign, subtract } from "../lib/decimal";
import { group, money } from "../lib/format";
import { countdown } from "../lib/time";
import { CheckIcon } from "../parts/icons";
import { effectWords, figureText, isSoft } from "./ahead";
import { AskForNextPhase } from "./promotion";

/** Where a gauge changes its colour, in ten-thousandths of the allowed loss that are left. */
const WARNING = 5_000;
const DANGER = 2_500;

export function Limits({ account }: { account: Account }) {
  return (
    <section className="limits panel" aria-label="Limits and objectives">
      <header className="panel-head">
        <h2>Limits</h2>
        {account.status === "active" && <Reset reset={account.next_reset} />}
      </header>
      <div className="limits-body">
        {account.floors.filter(tells).map((floor, index) => (
          <Gauge key={`${index}-${floor.rule}`} floor={floor} />
        ))}
        {account.objectives.length > 0 && <h3>Objectives</h3>}
        {account.objectives.map((objective, index) => (
          <Progress
            key={`${index}-${objective.rule}`}
            objective={objective}
            initial={account.initial_balance}
          />
        ))}
        <AskForNextPhase account={account} />
      </div>
    </section>
  );
}

/** The floor at zero, which every account has, is worth a line only once it is the one that was crossed. */
function tells(floor: Floor): boolean {
  return floor.rule !== "ruin" || sign(dec(floor.room)) <= 0;
}

function Gauge({ floor }: { floor: Floor }) {
  const left = ratio(dec(floor.room), dec(floor.limit));
  const level = left <= DANGER ? "danger" : left <= WARNING ? "warning" : "calm";
  const over = sign(dec(floor.room)) < 0;
  return (
    <div className={`gauge ${level}`} data-rule={floor.rule}>
      <div className="gauge-line">
        <span className="gauge-name">
          {floor.label}
          {isSoft(floor.effect) && <span className="tag soft">{effectWords[floor.effect]}</span>}
          {floor.cap && <span className="tag">cap</span>}
          {floor.locked && (
            <span className="tag" title="This floor no longer moves">
              fixed
            </span>
          )}
        </span>
        <span className="gauge-room">
          <b>{money(floor.room)}</b> <small>of {money(floor.limit)}</small>
        </span>
      </div>
      <div
        className="bar"
        role="meter"
        aria-label={`${floor.label}: room left`}
        aria-valuemin={0}
        aria-valuemax={10000}
        aria-valuenow={left}
        aria-valuetext={
          over ? `over the limit by ${floor.room.slice(1)}` : `${floor.room} of ${floor.limit} left`
        }
      >
        <span style={{ width: `${left / 100}%` }} />
      </div>
      <details>
        <summary>
          {firesWhen(floor)} <b>{money(floor.floor)}</b>
        </summary>
        <p>{floor.derivation}</p>
      </details>
    </div>
  );
}

/** "Ends below", "Locks at or above": what happens, and on which side of the number. */
function firesWhen(floor: Floor): string {
  const does = isSoft(floor.effect) ? (floor.effect === "soft" ? "Locks" : "Fires") : "Ends";
  if (floor.cap) return `${does} at or above`;
  return floor.comparison === "below" ? `${does} below` : `${does} at or below`;
}

function Progress({ objective, initial }: { objective: Objective; initial: string }) {
  // A condition may count days or balances, or say a word, a date or a share.
  if (!isDecimal(objective.current) || !isDecimal(objective.target)) return <Said objective={objective} />;
  // The rule names a balance to reach; a trader thinks of the profit that leads there.
  const from = dec(objective.rule === "profit_target" ? initial : "0");
  const current = subtract(dec(objective.current), from);
  const target = subtract(dec(objective.target), from);
  const done = objective.met ? 10_000 : ratio(current, target);
  return (
    <div className={`gauge objective ${objective.met ? "met" : ""}`} data-rule={objective.rule}>
      <div className="gauge-line">
        <span className="gauge-name">
          {objective.label}
          <Met met={objective.met} />
        </span>
        <span className="gauge-room">
          <b>{group(current)}</b> <small>of {group(target)}</small>
        </span>
      </div>
      <div
        className="bar"
        role="progressbar"
        aria-label={objective.label}
        aria-valuemin={0}
        aria-valuemax={10000}
        aria-valuenow={done}
        aria-valuetext={`${current} of ${target}`}
      >
        <span style={{ width: `${done / 100}%` }} />
      </div>
    </div>
  );
}

function Said({ objective }: { objective: Objective }) {
  return (
    <div className={`gauge objective ${objective.met ? "met" : ""}`} data-rule={objective.rule}>
      <div className="gauge-line">
        <span className="gauge-name">
          {objective.label}
          <Met met={objective.met} />
        </span>
        <span className="gauge-room">
          <b>{figureText(objective.current)}</b> <small>of {figureText(objective.target)}</small>
        </span>
      </div>
    </div>
  );
}

function Met({ met }: { met: boolean }) {
  if (!met) return null;
  return (
    <span className="met-mark">
      <CheckIcon size={12} />
      <span className="hidden">met</span>
    </span>
  );
}

function Reset({ reset }: { reset: Account["next_reset"] }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <span className="reset" title={`The next trading day starts at ${reset.local}, ${reset.zone}`}>
      <span className="muted">Reset in</span> <b role="timer">{countdown(Date.parse(reset.at), now)}</b>
      <small className="muted">{reset.zone}</small>
    </span>
  );
}
