import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { meQuery, payoutSettingsQuery } from "../api/queries";
import type { NewPayoutSettings, PayoutSettings } from "../api/types";
import { methodWord, payoutMethods } from "../lib/payouts";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";
import { draftOf, type SettingsDraft, type SettingsFault, settingsOf } from "./payout-work";
import { PayoutsNav } from "./payouts";
import { ReasonDialog } from "./reason";
import { may } from "./roles";

/** How the firm pays. */
export default function PayoutSettingsPage() {
  useTitle("Payout settings");
  const settings = useQuery({ ...payoutSettingsQuery, staleTime: Number.POSITIVE_INFINITY });
  return (
    <>
      <h1>Payout settings</h1>
      <PayoutsNav />
      <p className="lead">
        How traders may be paid, whether it must be known who they are, and from which amount two reviewers
        have to agree.
      </p>
      {settings.isPending && <Skeleton lines={5} height={28} label="Loading the settings" />}
      {settings.isError && !settings.data && (
        <Failure error={settings.error} retry={() => settings.refetch()} />
      )}
      {settings.data && <Form settings={settings.data} />}
    </>
  );
}

function Form({ settings }: { settings: PayoutSettings }) {
  const { data: me } = useQuery(meQuery);
  const [draft, setDraft] = useState<SettingsDraft>(() => draftOf(settings));
  const [faults, setFaults] = useState<Partial<Record<SettingsFault, string>>>({});
  const [ready, setReady] = useState<PayoutSettings | null>(null);
  const queries = useQueryClient();
  const notify = useNotify();
  const save = useMutation({
    mutationFn: (body: NewPayoutSettings) => ask(api.PUT("/v1/payout-settings", { body })),
    onSuccess: (kept) => {
      queries.setQueryData(payoutSettingsQuery.queryKey, kept);
      setDraft(draftOf(kept));
      setReady(null);
      notify("The settings are saved.", "good");
    },
    onError: (refused) => {
      const told = asApiError(refused);
      const found: Partial<Record<SettingsFault, string>> = {};
      for (const { pointer, detail } of told.fields) {
        const last = pointer.split("/").at(-1);
        if (last === "name" || last === "iban" || last === "bic" || last === "methods") found[last] = detail;
        else found[last === "one_reviewer" ? "limits" : "all"] = detail;
      }
      if (Object.keys(found).length === 0) return;
      setFaults(found);
      setReady(null);
    },
  });
  const edits = may(me, "money");
  const set = (change: Partial<SettingsDraft>) => {
    setDraft((held) => ({ ...held, ...change }));
    setFaults({});
  };
  const setLimit = (index: number, change: Partial<SettingsDraft["limits"][number]>) =>
    set({ limits: draft.limits.map((limit, at) => (at === index ? { ...limit, ...change } : limit)) });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = settingsOf(draft);
    if ("faults" in read) return setFaults(read.faults);
    setFaults({});
    save.reset();
    setReady(read.settings);
  };
  return (
    <>
      <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="How the firm pays">
        {!edits && <p className="muted">Finance and the firm's admins change them.</p>}
        <fieldset className="bare" disabled={!edits}>
          <legend>Ways to pay</legend>
          {payoutMethods.map((method) => (
            <label key={method} className="check">
              <input
                type="checkbox"
                checked={draft.methods.includes(method)}
                onChange={({ target }) =>
                  set({
                    methods: payoutMethods.filter((known) =>
                      known === method ? target.checked : draft.methods.includes(known),
                    ),
                  })
                }
              />
              {methodWord(method)}
            </label>
          ))}
          {faults.methods && (
            <p className="field-error" role="alert">
              {faults.methods}
            </p>
          )}
        </fieldset>
        <fieldset className="bare" disabled={!edits}>
          <legend>Identity</legend>
          <label className="check">
            <input
              type="checkbox"
              checked={draft.identity_needed}
              onChange={({ target }) => set({ identity_needed: target.checked })}
            />
            Nothing is paid before it is known who asks
          </label>
        </fieldset>
        <fieldset className="bare" disabled={!edits}>
          <legend>Bank account that files are paid from</legend>
          <div className="fields">
            <Field
              label="Holder"
              value={draft.name}
              onChange={({ target }) => set({ name: target.value })}
              error={faults.name}
              autoComplete="off"
              placeholder="none"
            />
            <Field
              label="IBAN"
              value={draft.iban}
              onChange={({ target }) => set({ iban: target.value })}
              error={faults.iban}
              autoComplete="off"
              spellCheck={false}
            />
            <Field
              label="BIC"
              value={draft.bic}
              onChange={({ target }) => set({ bic: target.value })}
              error={faults.bic}
              autoComplete="off"
              spellCheck={false}
            />
          </div>
        </fieldset>
        <fieldset className="bare" disabled={!edits}>
          <legend>Up to which amount one reviewer is enough</legend>
          <p className="muted">Two different ones look at everything in a currency that is not here.</p>
          {draft.limits.map((limit, index) => (
            <div key={index} className="fields limit-row">
              <Field
                label={`Currency of limit ${index + 1}`}
                value={limit.currency}
                maxLength={3}
                onChange={({ target }) => setLimit(index, { currency: target.value })}
                autoComplete="off"
                spellCheck={false}
                placeholder="USD"
              />
              <Field
                label={`Amount of limit ${index + 1}`}
                inputMode="decimal"
                value={limit.amount}
                onChange={({ target }) => setLimit(index, { amount: target.value })}
                autoComplete="off"
              />
              <button
                type="button"
                className="button"
                onClick={() => set({ limits: draft.limits.filter((_, at) => at !== index) })}
              >
                Remove<span className="hidden"> limit {index + 1}</span>
              </button>
            </div>
          ))}
          {faults.limits && (
            <p className="field-error" role="alert">
              {faults.limits}
            </p>
          )}
          <div className="actions">
            <button
              type="button"
              className="button small"
              onClick={() => set({ limits: [...draft.limits, { currency: "", amount: "" }] })}
            >
              Add a currency
            </button>
          </div>
        </fieldset>
        {faults.all && (
          <p className="form-error" role="alert">
            {faults.all}
          </p>
        )}
        {edits && (
          <div className="actions">
            <button type="submit" className="button primary">
              Save…
            </button>
          </div>
        )}
      </form>
      {ready && (
        <ReasonDialog
          title="Why do you change how the firm pays?"
          confirm="Save"
          busy={save.isPending}
          refused={save.isError ? asApiError(save.error).detail : null}
          onSay={(reason) => save.mutate({ ...ready, reason })}
          onClose={() => setReady(null)}
        />
      )}
    </>
  );
}
