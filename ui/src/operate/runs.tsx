import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, ask } from "../api/client";
import { runsQuery } from "../api/money-queries";
import { meQuery } from "../api/queries";
import type { ReconciliationRun } from "../api/types";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { More } from "../parts/more";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Actor } from "./actor";
import { oneOf } from "./address";
import { useDo } from "./asking";
import { type SubjectWord, subjectName, subjects } from "./compare";
import { ReconciliationNav } from "./differences";
import { may } from "./roles";
import { whole } from "./work";

/** When the books were compared, and what came of it. */
export default function RunsPage() {
  useTitle("Comparisons of the books");
  const { data: me } = useQuery(meQuery);
  const pages = useInfiniteQuery(runsQuery);
  const runs = pages.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <h1>Comparisons of the books</h1>
      <ReconciliationNav />
      <p className="lead">
        Each day by itself, and when somebody asks. What is younger than the end of a run may not be in the
        other books yet, and is left for the next one.
      </p>
      {may(me, "money") && <Start />}
      {pages.isPending && <Skeleton lines={5} height={28} label="Loading the runs" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && runs.length === 0 && <Empty title="The books were not compared yet" />}
      {runs.length > 0 && <Runs runs={runs} />}
      <More pages={pages} shown={runs.length} />
      {pages.isFetchNextPageError && <Failure error={pages.error} retry={() => pages.fetchNextPage()} />}
    </>
  );
}

function Start() {
  const [subject, setSubject] = useState<SubjectWord>("own");
  const start = useDo(
    (word: SubjectWord) => ask(api.POST("/v1/reconciliation/runs", { body: { with: word } })),
    (run) => `The comparison with ${subjectName(run.with)} is under way.`,
    ["reconciliation"],
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    start.mutate(subject);
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Compare the books">
      <Choice
        label="Compare with"
        value={subject}
        onChange={({ target }) => setSubject(oneOf(target.value, subjects) ?? "own")}
        hint="One that is under way is not begun again."
      >
        {subjects.map((word) => (
          <option key={word} value={word}>
            {subjectName(word)}
          </option>
        ))}
      </Choice>
      <div className="actions">
        <button type="submit" className="button primary" disabled={start.isPending}>
          {start.isPending ? "One moment…" : "Start the comparison"}
        </button>
      </div>
    </form>
  );
}

const stateWords: Record<string, readonly [string, string]> = {
  reading: ["Reading", "running"],
  comparing: ["Comparing", "running"],
  done: ["Done", "done"],
};

const counts = [
  ["lines", "New lines"],
  ["compared", "Compared"],
  ["posted", "Posted"],
  ["found", "Differences"],
  ["vanished", "Vanished"],
] as const;

function Runs({ runs }: { runs: readonly ReconciliationRun[] }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Runs">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Began, UTC</th>
            <th scope="col">With</th>
            <th scope="col">State</th>
            {counts.map(([name, label]) => (
              <th key={name} scope="col" className="num">
                {label}
              </th>
            ))}
            <th scope="col">From, UTC</th>
            <th scope="col">Until, UTC</th>
            <th scope="col">Ended, UTC</th>
            <th scope="col">Who asked</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => {
            const [word, tone] = stateWords[run.state] ?? [run.state, ""];
            return (
              <tr key={run.id} data-run={run.id}>
                <th scope="row" className="tab">
                  {utcSeconds(run.started_at)}
                </th>
                <td>{subjectName(run.with)}</td>
                <td>
                  <span className={`tag ${tone}`}>{word}</span>
                </td>
                {counts.map(([name]) => (
                  <td key={name} className="num">
                    {whole(run[name])}
                  </td>
                ))}
                <td className="tab">{utcSeconds(run.from)}</td>
                <td className="tab">{utcSeconds(run.until)}</td>
                <td className="tab">{run.ended_at ? utcSeconds(run.ended_at) : "–"}</td>
                <td>
                  <Actor id={run.started_by} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}
