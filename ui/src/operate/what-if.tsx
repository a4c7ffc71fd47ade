import { useMutation, useQuery } from "@tanstack/react-query";
import { type ChangeEvent, type FormEvent, useState } from "react";
import { Link } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { meQuery, programsQuery, versionQuery } from "../api/queries";
import type { ProgramChange, WhatIf } from "../api/types";
import { wordFor } from "../lib/format";
import { withReadableTimes } from "../lib/time";
import { useTitle } from "../lib/title";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Changes } from "../screens/program";
import { looksLikeJson, readJson } from "./json";
import { parts } from "./report";
import { may } from "./roles";

interface Faults {
  faults: readonly { path: string; say: string }[];
}

interface Judged {
  report: WhatIf;
  changes: readonly ProgramChange[];
}

/** The history of a program's accounts under its own rules and under others. */
export default function WhatIfPage() {
  useTitle("What if");
  const programs = useQuery(programsQuery);
  if (programs.isPending) return <Skeleton lines={5} height={40} label="Loading the programs" />;
  if (programs.isError) return <Failure error={programs.error} retry={() => programs.refetch()} />;
  if (programs.data.length === 0) return <Empty title="No programs are on sale" />;
  return <Question programs={programs.data} />;
}

function Question({ programs }: { programs: readonly { slug: string; name: string; version: string }[] }) {
  const [slug, setSlug] = useState(programs[0]?.slug ?? "");
  const [text, setText] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [faults, setFaults] = useState<Faults["faults"]>([]);
  const { data: me } = useQuery(meQuery);
  const notify = useNotify();
  const chosen = programs.find((program) => program.slug === slug);
  const onSale = useQuery({ ...versionQuery(chosen?.version ?? ""), enabled: chosen !== undefined });

  const judge = useMutation({
    mutationFn: async (source: string): Promise<Judged | Faults> => {
      let other: Record<string, unknown>;
      let changes: readonly ProgramChange[] = [];
      if (may(me, "edit")) {
        // The check names every fault at once, and gives the program in its exact form.
        const body = {
          ...(looksLikeJson(source) ? { program: jsonOf(source) } : { toml: source }),
          ...(chosen ? { against: chosen.version } : {}),
        };
        const found = await ask(api.POST("/v1/programs/check", { body }));
        if (!found.checked) return { faults: found.faults };
        changes = found.checked.changes;
        other = jsonOf(found.checked.canonical_json);
      } else {
        other = jsonOf(source);
      }
      const question = { program: slug, other: other as Record<string, never> };
      return { report: await ask(api.POST("/v1/what-if", { body: question })), changes };
    },
    onSuccess: (found) => {
      if ("faults" in found) setFaults(found.faults);
    },
    onError: (refused) => setError(asApiError(refused).detail),
  });

  const edit = (next: string) => {
    setText(next);
    setError(null);
    setFaults([]);
  };
  const upload = async (event: ChangeEvent<HTMLInputElement>) => {
    const file = event.target.files?.[0];
    if (!file) return;
    edit(await file.text());
    notify(`${file.name} was read.`);
    event.target.value = "";
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setFaults([]);
    if (text.trim() === "") {
      setError("Paste or upload the other program.");
      return;
    }
    if (looksLikeJson(text)) {
      const read = readJson(text);
      if ("error" in read) {
        setError(read.error);
        return;
      }
    } else if (!may(me, "edit")) {
      setError("Your role reads programs as JSON only.");
      return;
    }
    setError(null);
    judge.mutate(text);
  };
  const judged = judge.data && "report" in judge.data ? judge.data : null;
  const wrong = error ? "what-if-error" : faults.length > 0 ? "what-if-faults" : undefined;
  return (
    <>
      <h1>What if</h1>
      <p className="lead">
        Judges the history of a program's accounts by other rules, quote by quote. Nothing is changed, and no
        trader learns of it.
      </p>
      <form className="form panel operate-form" onSubmit={submit} noValidate>
        <div className="field">
          <label htmlFor="what-if-program">Accounts bought under</label>
          <select id="what-if-program" value={slug} onChange={(event) => setSlug(event.target.value)}>
            {programs.map((program) => (
              <option key={program.slug} value={program.slug}>
                {program.name}
              </option>
            ))}
          </select>
        </div>
        <div className="field">
          <label htmlFor="what-if-other">The other program, as TOML or JSON</label>
          <textarea
            id="what-if-other"
            rows={12}
            spellCheck={false}
            value={text}
            onChange={(event) => edit(event.target.value)}
            aria-invalid={wrong ? true : undefined}
            aria-describedby={wrong}
          />
          {error && (
            <p className="field-error" id="what-if-error" role="alert">
              {error}
            </p>
          )}
          {faults.length > 0 && (
            <div id="what-if-faults" role="alert">
              <p className="field-error">The program cannot be used:</p>
              <ul className="faults">
                {faults.map((fault) => (
                  <li key={fault.path + fault.say}>
                    {fault.path && <code>{fault.path}</code>} {fault.say}
                  </li>
                ))}
              </ul>
            </div>
          )}
        </div>
        <div className="actions">
          <label className="button file">
            Upload a file
            <input type="file" accept=".toml,.json,text/plain,application/json" onChange={upload} />
          </label>
          <button
            type="button"
            className="button"
            disabled={!onSale.data}
            onClick={() => onSale.data && edit(pretty(onSale.data.canonical_json))}
          >
            Start from the rules on sale
          </button>
          <button type="submit" className="button primary" disabled={judge.isPending}>
            {judge.isPending ? "Judging the history…" : "Judge"}
          </button>
        </div>
      </form>
      {judge.isPending && <Skeleton lines={6} height={24} label="Judging the history" />}
      {judged && <Report {...judged} />}
    </>
  );
}

function jsonOf(text: string): Record<string, never> {
  const read = readJson(text);
  if ("error" in read) throw new Error(read.error);
  return read.value as Record<string, never>;
}

const pretty = (text: string) => JSON.stringify(JSON.parse(text), null, 2);

function Report({ report, changes }: Judged) {
  return (
    <section className="what-if-report" aria-label="Report">
      <h2>
        {report.turned === 0
          ? "No account would stand elsewhere"
          : `${report.turned} of ${report.accounts} accounts would stand elsewhere`}
      </h2>
      <p className="muted">
        {report.accounts} accounts, {report.quotes} quotes and {report.commands} commands were applied;{" "}
        {report.differing} accounts differ in anything.
      </p>
      {!report.reliable && (
        <p className="caution" role="alert">
          Not to be relied on: quotes are missing, or under their own rules accounts do not come out as they
          are stored.
        </p>
      )}
      {report.remarks.map((remark) => (
        <p key={remark} className="caution">
          {remark}
        </p>
      ))}
      {report.left_out.map((left) => (
        <p key={left.version} className="caution">
          Left out <code>{left.version.slice(0, 12)}</code>: {left.reason}
        </p>
      ))}
      {changes.length > 0 && (
        <details className="panel pad-box">
          <summary>What the other program says differently</summary>
          <Changes changes={changes} />
        </details>
      )}
      <section className="table-scroll panel" tabIndex={0} aria-label="Both programs side by side">
        <table className="data">
          <thead>
            <tr>
              <th scope="col">Under</th>
              <th scope="col" className="num">
                Their own rules
              </th>
              <th scope="col" className="num">
                {report.other}
              </th>
            </tr>
          </thead>
          {parts(report).map((part) => (
            <tbody key={part.title}>
              <tr className="part">
                <th scope="rowgroup" colSpan={3}>
                  {part.title}
                </th>
              </tr>
              {part.lines.length === 0 && (
                <tr>
                  <td colSpan={3} className="muted">
                    None
                  </td>
                </tr>
              )}
              {part.lines.map((line) => (
                <tr key={line.label} className={line.differs ? "differs" : undefined}>
                  <th scope="row">{line.label}</th>
                  <td className="num">{line.own}</td>
                  <td className="num">{line.other}</td>
                </tr>
              ))}
            </tbody>
          ))}
        </table>
      </section>
      {report.differences.length > 0 && (
        <>
          <h2>Accounts that differ</h2>
          <section className="table-scroll panel" tabIndex={0} aria-label="Accounts that differ">
            <table className="data">
              <thead>
                <tr>
                  <th scope="col">Account</th>
                  <th scope="col" className="num">
                    Phase
                  </th>
                  <th scope="col">Own rules</th>
                  <th scope="col">Other rules</th>
                  <th scope="col">In one sentence</th>
                </tr>
              </thead>
              <tbody>
                {report.differences.map((difference) => (
                  <tr key={`${difference.account}-${difference.phase}`}>
                    <th scope="row">
                      <Link to={`/operate/accounts/${difference.account}`}>{difference.number}</Link>
                    </th>
                    <td className="num">{difference.phase + 1}</td>
                    <td>{difference.own ? wordFor(difference.own.status) : "not opened"}</td>
                    <td>{difference.under_other ? wordFor(difference.under_other.status) : "not opened"}</td>
                    <td className="sentence">{withReadableTimes(difference.sentence)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </section>
          {report.differing > report.differences.length && (
            <p className="muted">
              The first {report.differences.length} of {report.differing} are shown.
            </p>
          )}
        </>
      )}
    </section>
  );
}
