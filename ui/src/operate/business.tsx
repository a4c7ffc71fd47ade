import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { businessQuery } from "../api/analytics";
import type { Business } from "../api/types";
import { moneyIn } from "../lib/format";
import { useTitle } from "../lib/title";
import { Freshness } from "../parts/freshness";
import { Empty, Failure, Skeleton } from "../parts/states";
import {
  dayBefore,
  daysOf,
  kinds,
  nothing,
  type PhaseCount,
  phasesOf,
  programsOf,
  type Sum,
  sumsOf,
} from "./counters";
import { whole } from "./work";

const spans = [
  [7, "7 days"],
  [30, "30 days"],
  [90, "90 days"],
  [365, "365 days"],
] as const;

/** How the firm's business goes. */
export default function BusinessPage() {
  useTitle("Business");
  const [days, setDays] = useState<number>(30);
  const [program, setProgram] = useState("");
  // Today is one of the days.
  const business = useQuery({
    ...businessQuery(dayBefore(Date.now(), days - 1)),
    placeholderData: keepPreviousData,
  });
  return (
    <>
      <h1>Business</h1>
      <p className="lead">
        What the firm sells, earns and pays. The counters are read anew every few seconds.
      </p>
      <div className="filters">
        <fieldset className="segments">
          <legend className="hidden">Which days</legend>
          {spans.map(([count, label]) => (
            <button key={count} type="button" aria-pressed={days === count} onClick={() => setDays(count)}>
              {label}
            </button>
          ))}
        </fieldset>
        {business.data && (
          <label className="select">
            <span>Program</span>
            <select value={program} onChange={(event) => setProgram(event.target.value)}>
              <option value="">All programs</option>
              {programsOf(business.data).map((slug) => (
                <option key={slug} value={slug}>
                  {slug}
                </option>
              ))}
            </select>
          </label>
        )}
        {business.data && <Freshness asOf={business.data.as_of} failing={business.isError} />}
      </div>
      {business.isPending && <Skeleton lines={5} height={40} label="Loading the counters" />}
      {business.isError && !business.data && (
        <Failure error={business.error} retry={() => business.refetch()} />
      )}
      {business.data === null && (
        <Empty title="The counters are not available at the moment">
          <p>
            Nothing is lost: they are counted from what was written, and appear here once they can be read.
          </p>
          <button type="button" className="button" onClick={() => business.refetch()}>
            Try again
          </button>
        </Empty>
      )}
      {business.data && <Counters business={of(business.data, program)} days={days} />}
    </>
  );
}

/** The counters of one program; of all where none is named. */
function of(business: Business, program: string): Business {
  if (program === "") return business;
  return {
    ...business,
    accounts: business.accounts.filter((count) => count.program === program),
    days: business.days.filter((happened) => happened.program === program),
  };
}

function Counters({ business, days }: { business: Business; days: number }) {
  const today = business.as_of.slice(0, 10);
  const all = sumsOf(business.days);
  const now = sumsOf(business.days.filter(({ day }) => day === today));
  return (
    <>
      <dl className="facts counters">
        {kinds.map(([what, name]) => (
          <div key={what} data-counter={what}>
            <dt>{name}</dt>
            <dd className="tab">{whole((all.get(what) ?? nothing).count)}</dd>
            <Amounts sum={all.get(what) ?? nothing} />
            <dd className="fact-note">{whole((now.get(what) ?? nothing).count)} today</dd>
          </div>
        ))}
      </dl>
      <h2>Accounts there are now</h2>
      {business.accounts.length === 0 ? (
        <p className="muted">No account was opened yet.</p>
      ) : (
        <Accounts phases={phasesOf(business.accounts)} />
      )}
      <h2>By day, UTC</h2>
      {business.days.length === 0 ? (
        <p className="muted">Nothing happened in these {days} days.</p>
      ) : (
        <Days business={business} />
      )}
    </>
  );
}

function Amounts({ sum }: { sum: Sum }) {
  return [...sum.amounts].map(([currency, amount]) => (
    <dd key={currency} className="amount tab">
      {moneyIn(amount, currency)}
    </dd>
  ));
}

const statuses = [
  ["active", "Active"],
  ["passed", "Passed"],
  ["breached", "Breached"],
  ["expired", "Expired"],
] as const;

function Accounts({ phases }: { phases: readonly PhaseCount[] }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Accounts there are now">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Program</th>
            <th scope="col" className="num">
              Phase
            </th>
            {statuses.map(([status, name]) => (
              <th key={status} scope="col" className="num">
                {name}
              </th>
            ))}
            <th scope="col" className="num">
              All
            </th>
          </tr>
        </thead>
        <tbody>
          {phases.map(({ program, phase, counts, all }) => (
            <tr key={`${program}/${phase}`}>
              <th scope="row">{program}</th>
              <td className="num">{phase + 1}</td>
              {statuses.map(([status]) => (
                <td key={status} className="num">
                  {whole(counts[status] ?? 0)}
                </td>
              ))}
              <td className="num">{whole(all)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Days({ business }: { business: Business }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="By day">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Day</th>
            {kinds.map(([what, name]) => (
              <th key={what} scope="col" className="num">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {daysOf(business.days).map(({ day, sums }) => (
            <tr key={day}>
              <th scope="row" className="tab">
                {day}
              </th>
              {kinds.map(([what]) => (
                <td key={what} className="num">
                  <Cell sum={sums.get(what) ?? nothing} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Cell({ sum }: { sum: Sum }) {
  if (sum.count === 0) return <span className="muted">–</span>;
  const amounts = [...sum.amounts].map(([currency, amount]) => moneyIn(amount, currency));
  return (
    <>
      {whole(sum.count)}
      {amounts.length > 0 && <small className="muted"> · {amounts.join(" + ")}</small>}
    </>
  );
}
