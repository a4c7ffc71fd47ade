import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, NavLink, useSearchParams } from "react-router-dom";
import { meQuery, payoutQueueQuery } from "../api/queries";
import type { Payout, PayoutState } from "../api/types";
import { money, moneyIn } from "../lib/format";
import { methodWord, payoutStates, stateWord } from "../lib/payouts";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { More } from "../parts/more";
import { PayoutTag } from "../parts/payout";
import { Empty, Failure, Skeleton } from "../parts/states";
import { may } from "./roles";

/** The screens of the firm's payouts. */
export function PayoutsNav() {
  const { data: me } = useQuery(meQuery);
  return (
    <nav className="subnav" aria-label="Payouts of the firm">
      <NavLink to="/operate/payouts" end>
        Queue
      </NavLink>
      {may(me, "money") && <NavLink to="/operate/payouts/files">Bank files</NavLink>}
      <NavLink to="/operate/payouts/settings">Settings</NavLink>
    </nav>
  );
}

function stateIn(text: string | null): PayoutState | "all" {
  if (text === "all") return "all";
  return payoutStates.find((state) => state === text) ?? "in_review";
}

/** What traders have asked for, and what is to be done about it. */
export default function PayoutReviewsPage() {
  useTitle("Payout reviews");
  const [search, setSearch] = useSearchParams();
  const state = stateIn(search.get("state"));
  const queue = useInfiniteQuery(payoutQueueQuery(state));
  const all = queue.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <h1>Payouts</h1>
      <PayoutsNav />
      <p className="lead">
        What traders ask for is looked at before it leaves their accounts. The newest come first; who decides
        says why, and that is written down.
      </p>
      <div className="filters">
        <label className="select">
          <span>State</span>
          <select
            value={state}
            onChange={({ target }) => setSearch({ state: target.value }, { replace: true })}
          >
            <option value="all">All</option>
            {payoutStates.map((known) => (
              <option key={known} value={known}>
                {stateWord(known)}
              </option>
            ))}
          </select>
        </label>
      </div>
      {queue.isPending && <Skeleton lines={4} height={28} label="Loading the payouts" />}
      {queue.isError && !queue.data && <Failure error={queue.error} retry={() => queue.refetch()} />}
      {queue.data && all.length === 0 && (
        <Empty title={state === "all" ? "Nobody has asked for a payout" : "No payout is in this state"}>
          {state === "in_review" && <p>Nothing waits for a review.</p>}
        </Empty>
      )}
      {all.length > 0 && <Queue payouts={all} label="Payouts in this state" />}
      <More pages={queue} shown={all.length} />
    </>
  );
}

export function Queue({ payouts, label }: { payouts: readonly Payout[]; label: string }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label={label}>
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
              Share
            </th>
            <th scope="col">How</th>
            <th scope="col">Last moved, UTC</th>
          </tr>
        </thead>
        <tbody>
          {payouts.map((payout) => (
            <tr key={payout.id} data-payout={payout.id}>
              <th scope="row" className="tab">
                <Link to={`/operate/payouts/${payout.id}`}>{utcSeconds(payout.requested_at)}</Link>
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
