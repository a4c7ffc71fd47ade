import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { api } from "../api/client";
import { askFile, save } from "../api/download";
import { asApiError } from "../api/error";
import { payoutMethodsQuery } from "../api/queries";
import type { PayoutEvent, PayoutState } from "../api/types";
import {
  eventText,
  methodWord,
  type PayeeDraft,
  type PayeeFaults,
  type PayeeField,
  stateTone,
  stateWord,
} from "../lib/payouts";
import { utcSeconds } from "../lib/time";
import { Choice } from "./choice";
import { Field } from "./field";
import { useNotify } from "./notify";

export function PayoutTag({ state }: { state: PayoutState }) {
  return (
    <span className={`tag ${stateTone(state)}`} data-state={state}>
      {stateWord(state)}
    </span>
  );
}

/** What has happened to a payout, in order. */
export function PayoutEvents({ events }: { events: readonly PayoutEvent[] }) {
  return (
    <ol className="panel timeline">
      {events.map((event, index) => (
        <li key={index} data-event={event.what}>
          <b>{eventText(event)}</b>
          <PayoutTag state={event.state} />
          <small className="muted tab">{utcSeconds(event.at)} UTC</small>
          {event.detail && <small className="break">{event.detail}</small>}
        </li>
      ))}
    </ol>
  );
}

/** Where the money goes: the way, and what this way asks for. */
export function PayeeFields({
  draft,
  faults,
  onChange,
}: {
  draft: PayeeDraft;
  faults: PayeeFaults;
  onChange: (field: PayeeField, value: string) => void;
}) {
  const text = (field: PayeeField) => ({
    value: draft[field],
    onChange: (event: { target: { value: string } }) => onChange(field, event.target.value),
    error: faults[field],
    spellCheck: false,
  });
  const found = useQuery(payoutMethodsQuery);
  const methods = found.data ?? [draft.method];
  const first = methods.includes(draft.method) ? undefined : methods[0];
  useEffect(() => {
    if (first !== undefined) onChange("method", first);
  });
  return (
    <>
      <Choice
        label="How it is sent"
        value={draft.method}
        onChange={(event) => onChange("method", event.target.value)}
        error={faults.method}
      >
        {methods.map((method) => (
          <option key={method} value={method}>
            {methodWord(method)}
          </option>
        ))}
      </Choice>
      {draft.method === "bank_file" && (
        <>
          <Field label="Holder of the account" autoComplete="name" maxLength={70} {...text("name")} />
          <Field label="IBAN" autoComplete="off" {...text("iban")} hint="Blanks do not matter." />
          <Field
            label="BIC"
            autoComplete="off"
            {...text("bic")}
            hint="Only where the IBAN does not say which bank it is."
          />
        </>
      )}
      {draft.method === "paypal" && (
        <Field label="E-mail address at PayPal" type="email" autoComplete="email" {...text("email")} />
      )}
      {draft.method === "stripe" && (
        <Field
          label="Connected account at Stripe"
          autoComplete="off"
          placeholder="acct_1234"
          {...text("account")}
        />
      )}
      {draft.method === "manual" && (
        <Field
          label="What the firm needs to know"
          autoComplete="off"
          maxLength={200}
          {...text("note")}
          hint="At most 200 characters; may stay empty."
        />
      )}
    </>
  );
}

/** Downloads the certificate of a payout that has arrived, or of an account that has passed its phase. */
export function CertificateButton({ of, id }: { of: "payout" | "account"; id: string }) {
  const notify = useNotify();
  const load = useMutation({
    mutationFn: () => {
      const wanted = { params: { path: { id } }, parseAs: "blob" } as const;
      return askFile(
        of === "payout"
          ? api.GET("/v1/payouts/{id}/certificate", wanted)
          : api.GET("/v1/accounts/{id}/certificate", wanted),
        "certificate.pdf",
      );
    },
    onSuccess: save,
    onError: (refused) => notify(asApiError(refused).detail, "bad"),
  });
  return (
    <button type="button" className="button" disabled={load.isPending} onClick={() => load.mutate()}>
      {load.isPending ? "Writing it…" : "Download the certificate"}
    </button>
  );
}
