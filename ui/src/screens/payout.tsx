import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { payoutQuery } from "../api/queries";
import type { Payout, PayoutStory } from "../api/types";
import { moneyIn } from "../lib/format";
import { isOver, mayWithdraw, methodWord, stateNext } from "../lib/payouts";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Dialog } from "../parts/dialog";
import { useNotify } from "../parts/notify";
import { CertificateButton, PayoutEvents, PayoutTag } from "../parts/payout";
import { Failure, Skeleton } from "../parts/states";
import { MOVES_MS } from "./payouts";

/** One of one's own payouts, and how it got where it is. */
export function PayoutPage() {
  const { id = "" } = useParams();
  useTitle("Payout");
  const story = useQuery({
    ...payoutQuery(id),
    refetchInterval: ({ state }) => (state.data && !isOver(state.data.payout.state) ? MOVES_MS : false),
  });
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/payouts">Payouts</Link>
      </p>
      <h1>Payout</h1>
      {story.isPending && <Skeleton lines={6} height={28} label="Loading the payout" />}
      {story.isError && !story.data && <Failure error={story.error} retry={() => story.refetch()} />}
      {story.data && <Story story={story.data} />}
    </div>
  );
}

function Story({ story: { payout, events } }: { story: PayoutStory }) {
  const [asking, setAsking] = useState(false);
  return (
    <>
      <div className="panel payout-state" role="status">
        <p>
          <PayoutTag state={payout.state} /> <strong>{stateNext(payout.state)}</strong>
        </p>
        {payout.reason && <p className="break">What was said: {payout.reason}</p>}
        <div className="actions">
          {payout.state === "awaiting_identity" && (
            <Link className="button primary" to="/identity">
              Show who you are
            </Link>
          )}
          {payout.state === "settled" && <CertificateButton of="payout" id={payout.id} />}
          {payout.verdict !== null && (
            <Link className="button" to={`/accounts/${payout.account_id}/receipts/${payout.verdict}`}>
              See the receipt
            </Link>
          )}
          {mayWithdraw(payout.state) && (
            <button type="button" className="button danger" onClick={() => setAsking(true)}>
              Take it back…
            </button>
          )}
        </div>
      </div>
      <dl className="terms panel entry">
        <div>
          <dt>Leaves the account</dt>
          <dd className="tab">{moneyIn(payout.amount, payout.currency)}</dd>
        </div>
        <div>
          <dt>Your share</dt>
          <dd className="tab">
            {moneyIn(payout.share, payout.currency)}
            {payout.verdict === null && !isOver(payout.state) && (
              <small> as expected; it is fixed when the amount leaves the account</small>
            )}
          </dd>
        </div>
        <div>
          <dt>How it is sent</dt>
          <dd>{methodWord(payout.method)}</dd>
        </div>
        <div>
          <dt>Account</dt>
          <dd>
            <Link to={`/accounts/${payout.account_id}`}>{payout.program}</Link>
          </dd>
        </div>
        <div>
          <dt>Asked for</dt>
          <dd className="tab">{utcSeconds(payout.requested_at)} UTC</dd>
        </div>
      </dl>
      <section aria-labelledby="payout-history">
        <h2 id="payout-history">What has happened</h2>
        <PayoutEvents events={events} />
      </section>
      {asking && <Withdraw payout={payout} onClose={() => setAsking(false)} />}
    </>
  );
}

function Withdraw({ payout, onClose }: { payout: Payout; onClose: () => void }) {
  const queries = useQueryClient();
  const notify = useNotify();
  const withdraw = useMutation({
    mutationFn: () => ask(api.POST("/v1/payouts/{id}/withdrawal", { params: { path: { id: payout.id } } })),
    onSuccess: () => {
      notify("The payout was taken back.", "good");
      onClose();
    },
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: ["payouts"] });
      void queries.invalidateQueries({ queryKey: ["accounts", payout.account_id] });
    },
  });
  return (
    <Dialog title="Take the payout back?" onClose={onClose}>
      <div className="form">
        <p>
          {moneyIn(payout.amount, payout.currency)} stay on the account. You may ask for another payout after
          that.
        </p>
        {withdraw.isError && (
          <p className="form-error" role="alert">
            {asApiError(withdraw.error).detail}
          </p>
        )}
        <div className="actions">
          <button
            type="button"
            className="button danger"
            disabled={withdraw.isPending}
            onClick={() => withdraw.mutate()}
          >
            {withdraw.isPending ? "One moment…" : "Take it back"}
          </button>
          <button type="button" className="button" onClick={onClose}>
            Leave it
          </button>
        </div>
      </div>
    </Dialog>
  );
}
