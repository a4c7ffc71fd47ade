import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router-dom";
import { challengesQuery, purchaseQuery } from "../api/queries";
import type { Challenge, Purchase } from "../api/types";
import { moneyIn, wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { CheckIcon } from "../parts/icons";
import { Failure, Skeleton } from "../parts/states";

const POLL_MS = 800;

function settled(purchase: Purchase, outcome: string | null): boolean {
  if (purchase.challenge_id !== null) return true;
  if (["declined", "cancelled", "expired"].includes(purchase.state)) return true;
  // Paid without a challenge is on its way. Awaiting payment is asked again only by one who comes from paying.
  return purchase.state === "awaiting_payment" && outcome !== "paid";
}

export function PurchasePage() {
  const { id = "" } = useParams();
  const [search] = useSearchParams();
  const outcome = search.get("outcome");
  useTitle("Your purchase");
  const purchase = useQuery({
    ...purchaseQuery(id),
    refetchInterval: ({ state }) => (state.data && !settled(state.data, outcome) ? POLL_MS : false),
  });
  return (
    <div className="page narrow">
      {purchase.isPending && <Skeleton lines={4} height={40} label="Loading the purchase" />}
      {purchase.isError && <Failure error={purchase.error} retry={() => purchase.refetch()} />}
      {purchase.data && <Outcome purchase={purchase.data} waiting={!settled(purchase.data, outcome)} />}
    </div>
  );
}

function Outcome({ purchase, waiting }: { purchase: Purchase; waiting: boolean }) {
  return (
    <>
      <h1>{purchase.program.name}</h1>
      <section className="panel outcome" aria-live="polite">
        {purchase.challenge_id !== null ? (
          <Opened challenge={purchase.challenge_id} />
        ) : waiting ? (
          <Opening />
        ) : purchase.state === "awaiting_payment" ? (
          <>
            <h2>Waiting for your payment</h2>
            <p className="muted">Nothing has been charged yet.</p>
            <a className="button primary" href={purchase.checkout_url}>
              Continue to payment
            </a>
          </>
        ) : (
          <>
            <h2>
              {purchase.state === "declined"
                ? "The payment was declined"
                : purchase.state === "expired"
                  ? "The purchase was not paid in time"
                  : "The purchase was cancelled"}
            </h2>
            <p className="muted">Nothing was charged and no account was opened.</p>
            <Link className="button primary" to={`/programs/${purchase.program.slug}/checkout`}>
              Try again
            </Link>
          </>
        )}
      </section>
      <dl className="terms panel">
        <div>
          <dt>State</dt>
          <dd>{wordFor(purchase.state)}</dd>
        </div>
        <div>
          <dt>Fee</dt>
          <dd>{moneyIn(purchase.fee, purchase.currency)}</dd>
        </div>
        <div>
          <dt>Created</dt>
          <dd>{utcSeconds(purchase.created_at)} UTC</dd>
        </div>
        <div>
          <dt>Terms version</dt>
          <dd>
            <code title={purchase.program.version}>{purchase.program.version.slice(0, 12)}</code>
          </dd>
        </div>
        <div>
          <dt>Purchase</dt>
          <dd>
            <code>{purchase.id}</code>
          </dd>
        </div>
      </dl>
    </>
  );
}

function Opening() {
  return (
    <>
      <span className="spinner" aria-hidden="true" />
      <h2>Payment received, opening your account</h2>
      <p className="muted">This takes a few seconds. You may leave this page; nothing is lost.</p>
    </>
  );
}

function Opened({ challenge }: { challenge: string }) {
  const accountIn = (list: readonly Challenge[] | undefined) =>
    list?.find((found) => found.id === challenge)?.accounts.at(-1);
  const challenges = useQuery({
    ...challengesQuery,
    // The challenge is there a moment before its first account.
    refetchInterval: ({ state }) => (accountIn(state.data) ? false : POLL_MS),
  });
  const account = accountIn(challenges.data);
  if (challenges.isError) return <Failure error={challenges.error} retry={() => challenges.refetch()} />;
  if (!account) return <Opening />;
  return (
    <>
      <span className="round-check" aria-hidden="true">
        <CheckIcon size={20} />
      </span>
      <h2>Your account is open</h2>
      <p className="muted">
        {account.number} · {account.phase.name} · {moneyIn(account.initial_balance, account.currency)}
      </p>
      <Link className="button primary" to={`/accounts/${account.id}`}>
        Start trading
      </Link>
    </>
  );
}
