import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { payoutsQuery } from "../api/queries";
import type { Payout } from "../api/types";
import { money, moneyIn } from "../lib/format";
import { isOver, methodWord } from "../lib/payouts";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { More } from "../parts/more";
import { PayoutTag } from "../parts/payout";
import { Empty, Failure, Skeleton } from "../parts/states";

/** What is under way moves by itself; it is looked at again so often. */
export const MOVES_MS = 4_000;

/** One's own payouts, the newest first. */
export function PayoutsPage() {
  useTitle("Payouts");
  const payouts = useInfiniteQuery({
    ...payoutsQuery,
    refetchInterval: ({ state }) =>
      state.data?.pages.some((page) => page.items.some((payout) => !isOver(payout.state))) ? MOVES_MS : false,
  });
  const all = payouts.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <div className="page">
      <div className="page-head">
        <h1>Payouts</h1>
        <Link className="button" to="/identity">
          Your identity
        </Link>
      </div>
      <p className="lead">
        What you asked for and where it stands. A payout is asked for on the page of its account.
      </p>
      {payouts.isPending && <Skeleton lines={4} height={28} label="Loading your payouts" />}
      {payouts.isError && !payouts.data && <Failure error={payouts.error} retry={() => payouts.refetch()} />}
      {payouts.data && all.length === 0 && (
        <Empty title="You have asked for no payout yet">
          <p>Open a funded account and its tab “Payout”: it says what may be taken out and when.</p>
          <Link className="button" to="/challenges">
            My challenges
          </Link>
        </Empty>
      )}
      {all.length > 0 && <List payouts={all} />}
      <More pages={payouts} shown={all.length} />
    </div>
  );
}

function List({ payouts }: { payouts: readonly Payout[] }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Your payouts">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Asked for, UTC</th>
            <th scope="col">State</th>
            <th scope="col">Program</th>
            <th scope="col" className="num">
              Leaves the account
            </th>
            <th scope="col" className="num">
              Your share
            </th>
            <th scope="col">How</th>
            <th scope="col">Last moved, UTC</th>
          </tr>
        </thead>
        <tbody>
          {payouts.map((payout) => (
            <tr key={payout.id} data-payout={payout.id}>
              <th scope="row" className="tab">
                <Link to={`/payouts/${payout.id}`}>{utcSeconds(payout.requested_at)}</Link>
              </th>
              <td>
                <PayoutTag state={payout.state} />
              </td>
              <td>{payout.program}</td>
              <td className="num">{money(payout.amount)}</td>
              <td className="num">{moneyIn(payout.share, payout.currency)}</td>
              <td>{methodWord(payout.method)}</td>
              <td className="tab">{utcSeconds(payout.moved_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
