import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, NavLink, useNavigate, useSearchParams } from "react-router-dom";
import { disputesQuery } from "../api/money-queries";
import type { Dispute } from "../api/types";
import { money, wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { More } from "../parts/more";
import { Empty, Failure, Skeleton } from "../parts/states";
import { oneOf, withQuery } from "./address";
import { disputeStates, disputeWords, timeLeft } from "./contested";

/** Around each screen of the disputes. */
export function DisputesNav() {
  return (
    <nav className="subnav" aria-label="Payments wanted back">
      <NavLink to="/operate/disputes" end>
        All disputes
      </NavLink>
      <NavLink to="/operate/disputes/rates">Rates</NavLink>
    </nav>
  );
}

/** Buyers who want a payment back from their bank or at the provider. */
export default function DisputesPage() {
  useTitle("Disputes");
  const [address] = useSearchParams();
  const navigate = useNavigate();
  const state = oneOf(address.get("state") ?? undefined, disputeStates);
  const pages = useInfiniteQuery(disputesQuery(state));
  const found = pages.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <h1>Disputes</h1>
      <DisputesNav />
      <p className="lead">
        Buyers who want a payment back. An answer counts only until its time is over, and there is one.
      </p>
      <div className="filters">
        <fieldset className="segments small" aria-label="Disputes in which state">
          {([undefined, ...disputeStates] as const).map((word) => (
            <button
              key={word ?? "all"}
              type="button"
              aria-pressed={state === word}
              onClick={() => navigate(withQuery("/operate/disputes", { state: word }))}
            >
              {word ? disputeWords[word][0] : "All"}
            </button>
          ))}
        </fieldset>
      </div>
      {pages.isPending && <Skeleton lines={4} height={28} label="Loading the disputes" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && found.length === 0 && (
        <Empty title={state ? "No dispute stands like that" : "Nobody wanted a payment back yet"} />
      )}
      {found.length > 0 && <Disputes disputes={found} />}
      <More pages={pages} shown={found.length} />
      {pages.isFetchNextPageError && <Failure error={pages.error} retry={() => pages.fetchNextPage()} />}
    </>
  );
}

export function DisputeTag({ dispute }: { dispute: Pick<Dispute, "state" | "inquiry"> }) {
  const [word, tone] = disputeWords[dispute.state];
  return (
    <>
      <span className={`tag ${tone}`}>{word}</span>
      {dispute.inquiry && (
        <>
          {" "}
          <span className="tag" title="A question so far: the money is still the firm's">
            Inquiry
          </span>
        </>
      )}
    </>
  );
}

export function AnswerBy({ dispute }: { dispute: Pick<Dispute, "state" | "answer_by"> }) {
  if (dispute.answer_by === null) return <span className="muted">–</span>;
  const left = timeLeft(dispute, Date.now());
  return (
    <>
      {utcSeconds(dispute.answer_by)}
      {left && <span className={left.tone}> ({left.say})</span>}
    </>
  );
}

function Disputes({ disputes }: { disputes: readonly Dispute[] }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Disputes">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Dispute</th>
            <th scope="col">State</th>
            <th scope="col">Answer by, UTC</th>
            <th scope="col" className="num">
              Amount
            </th>
            <th scope="col">Currency</th>
            <th scope="col">Reason</th>
            <th scope="col">Provider</th>
            <th scope="col">Opened, UTC</th>
            <th scope="col">Payouts held since, UTC</th>
          </tr>
        </thead>
        <tbody>
          {disputes.map((dispute) => (
            <tr key={dispute.id} data-dispute={dispute.id}>
              <th scope="row">
                <Link to={`/operate/disputes/${dispute.id}`}>{dispute.known_as}</Link>
              </th>
              <td>
                <DisputeTag dispute={dispute} />
              </td>
              <td className="tab">
                <AnswerBy dispute={dispute} />
              </td>
              <td className="num">{money(dispute.amount)}</td>
              <td>{dispute.currency}</td>
              <td>{wordFor(dispute.reason)}</td>
              <td>{dispute.provider}</td>
              <td className="tab">{utcSeconds(dispute.opened_at)}</td>
              <td className="tab">
                {dispute.payouts_held_since ? utcSeconds(dispute.payouts_held_since) : "–"}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
