import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { Link, useNavigate, useParams } from "react-router-dom";
import { api, askOnce, Intent } from "../api/client";
import { asApiError } from "../api/error";
import { accountQuery, meQuery, overridesQuery, versionQuery } from "../api/queries";
import type { Account, KeptVersion } from "../api/types";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";
import { StatusTag } from "../parts/status";
import { Decisions } from "./decisions";
import { readJson } from "./json";
import { may } from "./roles";

/** Other rules for one account. */
export default function OverridesPage() {
  const { id } = useParams();
  useTitle("Overrides");
  return (
    <>
      <h1>Overrides</h1>
      <p className="lead">
        Lets another rule of the same kind hold for one account. Every decision is kept with its reason; the
        trader reads it.
      </p>
      <Find key={id} first={id ?? ""} />
      {id && <OneAccount id={id} />}
    </>
  );
}

function Find({ first }: { first: string }) {
  const [id, setId] = useState(first);
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (id.trim() !== "") navigate(`/operate/accounts/${encodeURIComponent(id.trim())}`);
  };
  return (
    <form className="form panel operate-form find" onSubmit={submit}>
      <Field
        label="Account id"
        value={id}
        onChange={(event) => setId(event.target.value)}
        autoComplete="off"
        spellCheck={false}
        hint="As it stands in the address of the account's page, and in a what-if report."
      />
      <div className="actions">
        <button type="submit" className="button">
          Show the account
        </button>
      </div>
    </form>
  );
}

function OneAccount({ id }: { id: string }) {
  const account = useQuery(accountQuery(id));
  const version = useQuery({
    ...versionQuery(account.data?.program.version ?? ""),
    enabled: account.data !== undefined,
  });
  const overrides = useQuery({ ...overridesQuery(id), enabled: account.data !== undefined });
  const { data: me } = useQuery(meQuery);
  if (account.isError) return <Failure error={account.error} retry={() => account.refetch()} />;
  if (version.isError) return <Failure error={version.error} retry={() => version.refetch()} />;
  if (!account.data || !version.data) return <Skeleton lines={4} height={28} label="Loading the account" />;
  return (
    <>
      <h2>
        {account.data.number}, {account.data.program.name}, {account.data.phase.name}{" "}
        <StatusTag status={account.data.status} />
      </h2>
      <Link to={`/accounts/${id}`}>See the account as its trader does</Link>
      {may(me, "edit") && account.data.status === "active" && (
        <Decide account={account.data} version={version.data} />
      )}
      <h2>Decided so far</h2>
      {overrides.isPending && <Skeleton lines={2} height={28} label="Loading the decisions" />}
      {overrides.isError && <Failure error={overrides.error} retry={() => overrides.refetch()} />}
      {overrides.data?.length === 0 && <p className="muted">Nothing: the program's own rules hold.</p>}
      {overrides.data && overrides.data.length > 0 && <Decisions decisions={overrides.data} />}
    </>
  );
}

/** The rules of a phase as the program writes them. */
function writtenRules(version: KeptVersion, phase: number): unknown[] {
  const program = JSON.parse(version.canonical_json) as { phases?: { rules?: unknown[] }[] };
  return program.phases?.[phase]?.rules ?? [];
}

function Decide({ account, version }: { account: Account; version: KeptVersion }) {
  const written = writtenRules(version, account.phase.index);
  const rules = version.phases[account.phase.index]?.rules ?? [];
  const [place, setPlace] = useState(0);
  const [text, setText] = useState(() => JSON.stringify(written[0], null, 2) ?? "");
  const [reason, setReason] = useState("");
  const [error, setError] = useState<{ rule?: string; reason?: string; all?: string }>({});
  const intent = useRef(new Intent());
  const queries = useQueryClient();
  const notify = useNotify();
  const decide = useMutation({
    mutationFn: (body: { place: number; rule: Record<string, never> | null; reason: string }) =>
      askOnce(intent.current, body, (header) =>
        api.POST("/v1/accounts/{id}/overrides", { params: { path: { id: account.id }, header }, body }),
      ),
    onSuccess: () => {
      setReason("");
      notify("The decision holds from now on.", "good");
      void queries.invalidateQueries({ queryKey: ["accounts", account.id] });
    },
    onError: (refused) => {
      const told = asApiError(refused);
      const rule = told.field("rule") ?? undefined;
      const why = told.field("reason") ?? undefined;
      setError(rule || why ? { ...(rule && { rule }), ...(why && { reason: why }) } : { all: told.detail });
    },
  });
  const send = (own: boolean) => {
    const read = readJson(text);
    const wrongRule = !own && "error" in read ? read.error : undefined;
    const wrongReason = reason.trim() === "" ? "Say why; the trader reads it." : undefined;
    if (wrongRule || wrongReason) {
      setError({ ...(wrongRule && { rule: wrongRule }), ...(wrongReason && { reason: wrongReason }) });
      return;
    }
    setError({});
    const rule = own || "error" in read ? null : (read.value as Record<string, never>);
    decide.mutate({ place, rule, reason: reason.trim() });
  };
  return (
    <form
      className="form panel operate-form"
      noValidate
      aria-label="Decide"
      onSubmit={(event) => {
        event.preventDefault();
        send(false);
      }}
    >
      <div className="field">
        <label htmlFor="override-place">Rule</label>
        <select
          id="override-place"
          value={place}
          onChange={(event) => {
            const next = Number.parseInt(event.target.value, 10);
            setPlace(next);
            setText(JSON.stringify(written[next], null, 2) ?? "");
            setError({});
          }}
        >
          {rules.map((rule, index) => (
            <option key={`${index}-${rule.kind}`} value={index}>
              {rule.label}
            </option>
          ))}
        </select>
        <p className="field-hint">{rules[place]?.sentence}</p>
      </div>
      <div className="field">
        <label htmlFor="override-rule">The rule that is to hold, as programs write it</label>
        <textarea
          id="override-rule"
          rows={8}
          spellCheck={false}
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setError((held) => ({ ...held, rule: undefined }));
          }}
          aria-invalid={error.rule ? true : undefined}
          aria-describedby={error.rule ? "override-rule-error" : undefined}
        />
        {error.rule && (
          <p className="field-error" id="override-rule-error" role="alert">
            {error.rule}
          </p>
        )}
      </div>
      <Field
        label="Reason"
        value={reason}
        onChange={(event) => {
          setReason(event.target.value);
          setError((held) => ({ ...held, reason: undefined }));
        }}
        error={error.reason}
        autoComplete="off"
        hint="The trader reads it."
      />
      {error.all && (
        <p className="form-error" role="alert">
          {error.all}
        </p>
      )}
      <div className="actions">
        <button type="submit" className="button primary" disabled={decide.isPending}>
          {decide.isPending ? "Deciding…" : "Let this rule hold"}
        </button>
        <button type="button" className="button" disabled={decide.isPending} onClick={() => send(true)}>
          Let the program's own hold again
        </button>
      </div>
    </form>
  );
}
