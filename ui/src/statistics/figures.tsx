import type { ReactNode } from "react";
import type { Statistics, Trades } from "../api/types";
import { figure, money, share, signed, tone } from "../lib/format";
import { ageWords } from "../lib/time";
import { whole } from "../operate/work";

const held = ({ average_held_seconds: seconds }: Trades) => (seconds === null ? "–" : ageWords(seconds));

/** A gain or loss in its colour; a dash where there is none. */
function Result({ amount }: { amount: string | null }) {
  return amount === null ? "–" : <span className={tone(amount)}>{signed(amount)}</span>;
}

function Fact({ name, note, children }: { name: string; note?: ReactNode; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
      {note && <dd className="fact-note">{note}</dd>}
    </div>
  );
}

/** All closed positions together. */
export function Figures({ statistics }: { statistics: Statistics }) {
  const { trades, best_day: bestDay, worst_day: worstDay } = statistics;
  return (
    <dl className="facts figures-grid">
      <Fact name="Realised" note={`in ${statistics.currency}, after commission`}>
        <Result amount={trades.profit} />
      </Fact>
      <Fact name="Closed positions" note={`${whole(trades.wins)} won, ${whole(trades.losses)} lost`}>
        {whole(trades.closed)}
      </Fact>
      <Fact name="Win rate" note="of the closed positions">
        {figure(trades.win_rate_percent, "\u00a0%")}
      </Fact>
      <Fact
        name="Profit factor"
        note={trades.profit_factor === null ? "nothing was lost" : "gains over losses"}
      >
        {figure(trades.profit_factor)}
      </Fact>
      <Fact name="Expectancy" note="average result">
        <Result amount={trades.expectancy} />
      </Fact>
      <Fact name="Held" note="on average">
        {held(trades)}
      </Fact>
      <Fact name="Average win" note="of the won ones">
        {trades.average_win === null ? "–" : money(trades.average_win)}
      </Fact>
      <Fact name="Average loss" note="of the lost ones">
        {trades.average_loss === null ? "–" : money(trades.average_loss)}
      </Fact>
      <Fact name="Best position">
        <Result amount={trades.best} />
      </Fact>
      <Fact name="Worst position">
        <Result amount={trades.worst} />
      </Fact>
      <Fact name="Best day" note={bestDay && `${bestDay.day} UTC`}>
        <Result amount={bestDay?.profit ?? null} />
      </Fact>
      <Fact name="Worst day" note={worstDay && `${worstDay.day} UTC`}>
        <Result amount={worstDay?.profit ?? null} />
      </Fact>
    </dl>
  );
}

/** Fewer days than these say little of a year. */
const FEW_DAYS = 20;

/** The usual figures over the returns of days. */
export function Returns({ returns }: { returns: Statistics["returns"] }) {
  if (returns.days === 0)
    return <p className="muted">The first return is that of the first day from reset to reset.</p>;
  return (
    <>
      <p className="muted">
        Over {whole(returns.days)} {returns.days === 1 ? "trading day" : "trading days"}, from reset to reset,
        without what was paid out or added. A risk-free rate of 0; value at risk is historical.
        {returns.days < FEW_DAYS && " So few days say little of a year yet."}
      </p>
      <dl className="facts figures-grid">
        <Fact name="Sharpe ratio" note="252 days a year">
          {figure(returns.sharpe_252)}
        </Fact>
        <Fact name="Sortino ratio" note="252 days a year">
          {figure(returns.sortino_252)}
        </Fact>
        <Fact name="Deepest drawdown" note="at the ends of days">
          {share(returns.max_drawdown)}
        </Fact>
        <Fact name="Value at risk" note="1 day in 20 is worse">
          {share(returns.value_at_risk_95)}
        </Fact>
        <Fact name="Expected shortfall" note="mean of the worst 1 in 20">
          {share(returns.conditional_value_at_risk_95)}
        </Fact>
        <Fact name="Yearly growth" note="252 days a year">
          {share(returns.cagr_252)}
        </Fact>
        <Fact name="Yearly growth" note="by the calendar">
          {share(returns.cagr_calendar)}
        </Fact>
      </dl>
    </>
  );
}

/** The same figures by symbol. */
export function BySymbol({ statistics }: { statistics: Statistics }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="By symbol">
      <table className="data">
        <caption className="hidden">Closed positions by symbol, in {statistics.currency}</caption>
        <thead>
          <tr>
            <th scope="col">Symbol</th>
            {[
              "Realised",
              "Closed",
              "Won",
              "Lost",
              "Win rate",
              "Profit factor",
              "Expectancy",
              "Average win",
              "Average loss",
              "Best",
              "Worst",
              "Held",
            ].map((name) => (
              <th key={name} scope="col" className="num">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {statistics.by_symbol.map(({ symbol, trades }) => (
            <tr key={symbol}>
              <th scope="row">{symbol}</th>
              <td className="num">
                <Result amount={trades.profit} />
              </td>
              <td className="num">{whole(trades.closed)}</td>
              <td className="num">{whole(trades.wins)}</td>
              <td className="num">{whole(trades.losses)}</td>
              <td className="num">{figure(trades.win_rate_percent, "\u00a0%")}</td>
              <td className="num">{figure(trades.profit_factor)}</td>
              <td className="num">
                <Result amount={trades.expectancy} />
              </td>
              <td className="num">{trades.average_win === null ? "–" : money(trades.average_win)}</td>
              <td className="num">{trades.average_loss === null ? "–" : money(trades.average_loss)}</td>
              <td className="num">
                <Result amount={trades.best} />
              </td>
              <td className="num">
                <Result amount={trades.worst} />
              </td>
              <td className="num">{held(trades)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
