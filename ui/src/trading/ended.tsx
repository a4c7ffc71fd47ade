import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { challengesQuery, verdictsQuery } from "../api/queries";
import type { Account, Challenge } from "../api/types";
import { utcExact } from "../lib/time";
import { endsAccount } from "../lib/verdicts";
import { CertificateButton } from "../parts/payout";

const titles: Record<Account["status"], string> = {
  active: "This account trades",
  breached: "This account is breached",
  passed: "Phase passed",
  expired: "This account has expired",
};
const POLL_MS = 1_500;

/** What ended the account, the proof, and where to go next. */
export function Ended({ account }: { account: Account }) {
  const passed = account.status === "passed";
  const more = passed && account.phase.index + 1 < account.phase.of;
  const verdicts = useQuery({
    ...verdictsQuery(account.id),
    refetchInterval: ({ state }) =>
      state.data && !state.data.some((found) => endsAccount(found.kind)) ? POLL_MS : false,
  });
  const nextOf = (challenges: readonly Challenge[]) =>
    challenges
      .find((found) => found.id === account.challenge_id)
      ?.accounts.find((found) => found.phase.index > account.phase.index);
  const challenges = useQuery({
    ...challengesQuery,
    enabled: more,
    refetchInterval: ({ state }) => (state.data && nextOf(state.data) ? false : POLL_MS),
  });
  const next = challenges.data && nextOf(challenges.data);
  const verdict = verdicts.data?.find((found) => endsAccount(found.kind));
  return (
    <section className={`ended ${account.status}`} role="alert">
      <div>
        <h2>{titles[account.status]}</h2>
        <p>
          {verdict ? (
            <>
              {verdict.headline} <span className="muted">· {utcExact(verdict.at)}</span>
            </>
          ) : (
            "The verdict is being written."
          )}
        </p>
      </div>
      <div className="actions">
        {verdict && (
          <Link className="button" to={`/accounts/${account.id}/receipts/${verdict.number}`}>
            See the receipt
          </Link>
        )}
        {passed && <CertificateButton of="account" id={account.id} />}
        {next && (
          <Link className="button primary" to={`/accounts/${next.id}`}>
            Trade {next.phase.name}
          </Link>
        )}
        {more && !next && <span className="muted">The next account is being opened…</span>}
        {passed && !more && (
          <Link className="button" to="/challenges">
            My challenges
          </Link>
        )}
        {account.status !== "passed" && (
          <Link className="button" to="/">
            See the programs
          </Link>
        )}
      </div>
    </section>
  );
}
