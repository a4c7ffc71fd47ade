import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { useSearchParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { ApiError, asApiError } from "../api/error";
import type { AuditCheckpoint, AuditKey } from "../api/types";
import type { Log, WitnessLine } from "../audit/checks";
import type { Memory } from "../audit/memory";
import { continuationQuery, forgetLog, giveKey, logQuery } from "../audit/queries";
import { wholeIn } from "../audit/search";
import { ageWords, utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Checks, CheckTag } from "../parts/checks";
import { Copyable } from "../parts/copyable";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Failure, Skeleton } from "../parts/states";
import { AuditNav } from "./audit";
import { whole } from "./work";

/** What was signed of the log, and whether it is the log that this browser knows. */
export default function CheckpointsPage() {
  useTitle("Checkpoints");
  const log = useQuery(logQuery);
  return (
    <>
      <h1>Checkpoints</h1>
      <AuditNav />
      <p className="lead">
        A checkpoint says how long the log is and what its tree comes to, and is signed. Two of them and a
        proof show that nothing between was rewritten. It is signed when the log has grown, at most every two
        seconds.
      </p>
      {log.isPending && <Skeleton lines={8} height={28} label="Loading and verifying the checkpoints" />}
      {log.isError && !log.data && <NoLog error={log.error} retry={() => log.refetch()} />}
      {log.isError && log.data && (
        <p className="stale-note" role="status">
          The newest checkpoint could not be read anew: {asApiError(log.error).detail} Trying again.
        </p>
      )}
      {log.data && (
        <>
          <Newest log={log.data} />
          <Witnesses log={log.data} />
          <Continuation newest={log.data.newest} memory={log.data.memory} />
          <Known memory={log.data.memory} keys={log.data.served} />
        </>
      )}
    </>
  );
}

export function NoLog({ error, retry }: { error: unknown; retry: () => void }) {
  if (error instanceof ApiError && error.status === 404)
    return (
      <p className="muted">Nothing was signed yet. The first checkpoint comes with the first entries.</p>
    );
  return <Failure error={error} retry={retry} />;
}

/** How long ago, counted on while it is looked at. */
function Age({ at }: { at: string }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return <>{ageWords((now - Date.parse(at)) / 1000)}</>;
}

function Newest({ log }: { log: Log }) {
  const { newest } = log;
  return (
    <>
      <h2>The newest</h2>
      <dl className="facts">
        <div>
          <dt>Entries</dt>
          <dd>{whole(newest.size)}</dd>
        </div>
        <div>
          <dt>Age</dt>
          <dd>
            <Age at={newest.at} />
          </dd>
          <dd className="fact-note">{utcSeconds(newest.at)} UTC</dd>
        </div>
        <div>
          <dt>Witnesses</dt>
          <dd>{whole(log.witnesses.length)}</dd>
        </div>
      </dl>
      <Checks
        checks={log.checks}
        label="What was verified of the log"
        said={{
          holds: "Verified in this browser: the log only grew since it was seen last.",
          refused: "This is not the log that was signed, or that this browser knows.",
          unchecked: "Not everything could be verified here.",
        }}
      />
      <div className="canonical panel">
        <details>
          <summary>The signed note</summary>
          <pre tabIndex={0}>{newest.note}</pre>
        </details>
      </div>
    </>
  );
}

function Witnesses({ log }: { log: Log }) {
  return (
    <section>
      <h2>Witnesses of the newest</h2>
      {log.witnesses.length === 0 ? (
        <p className="muted">Nobody else has signed this checkpoint yet.</p>
      ) : (
        <section className="table-scroll panel" tabIndex={0} aria-label="Witnesses">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Witness</th>
                <th scope="col">Its signature</th>
                <th scope="col">Signed at, UTC</th>
                <th scope="col">Key</th>
              </tr>
            </thead>
            <tbody>
              {log.witnesses.map((line) => (
                <WitnessRow key={line.witness} line={line} />
              ))}
            </tbody>
          </table>
        </section>
      )}
      <p className="fine">
        A witness has seen that the log only grew. Whom to trust you decide: compare the key with the one that
        the witness gave you.
      </p>
      <Cosign newest={log.newest} />
    </section>
  );
}

function WitnessRow({ line: { witness, name, at, check } }: { line: WitnessLine }) {
  return (
    <tr data-witness={check.state}>
      <th scope="row">{name}</th>
      <td>
        <CheckTag state={check.state} />
        {check.state !== "holds" && <span className="muted"> {check.said}</span>}
      </td>
      <td className="tab">{at === null ? "–" : utcSeconds(new Date(at * 1000).toISOString())}</td>
      <td>
        <code>{witness}</code>
      </td>
    </tr>
  );
}

/** A witness without a program of its own hands its line in here. */
function Cosign({ newest }: { newest: AuditCheckpoint }) {
  const [size, setSize] = useState(String(newest.size));
  const [key, setKey] = useState("");
  const [line, setLine] = useState("");
  const queries = useQueryClient();
  const notify = useNotify();
  const keep = useMutation({
    mutationFn: () =>
      ask(
        api.POST("/v1/audit/checkpoints/{size}/cosignatures", {
          params: { path: { size: wholeIn(size) ?? 0 } },
          body: { key: key.trim(), line: line.trim() },
        }),
      ),
    onSuccess: () => {
      setLine("");
      notify("The signature is kept beside the checkpoint.", "good");
      void queries.invalidateQueries({ queryKey: logQuery.queryKey });
    },
  });
  const told = keep.isError ? asApiError(keep.error) : null;
  const named = told?.field("key") ?? told?.field("line");
  return (
    <details className="canonical panel">
      <summary>Hand in the signature of a witness</summary>
      <form
        className="form"
        noValidate
        aria-label="Hand in the signature of a witness"
        onSubmit={(event) => {
          event.preventDefault();
          keep.mutate();
        }}
      >
        <Field
          label="Entries of the checkpoint"
          inputMode="numeric"
          value={size}
          onChange={(event) => setSize(event.target.value)}
          error={told?.status === 404 ? "There is no checkpoint of that size." : null}
        />
        <Field
          label="The witness's key"
          value={key}
          onChange={(event) => setKey(event.target.value)}
          error={told?.field("key")}
          spellCheck={false}
          autoComplete="off"
          hint="As C2SP signed-note writes it, of type 4"
        />
        <Field
          label="The line it signed"
          value={line}
          onChange={(event) => setLine(event.target.value)}
          error={told?.field("line")}
          spellCheck={false}
          autoComplete="off"
        />
        {told && told.status !== 404 && !named && (
          <p className="form-error" role="alert">
            {told.detail}
          </p>
        )}
        <div className="actions">
          <button type="submit" className="button" disabled={keep.isPending}>
            {keep.isPending ? "Checking…" : "Keep it"}
          </button>
        </div>
      </form>
    </details>
  );
}

function Continuation({ newest, memory }: { newest: AuditCheckpoint; memory: Memory | null }) {
  const [address, setAddress] = useSearchParams();
  const from = wholeIn(address.get("from") ?? "");
  const to = wholeIn(address.get("to") ?? "");
  const seen = memory?.seen ?? [];
  return (
    <section>
      <h2>From one checkpoint to another</h2>
      {seen.length > 0 && (
        <section className="table-scroll panel" tabIndex={0} aria-label="Checkpoints this browser saw">
          <table className="data">
            <caption className="hidden">Checkpoints that this browser saw</caption>
            <thead>
              <tr>
                <th scope="col" className="num">
                  Entries
                </th>
                <th scope="col">Signed at, UTC</th>
                <th scope="col" className="num">
                  Age
                </th>
                <th scope="col">Root</th>
                <th scope="col">
                  <span className="hidden">Compare with the newest</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {seen.map(({ size, root, at }) => (
                <tr key={size} data-seen={size}>
                  <th scope="row" className="num">
                    {whole(Number(size))}
                  </th>
                  <td className="tab">{utcSeconds(at)}</td>
                  <td className="num">
                    <Age at={at} />
                  </td>
                  <td>
                    <code>{root}</code>
                  </td>
                  <td className="num">
                    <button
                      type="button"
                      className="button small"
                      onClick={() => setAddress({ from: size, to: String(newest.size) })}
                    >
                      Compare with the newest
                      <span className="hidden">, from {whole(Number(size))} entries</span>
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <Between key={address.toString()} from={from} to={to} compare={(ends) => setAddress(ends)} />
      {from !== null && <Compared from={from} to={to} />}
    </section>
  );
}

function Between({
  from,
  to,
  compare,
}: {
  from: number | null;
  to: number | null;
  compare: (ends: Record<string, string>) => void;
}) {
  const [before, setBefore] = useState(from === null ? "" : String(from));
  const [after, setAfter] = useState(to === null ? "" : String(to));
  const [error, setError] = useState<{ from?: string; to?: string }>({});
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const [first, last] = [wholeIn(before), after.trim() === "" ? undefined : wholeIn(after)];
    const wrong = "Give how many entries a checkpoint has.";
    const found = { ...(first === null && { from: wrong }), ...(last === null && { to: wrong }) };
    setError(found);
    if (first !== null && last !== null)
      compare({ from: String(first), ...(last !== undefined && { to: String(last) }) });
  };
  return (
    <form
      className="form panel operate-form"
      noValidate
      onSubmit={submit}
      aria-label="Compare two checkpoints"
    >
      <div className="fields">
        <Field
          label="Entries before"
          inputMode="numeric"
          value={before}
          onChange={(event) => setBefore(event.target.value)}
          error={error.from}
          autoComplete="off"
        />
        <Field
          label="Entries after"
          inputMode="numeric"
          value={after}
          onChange={(event) => setAfter(event.target.value)}
          error={error.to}
          autoComplete="off"
          hint="Empty: the newest"
        />
      </div>
      <div className="actions">
        <button type="submit" className="button">
          Compare
        </button>
      </div>
    </form>
  );
}

function Compared({ from, to }: { from: number; to: number | null }) {
  const compared = useQuery(continuationQuery(from, to));
  if (compared.isPending) return <Skeleton lines={3} height={28} label="Comparing the checkpoints" />;
  if (compared.isError) {
    const { status, detail } = asApiError(compared.error);
    if (status !== 404 && status !== 422)
      return <Failure error={compared.error} retry={() => compared.refetch()} />;
    return (
      <p className="form-error" role="alert">
        {status === 404 ? "There is no checkpoint of one of these sizes." : detail}
      </p>
    );
  }
  const { before, after, checks } = compared.data;
  return (
    <Checks
      checks={checks}
      label="What was verified of the two"
      said={{
        holds: `The log of ${whole(after.size)} entries continues the one of ${whole(before.size)}.`,
        refused: "The later one does not continue the one before.",
        unchecked: "Not everything could be verified here.",
      }}
    />
  );
}

/** What the browser holds the log to. */
function Known({ memory, keys }: { memory: Memory | null; keys: readonly AuditKey[] }) {
  const [key, setKey] = useState("");
  const notify = useNotify();
  const give = useMutation({
    mutationFn: (given: string) => giveKey(given),
    onSuccess: () => {
      setKey("");
      notify("From now on the log is held to this key.", "good");
    },
  });
  const forget = useMutation({
    mutationFn: forgetLog,
    onSuccess: () => notify("What this browser knew of the log is forgotten.", "good"),
  });
  return (
    <section className="verify">
      <h2>The log's keys</h2>
      {keys.map(({ number, key: text, after_size }) => (
        <div key={number}>
          <p className="fine">
            Key {number}
            {after_size > 0 && `, after ${whole(after_size)} entries`}
          </p>
          <Copyable text={text} what={`key ${number}`} />
        </div>
      ))}
      <p>
        {memory?.given
          ? `This browser holds the log to the key that you gave on ${utcSeconds(memory.since)} UTC.`
          : "A key that comes with the log proves nothing against whoever runs it. Give the first key as you got it elsewhere: from the firm in writing, or from an earlier export."}
      </p>
      <form
        className="form panel operate-form"
        noValidate
        aria-label="Give the first key"
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim() !== "") give.mutate(key.trim());
        }}
      >
        <Field
          label="The log's first key, as you keep it"
          value={key}
          onChange={(event) => setKey(event.target.value)}
          spellCheck={false}
          autoComplete="off"
          hint="As tradesense audit key prints it"
        />
        <div className="actions">
          <button type="submit" className="button" disabled={give.isPending}>
            Hold the log to it
          </button>
          {memory && (
            <button
              type="button"
              className="button danger"
              disabled={forget.isPending}
              onClick={() => forget.mutate()}
            >
              Forget what this browser knows
            </button>
          )}
        </div>
      </form>
    </section>
  );
}
