import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { challengesQuery, resetOfferQuery } from "../api/queries";
import type { AccountSummary, Challenge } from "../api/types";
import { dec, subtract } from "../lib/decimal";
import { money, moneyIn, short, signed, tone } from "../lib/format";
import { localDate } from "../lib/time";
import { useTitle } from "../lib/title";
import { Empty, Failure, Skeleton } from "../parts/states";
import { StatusTag } from "../parts/status";

export function Challenges() {
  useTitle("My challenges");
  const challenges = useQuery({ ...challengesQuery, refetchInterval: 5_000 });
  return (
    <div className="page">
      <div className="page-head">
        <h1>My challenges</h1>
        <Link className="button" to="/">
          Buy another
        </Link>
      </div>
      {challenges.isPending && <Skeleton lines={2} height={140} label="Loading your challenges" />}
      {challenges.isError && <Failure error={challenges.error} retry={() => challenges.refetch()} />}
      {challenges.data?.length === 0 && (
        <Empty title="You have no challenge yet">
          <p>Choose a program; the account is open a few seconds after you have paid.</p>
          <Link className="button primary" to="/">
            See the programs
          </Link>
        </Empty>
      )}
      {challenges.data?.map((challenge) => (
        <ChallengeCard key={challenge.id} challenge={challenge} />
      ))}
    </div>
  );
}

function ChallengeCard({ challenge }: { challenge: Challenge }) {
  const heading = `challenge-${challenge.id}`;
  return (
    <section className="panel challenge" aria-labelledby={heading}>
      <header>
        <h2 id={heading}>{challenge.program.name}</h2>
        <StatusTag status={challenge.state} />
        <span className="muted">
          Bought {localDate(challenge.created_at)} · terms{" "}
          <Link to={`/terms/${challenge.program.version}`}>
            <code title={challenge.program.version}>{challenge.program.version.slice(0, 12)}</code>
          </Link>
        </span>
      </header>
      {challenge.state === "failed" && <BeginAnew challenge={challenge} />}
      {challenge.accounts.length === 0 ? (
        <p className="muted pad">The first account is being opened.</p>
      ) : (
        <section className="table-scroll" tabIndex={0} aria-label={`Accounts of ${challenge.program.name}`}>
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Phase</th>
                <th scope="col">Account</th>
                <th scope="col">Status</th>
                <th scope="col" className="num">
                  Size
                </th>
                <th scope="col" className="num">
                  Balance
                </th>
                <th scope="col" className="num">
                  Result
                </th>
                <th scope="col">Opened</th>
                <th scope="col">Closed</th>
                <th scope="col">
                  <span className="hidden">Statistics, trade or view</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {challenge.accounts.map((account) => (
                <AccountRow key={account.id} account={account} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </section>
  );
}

/** A failed challenge may begin anew, where its firm sells that. */
function BeginAnew({ challenge }: { challenge: Challenge }) {
  const { data: offer } = useQuery(resetOfferQuery(challenge.id));
  if (!offer || offer.fee === null || offer.currency === null) return null;
  const to = `/programs/${offer.program.slug}/checkout?reset=${challenge.id}`;
  return (
    <p className="pad begin-anew">
      <Link className="button primary" to={to}>
        Begin anew<span className="hidden"> with {challenge.program.name}</span>
      </Link>
      <span className="muted">
        {offer.included > 0
          ? `Included in what you bought: ${offer.included} left.`
          : `By the same rules, for ${moneyIn(offer.fee, offer.currency)}.`}
      </span>
    </p>
  );
}

function AccountRow({ account }: { account: AccountSummary }) {
  const result = subtract(dec(account.balance), dec(account.initial_balance));
  return (
    <tr>
      <td>
        {account.phase.name}{" "}
        <small className="muted">
          {account.phase.index + 1} of {account.phase.of}
        </small>
      </td>
      <td>
        <Link to={`/accounts/${account.id}`}>{account.number}</Link>
      </td>
      <td>
        <StatusTag status={account.status} />
      </td>
      <td className="num">
        {short(account.initial_balance)} <small className="muted">{account.currency}</small>
      </td>
      <td className="num">{money(account.balance)}</td>
      <td className={`num ${tone(result)}`}>{signed(result)}</td>
      <td>{localDate(account.opened_at)}</td>
      <td>{account.closed_at ? localDate(account.closed_at) : "–"}</td>
      <td className="num row-actions">
        <Link className="button small" to={`/accounts/${account.id}/statistics`}>
          Statistics
          <span className="hidden"> of {account.number}</span>
        </Link>
        <Link
          className={account.status === "active" ? "button small primary" : "button small"}
          to={`/accounts/${account.id}`}
        >
          {account.status === "active" ? "Trade" : "View"}
          <span className="hidden"> {account.number}</span>
        </Link>
      </td>
    </tr>
  );
}
