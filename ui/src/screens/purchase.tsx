import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { type PaymentMethod, paymentPage } from "../api/payment";
import { challengesQuery, purchaseQuery } from "../api/queries";
import type { Challenge, PurchaseDetail } from "../api/types";
import { moneyIn, wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { CheckIcon } from "../parts/icons";
import { PaymentMethods, usePaymentMethod } from "../parts/pay";
import { PriceLines } from "../parts/price";
import { Failure, Skeleton } from "../parts/states";
import { againAt, happened, partlyRefunded, settled } from "./history";

const POLL_MS = 800;

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
    <div className="page narrow purchase">
      {purchase.isPending && <Skeleton lines={4} height={40} label="Loading the purchase" />}
      {purchase.isError && <Failure error={purchase.error} retry={() => purchase.refetch()} />}
      {purchase.data && <Details purchase={purchase.data} waiting={!settled(purchase.data, outcome)} />}
    </div>
  );
}

function Details({ purchase, waiting }: { purchase: PurchaseDetail; waiting: boolean }) {
  const { program, currency } = purchase;
  return (
    <>
      <h1>{purchase.reset_of ? `Reset of ${program.name}` : program.name}</h1>
      <section className="panel outcome" aria-live="polite">
        <Outcome purchase={purchase} waiting={waiting} />
      </section>
      <section className="panel pad-all" aria-labelledby="price-heading">
        <h2 id="price-heading">Price</h2>
        <PriceLines
          lines={purchase.lines}
          taxIncluded={purchase.tax_included}
          total={purchase.fee}
          currency={currency}
          totalLabel={purchase.state === "awaiting_payment" ? "To pay" : "Total"}
        />
        {partlyRefunded(purchase) && (
          <p className="total">
            <span>Given back</span>
            <strong className="tab">{moneyIn(purchase.refunded, currency)}</strong>
          </p>
        )}
      </section>
      <dl className="terms panel">
        <div>
          <dt>State</dt>
          <dd>{wordFor(purchase.state)}</dd>
        </div>
        <div>
          <dt>Created</dt>
          <dd className="tab">{utcSeconds(purchase.created_at)} UTC</dd>
        </div>
        <div>
          <dt>Terms version</dt>
          <dd>
            <Link to={`/terms/${program.version}`}>
              <code title={program.version}>{program.version.slice(0, 12)}</code>
            </Link>
          </dd>
        </div>
        <div>
          <dt>Purchase</dt>
          <dd>
            <code>{purchase.id}</code>
          </dd>
        </div>
      </dl>
      {purchase.history.length > 0 && <History purchase={purchase} />}
    </>
  );
}

function History({ purchase }: { purchase: PurchaseDetail }) {
  return (
    <section aria-labelledby="history-heading">
      <h2 id="history-heading">What has happened</h2>
      <ol className="panel timeline">
        {purchase.history.map((event) => (
          <li key={`${event.at}-${event.what}-${event.amount}`}>
            <b>{happened(event.what)}</b>
            {event.amount !== null && <span className="tab">{moneyIn(event.amount, purchase.currency)}</span>}
            <small className="muted tab">
              {utcSeconds(event.at)} UTC{event.provider && `, ${event.provider}`}
            </small>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Outcome({ purchase, waiting }: { purchase: PurchaseDetail; waiting: boolean }) {
  switch (purchase.state) {
    case "refunded":
      return (
        <>
          <h2>Your payment was given back</h2>
          <p className="muted">
            {moneyIn(purchase.refunded, purchase.currency)} went back the way it came. It may take your bank
            some days to show it.
          </p>
        </>
      );
    case "disputed":
      return (
        <>
          <h2>Your bank asks for the money back</h2>
          <p className="muted">
            Until the bank has decided, payouts of this challenge wait. If you did not ask for this, tell your
            bank.
          </p>
        </>
      );
    case "charged_back":
      return (
        <>
          <h2>Your bank took the money back</h2>
          <p className="muted">The purchase is over, and with it what was bought.</p>
        </>
      );
    case "declined":
    case "expired":
    case "cancelled":
      return (
        <>
          <h2>{ended[purchase.state]}</h2>
          <p className="muted">Nothing was charged and no account was opened.</p>
          <Link className="button primary" to={againAt(purchase)}>
            Try again
          </Link>
        </>
      );
    case "awaiting_payment":
      return waiting ? <Opening /> : <Payment purchase={purchase} />;
    case "paid":
      return purchase.challenge_id === null ? <Opening /> : <Opened challenge={purchase.challenge_id} />;
  }
}

const ended = {
  declined: "The payment was declined",
  expired: "The purchase was not paid in time",
  cancelled: "The purchase was cancelled",
} as const;

/** What waits for its payment is paid, with whom one likes, or taken back. */
function Payment({ purchase }: { purchase: PurchaseDetail }) {
  const payment = usePaymentMethod();
  const queries = useQueryClient();
  const pay = useMutation({
    mutationFn: (method: PaymentMethod) => paymentPage(purchase.id, method),
    // The hosted payment page is outside this application.
    onSuccess: (page) => window.location.assign(page),
  });
  const cancel = useMutation({
    mutationFn: () => ask(api.POST("/v1/purchases/{id}/cancel", { params: { path: { id: purchase.id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: purchaseQuery(purchase.id).queryKey }),
  });
  const busy = pay.isPending || pay.isSuccess || cancel.isPending;
  const refused = pay.error ?? cancel.error;
  return (
    <>
      <h2>Waiting for your payment</h2>
      <p className="muted">Nothing has been charged yet.</p>
      <PaymentMethods {...payment} />
      <div className="actions">
        <button
          type="button"
          className="button primary"
          disabled={busy || payment.method === null}
          onClick={() => payment.method && pay.mutate(payment.method)}
        >
          {pay.isPending || pay.isSuccess ? "Opening the payment page…" : "Continue to payment"}
        </button>
        <button type="button" className="button" disabled={busy} onClick={() => cancel.mutate()}>
          Cancel the purchase
        </button>
      </div>
      {refused && (
        <p className="form-error" role="alert">
          {asApiError(refused).detail}
        </p>
      )}
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
