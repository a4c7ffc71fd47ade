import type { Ranked } from "../api/types";
import { dec, withScale } from "../lib/decimal";
import { money, signed, tone } from "../lib/format";
import { StatusTag } from "../parts/status";

interface RankingProps {
  caption: string;
  rows: readonly Ranked[];
  /** The account whose line is looked for among its neighbours. */
  own?: string;
  /** Accounts of all programs may have several currencies. */
  currencies?: boolean;
}

/** With the four decimals that the finest have, so that the points stand above each other. */
const percent = (text: string) => withScale(dec(text), 4) ?? text;

/** Lines of a board. */
export function Ranking({ caption, rows, own, currencies = false }: RankingProps) {
  return (
    <section className="table-scroll" tabIndex={0} aria-label={caption}>
      <table className="data ranking">
        <thead>
          <tr>
            <th scope="col" className="num">
              Rank
            </th>
            <th scope="col">Trader</th>
            <th scope="col" className="num">
              Profit %
            </th>
            <th scope="col" className="num">
              Profit
            </th>
            <th scope="col" className="num">
              Balance
            </th>
            {currencies && <th scope="col">Currency</th>}
            <th scope="col" className="num">
              Trades
            </th>
            <th scope="col">Account</th>
            <th scope="col">Status</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr
              key={row.account}
              className={row.you ? "you" : undefined}
              aria-current={row.account === own ? "true" : undefined}
            >
              <td className="num rank">{row.rank}</td>
              <td className="trader">
                {row.trader} {row.you && <span className="tag demo">You</span>}
              </td>
              <td className={`num ${tone(row.profit_percent)}`}>{signed(percent(row.profit_percent))}</td>
              <td className={`num ${tone(row.profit)}`}>{signed(row.profit)}</td>
              <td className="num">{money(row.balance)}</td>
              {currencies && <td>{row.currency}</td>}
              <td className="num">{row.trades}</td>
              <td>{row.account}</td>
              <td>
                <StatusTag status={row.status} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
