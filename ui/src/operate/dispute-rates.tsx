import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";
import { ratesQuery } from "../api/money-queries";
import type { DisputeRate } from "../api/types";
import { money } from "../lib/format";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { Empty, Failure, Skeleton } from "../parts/states";
import { withQuery } from "./address";
import { levelText, monthOf, thresholds } from "./contested";
import { DisputesNav } from "./disputes";
import { whole } from "./work";

/** How many of a month's payments are disputed, by provider. */
export default function DisputeRatesPage() {
  useTitle("Rates of disputes");
  const [address] = useSearchParams();
  const month = monthOf(address.get("month") ?? undefined);
  const rates = useQuery(ratesQuery(month));
  return (
    <>
      <h1>Rates of disputes</h1>
      <DisputesNav />
      <p className="lead">
        Providers act upon a firm whose rate stays high. From {thresholds.warn}&nbsp;% on it is to be looked
        at, from {thresholds.alert}&nbsp;% on it is an alert; a month with fewer than{" "}
        {thresholds.leastPayments} payments is not judged.
      </p>
      <MonthForm key={month ?? ""} month={month} />
      {rates.isPending && <Skeleton lines={3} height={28} label="Loading the rates" />}
      {rates.isError && <Failure error={rates.error} retry={() => rates.refetch()} />}
      {rates.data?.length === 0 && <Empty title="No payment was captured in this month" />}
      {rates.data && rates.data.length > 0 && <Rates rates={rates.data} />}
    </>
  );
}

function MonthForm({ month }: { month: string | undefined }) {
  const [text, setText] = useState(month ?? "");
  const [wrong, setWrong] = useState<string | null>(null);
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const read = monthOf(text);
    if (text.trim() !== "" && read === undefined) return setWrong("Write a month like 2026-06.");
    setWrong(null);
    navigate(withQuery("/operate/disputes/rates", { month: read }));
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Which month">
      <div className="fields">
        <Field
          label="Month, UTC"
          value={text}
          onChange={({ target }) => {
            setText(target.value);
            setWrong(null);
          }}
          error={wrong}
          inputMode="numeric"
          autoComplete="off"
          placeholder="2026-06"
          hint="This one, if empty"
        />
      </div>
      <div className="actions">
        <button type="submit" className="button primary">
          Show
        </button>
      </div>
    </form>
  );
}

function Rates({ rates }: { rates: readonly DisputeRate[] }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Rates by provider">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Provider</th>
            <th scope="col">Month</th>
            <th scope="col" className="num">
              Disputes
            </th>
            <th scope="col" className="num">
              Payments
            </th>
            <th scope="col" className="num">
              Rate
            </th>
            <th scope="col">Level</th>
          </tr>
        </thead>
        <tbody>
          {rates.map((rate) => {
            const judged = rate.payments >= thresholds.leastPayments || rate.level !== null;
            const [word, tone] = judged ? levelText(rate.level) : (["Not judged", ""] as const);
            return (
              <tr key={`${rate.provider} ${rate.month}`}>
                <th scope="row">{rate.provider}</th>
                <td className="tab">{rate.month}</td>
                <td className="num">{whole(rate.disputes)}</td>
                <td className="num">{whole(rate.payments)}</td>
                <td className="num">{money(rate.percent)}&nbsp;%</td>
                <td>
                  <span className={`tag ${tone}`}>{word}</span>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}
