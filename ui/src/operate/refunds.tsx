import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";
import { api, askOnce, Intent } from "../api/client";
import { asApiError } from "../api/error";
import { refundsQuery } from "../api/money-queries";
import { meQuery } from "../api/queries";
import type { Refund } from "../api/types";
import { money, moneyIn } from "../lib/format";
import { utcExact, utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { More } from "../parts/more";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Actor } from "./actor";
import { oneOf, withQuery } from "./address";
import { Expander } from "./expander";
import {
  howMuch,
  newRefund,
  originWords,
  type RefundAsked,
  type RefundDraft,
  type RefundFaults,
  refundOf,
  refundStates,
  refundWords,
} from "./giving-back";
import { may } from "./roles";
import { faultsOf } from "./stock";

/** Money that was given back, and giving it back. */
export default function RefundsPage() {
  useTitle("Refunds");
  const [address] = useSearchParams();
  const navigate = useNavigate();
  const { data: me } = useQuery(meQuery);
  const state = oneOf(address.get("state") ?? undefined, refundStates);
  const pages = useInfiniteQuery(refundsQuery(state));
  const found = pages.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <h1>Refunds</h1>
      <p className="lead">
        A refund is written down first and asked for then: what the provider does not know yet is asked for
        again by itself.
      </p>
      {may(me, "money") && <GiveBack />}
      <div className="work-head">
        <h2>Money given back</h2>
        <fieldset className="segments small" aria-label="Refunds in which state">
          {([undefined, ...refundStates] as const).map((word) => (
            <button
              key={word ?? "all"}
              type="button"
              aria-pressed={state === word}
              onClick={() => navigate(withQuery("/operate/refunds", { state: word }))}
            >
              {word ? refundWords[word][0] : "All"}
            </button>
          ))}
        </fieldset>
      </div>
      {pages.isPending && <Skeleton lines={4} height={28} label="Loading the refunds" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && found.length === 0 && (
        <Empty title={state ? "No refund stands like that" : "Nothing was given back yet"} />
      )}
      {found.length > 0 && <Refunds refunds={found} />}
      <More pages={pages} shown={found.length} />
      {pages.isFetchNextPageError && <Failure error={pages.error} retry={() => pages.fetchNextPage()} />}
    </>
  );
}

const fields = Object.keys(newRefund) as (keyof RefundDraft)[];

function GiveBack() {
  const [draft, setDraft] = useState(newRefund);
  const [faults, setFaults] = useState<RefundFaults>({});
  const [asking, setAsking] = useState<RefundAsked | null>(null);
  // It lives as long as the page: the same request again carries the same key until its outcome is known.
  const intent = useRef(new Intent());
  const queries = useQueryClient();
  const notify = useNotify();
  const give = useMutation({
    mutationFn: (asked: RefundAsked) =>
      askOnce(intent.current, asked, (header) =>
        api.POST("/v1/purchases/{id}/refunds", {
          params: { path: { id: asked.purchase }, header },
          body: asked.body,
        }),
      ),
    onSuccess: (refund) => {
      notify(
        `${moneyIn(refund.amount, refund.currency)}: ${refundWords[refund.state][0].toLowerCase()}.`,
        refund.state === "failed" ? "bad" : "good",
      );
      setDraft(newRefund);
      setAsking(null);
    },
    onError: (refused) => {
      const told = asApiError(refused);
      // What is not known stays in the dialog, to be sent again as the same.
      if (told.outcomeUnknown) return;
      setAsking(null);
      setFaults(
        told.status === 404
          ? { purchase: told.detail }
          : told.code === "refund_exceeds_payment"
            ? { amount: told.detail }
            : faultsOf(told, fields),
      );
    },
    onSettled: () => queries.invalidateQueries({ queryKey: ["refunds"] }),
  });
  const text = (field: keyof RefundDraft) => ({
    value: draft[field],
    onChange: ({ target }: { target: { value: string } }) => {
      setDraft((held) => ({ ...held, [field]: target.value }));
      setFaults(({ [field]: _, all: __, ...held }) => held);
    },
    error: faults[field],
    autoComplete: "off",
    spellCheck: false,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = refundOf(draft);
    setFaults("faults" in read ? read.faults : {});
    if ("asked" in read) {
      give.reset();
      setAsking(read.asked);
    }
  };
  // Without the field for it, what is wrong with an amount stands below the form.
  const whole = faults.all ?? (draft.how === "all" ? (faults.amount ?? faults.currency) : undefined);
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Give money back">
      <div className="fields">
        <Field label="Purchase" {...text("purchase")} hint="Its id" />
        <Choice
          label="How much"
          value={draft.how}
          onChange={({ target }) => {
            setDraft((held) => ({ ...held, how: target.value === "all" ? "all" : "part" }));
            setFaults({});
          }}
        >
          <option value="part">An amount</option>
          <option value="all">Everything that is left</option>
        </Choice>
        {draft.how === "part" && (
          <>
            <Field label="Amount" inputMode="decimal" {...text("amount")} />
            <Field label="Currency" {...text("currency")} placeholder="USD" hint="As it was paid" />
          </>
        )}
        <Field
          label="Payment"
          {...text("payment")}
          placeholder="the one that paid"
          hint="The provider's name of it, if it was paid more than once"
        />
      </div>
      <Field
        label="Reason"
        {...text("reason")}
        hint="The firm's people see it, and it is in the audit log for good: a ticket's number, not a name."
      />
      {whole && (
        <p className="form-error" role="alert">
          {whole}
        </p>
      )}
      <div className="actions">
        <button type="submit" className="button primary">
          Give money back
        </button>
      </div>
      {asking && (
        <Confirm
          asked={asking}
          busy={give.isPending}
          unknown={give.isError ? asApiError(give.error).detail : null}
          onConfirm={() => give.mutate(asking)}
          onClose={() => setAsking(null)}
        />
      )}
    </form>
  );
}

function Confirm({
  asked,
  busy,
  unknown,
  onConfirm,
  onClose,
}: {
  asked: RefundAsked;
  busy: boolean;
  unknown: string | null;
  onConfirm: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog title="Give this money back?" onClose={onClose}>
      <div className="form">
        <p>
          <strong className="tab">{howMuch(asked.body)}</strong> of the purchase{" "}
          <code className="break">{asked.purchase}</code> goes back to its buyer. What is on its way cannot be
          called back.
        </p>
        {unknown && (
          <p className="form-error" role="alert">
            {unknown} It may have been taken all the same: send it again from here, and it is given back once.
          </p>
        )}
        <div className="actions">
          <button type="button" className="button danger" disabled={busy} onClick={onConfirm}>
            {busy ? "One moment…" : unknown ? "Send it again" : "Give it back"}
          </button>
          <button type="button" className="button" disabled={busy} onClick={onClose}>
            Leave it
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function Refunds({ refunds }: { refunds: readonly Refund[] }) {
  return (
    <section className="table-scroll panel work" tabIndex={0} aria-label="Refunds">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Asked, UTC</th>
            <th scope="col" className="num">
              Amount
            </th>
            <th scope="col">Currency</th>
            <th scope="col">State</th>
            <th scope="col">Purchase</th>
            <th scope="col">Provider</th>
            <th scope="col">Wanted by</th>
            <th scope="col">Why</th>
          </tr>
        </thead>
        <tbody>
          {refunds.map((refund) => (
            <Row key={refund.id} refund={refund} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ refund }: { refund: Refund }) {
  const [open, setOpen] = useState(false);
  const [word, tone] = refundWords[refund.state];
  const details = `refund-${refund.id}`;
  const facts = [
    ["Refund", refund.id],
    ["Payment", refund.payment],
    ["At the provider", refund.known_as],
  ] as const;
  return (
    <>
      <tr data-refund={refund.id}>
        <th scope="row" className="tab">
          <Expander open={open} controls={details} onToggle={() => setOpen(!open)} about={refund.id}>
            {utcSeconds(refund.asked_at)}
          </Expander>
        </th>
        <td className="num">{money(refund.amount)}</td>
        <td>{refund.currency}</td>
        <td>
          <span className={`tag ${tone}`}>{word}</span>
        </td>
        <td>
          <code>{refund.purchase_id}</code>
        </td>
        <td>{refund.provider}</td>
        <td>{originWords[refund.origin]}</td>
        <td className="error">{refund.reason}</td>
      </tr>
      {open && (
        <tr className="details" id={details}>
          <td colSpan={8}>
            <div className="work-details">
              <dl className="work-facts">
                {facts.map(
                  ([name, value]) =>
                    value !== null && (
                      <div key={name}>
                        <dt>{name}</dt>
                        <dd>
                          <code>{value}</code>
                        </dd>
                      </div>
                    ),
                )}
                {refund.asked_by && (
                  <div>
                    <dt>Asked by</dt>
                    <dd>
                      <Actor id={refund.asked_by} />
                    </dd>
                  </div>
                )}
                <div>
                  <dt>Changed last</dt>
                  <dd className="tab">{utcExact(refund.changed_at)}</dd>
                </div>
              </dl>
              <div>
                <h3>Why</h3>
                <p className="break">{refund.reason}</p>
              </div>
              {refund.said && (
                <div>
                  <h3>What the provider said last</h3>
                  <p className="break">{refund.said}</p>
                </div>
              )}
            </div>
          </td>
        </tr>
      )}
    </>
  );
}
