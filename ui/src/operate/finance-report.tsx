import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";
import { asApiError } from "../api/error";
import { reportQuery } from "../api/money-queries";
import type { FinanceReport } from "../api/types";
import { money } from "../lib/format";
import { useTitle } from "../lib/title";
import { Choice } from "../parts/choice";
import { Field } from "../parts/field";
import { Empty, Failure, Skeleton } from "../parts/states";
import { oneOf, saidIn, withQuery } from "./address";
import {
  type ApartBy,
  addsUp,
  apartBy,
  byOf,
  byText,
  type ReportName,
  reportNames,
  reports,
  totals,
} from "./books";
import { FinanceNav } from "./finance";
import { whole } from "./work";

const names = ["report", "from", "to", "by"] as const;
type Asked = { report: ReportName; from: string | undefined; to: string | undefined; by: ApartBy[] };

/** Sums over the books: by day, program, provider and currency. */
export default function FinanceReportPage() {
  useTitle("Finance reports");
  const [address] = useSearchParams();
  const said = saidIn(address, names);
  const report = oneOf(said.report, reportNames) ?? "revenue";
  const asked: Asked = { report, from: said.from, to: said.to, by: byOf(said.by) };
  const query = { from: asked.from, to: asked.to, by: byText(asked.by) };
  const found = useQuery({
    ...reportQuery(report, query),
    placeholderData: (held) => (held?.report === report ? keepPreviousData(held) : undefined),
  });
  return (
    <>
      <h1>Finance reports</h1>
      <FinanceNav />
      <p className="lead">{reports[report].about} Days are those of UTC.</p>
      <AskForm
        key={address.toString()}
        asked={asked}
        refused={found.isError ? asApiError(found.error).field("from") : null}
      />
      {found.isPending && <Skeleton lines={6} height={28} label="Loading the report" />}
      {found.isError && <Failure error={found.error} retry={() => found.refetch()} />}
      {found.isSuccess && found.data.rows.length === 0 && (
        <Empty title={`Nothing from ${found.data.from} to ${found.data.to}`}>
          <p>What did not happen is not in a report.</p>
        </Empty>
      )}
      {found.isSuccess && found.data.rows.length > 0 && (
        <Rows
          found={found.data}
          asked={asked}
          csv={withQuery(`/v1/finance/reports/${report}/csv`, query)}
          old={found.isPlaceholderData}
        />
      )}
    </>
  );
}

const byWords = { day: "Day", program: "Program", provider: "Provider" } as const;

function AskForm({ asked, refused }: { asked: Asked; refused: string | null }) {
  const [draft, setDraft] = useState(asked);
  const [wrong, setWrong] = useState<string | null>(null);
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (draft.from && draft.to && draft.from > draft.to) return setWrong("It ends before it begins.");
    const { report, from, to, by } = draft;
    const path = "/operate/finance/reports";
    const said = by.length === apartBy.length ? undefined : byText(by) || "none";
    navigate(withQuery(path, { report, from: from || undefined, to: to || undefined, by: said }));
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Which report">
      <div className="fields">
        <Choice
          label="Report"
          value={draft.report}
          onChange={({ target }) =>
            setDraft((held) => ({ ...held, report: oneOf(target.value, reportNames) ?? "revenue" }))
          }
        >
          {reportNames.map((name) => (
            <option key={name} value={name}>
              {reports[name].name}
            </option>
          ))}
        </Choice>
        <Field
          label="First day"
          type="date"
          value={draft.from ?? ""}
          onChange={({ target }) => {
            setDraft((held) => ({ ...held, from: target.value }));
            setWrong(null);
          }}
          error={wrong ?? refused}
          hint="Thirty days before the last, if empty"
        />
        <Field
          label="Last day"
          type="date"
          value={draft.to ?? ""}
          onChange={({ target }) => {
            setDraft((held) => ({ ...held, to: target.value }));
            setWrong(null);
          }}
          hint="Today, if empty"
        />
      </div>
      <fieldset className="by">
        <legend>Told apart by</legend>
        {apartBy.map((word) => (
          <label key={word} className="check">
            <input
              type="checkbox"
              checked={draft.by.includes(word)}
              onChange={({ target }) =>
                setDraft((held) => ({
                  ...held,
                  by: target.checked ? [...held.by, word] : held.by.filter((other) => other !== word),
                }))
              }
            />
            {byWords[word]}
          </label>
        ))}
        <span className="muted">and always by currency</span>
      </fieldset>
      <div className="actions">
        <button type="submit" className="button primary">
          Show
        </button>
      </div>
    </form>
  );
}

function Rows({
  found,
  asked: { report, by },
  csv,
  old,
}: {
  found: FinanceReport;
  asked: Asked;
  csv: string;
  old: boolean;
}) {
  const { name, counts, columns } = reports[report];
  const apart = apartBy.filter((word) => by.includes(word));
  const sums = addsUp(report, by) ? totals(found.rows, columns) : [];
  return (
    <>
      <div className="work-head">
        <h2>
          {name}, {found.from} to {found.to}
        </h2>
        <a className="button small" href={csv} download>
          Download as CSV
        </a>
      </div>
      <section className="table-scroll panel" tabIndex={0} aria-label={name} aria-busy={old}>
        <table className="data">
          <thead>
            <tr>
              {apart.map((word) => (
                <th key={word} scope="col">
                  {byWords[word]}
                </th>
              ))}
              <th scope="col">Currency</th>
              {counts && (
                <th scope="col" className="num">
                  {counts}
                </th>
              )}
              {columns.map(([column, label]) => (
                <th key={column} scope="col" className="num">
                  {label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {found.rows.map((row) => (
              <tr key={`${row.day} ${row.program} ${row.provider} ${row.currency}`}>
                {apart.map((word) => (
                  <td key={word} className={word === "day" ? "tab" : undefined}>
                    {row[word] ?? <span className="muted">–</span>}
                  </td>
                ))}
                <td>{row.currency}</td>
                {counts && <td className="num">{whole(row.count)}</td>}
                {columns.map(([column]) => (
                  <td key={column} className="num">
                    {amountText(row.amounts[column])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
          {sums.length > 0 && (
            <tfoot>
              {sums.map((total) => (
                <tr key={total.currency}>
                  {apart.length > 0 && (
                    <th scope="row" colSpan={apart.length}>
                      All
                    </th>
                  )}
                  <td>{total.currency}</td>
                  {counts && <td className="num">{whole(total.count)}</td>}
                  {columns.map(([column]) => (
                    <td key={column} className="num">
                      {amountText(total.amounts[column])}
                    </td>
                  ))}
                </tr>
              ))}
            </tfoot>
          )}
        </table>
      </section>
    </>
  );
}

function amountText(amount: string | undefined): string {
  return amount === undefined ? "–" : money(amount);
}
