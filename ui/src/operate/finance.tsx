import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, NavLink, useNavigate, useSearchParams } from "react-router-dom";
import { trialBalanceQuery } from "../api/money-queries";
import type { TrialBalance } from "../api/types";
import { fieldOf, instantIn } from "../audit/search";
import { money, signed } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { Empty, Failure, Skeleton } from "../parts/states";
import { saidIn, withQuery } from "./address";
import { balanced, instants, linesPath, offBy, unequal } from "./books";

const CSV = "/v1/finance/trial-balance/csv";

/** Around each screen of the books. */
export function FinanceNav() {
  return (
    <nav className="subnav" aria-label="Books">
      <NavLink to="/operate/finance" end>
        Trial balance
      </NavLink>
      <NavLink to="/operate/finance/reports">Reports</NavLink>
    </nav>
  );
}

/** What stands in every account of the firm's books. */
export default function FinancePage() {
  useTitle("Trial balance");
  const [address] = useSearchParams();
  const asOf = saidIn(address, instants);
  const books = useQuery(trialBalanceQuery(asOf));
  return (
    <>
      <h1>Finance</h1>
      <FinanceNav />
      <p className="lead">
        Every account of the firm's books. Nothing in them is changed or deleted: what was known at an earlier
        instant is read the same at any later one.
      </p>
      <WhenForm key={address.toString()} asOf={asOf} />
      <p className="muted">
        What had happened {asOf.effective ? `by ${utcSeconds(asOf.effective)} UTC` : "until now"}, as it was
        known {asOf.recorded ? `at ${utcSeconds(asOf.recorded)} UTC` : "now"}.
      </p>
      {books.isPending && <Skeleton lines={8} height={28} label="Loading the trial balance" />}
      {books.isError && <Failure error={books.error} retry={() => books.refetch()} />}
      {books.isSuccess && <Books books={books.data} csv={withQuery(CSV, asOf)} />}
    </>
  );
}

function WhenForm({ asOf }: { asOf: Partial<Record<(typeof instants)[number], string>> }) {
  const [draft, setDraft] = useState(asOf);
  const navigate = useNavigate();
  const change = (name: (typeof instants)[number]) => (event: { target: { value: string } }) =>
    setDraft((held) => ({ ...held, [name]: instantIn(event.target.value) }));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    navigate(withQuery("/operate/finance", draft));
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="As of when">
      <div className="fields">
        <Field
          label="Happened by, UTC"
          type="datetime-local"
          step={1}
          defaultValue={fieldOf(asOf.effective)}
          onChange={change("effective")}
          hint="Everything, if empty"
        />
        <Field
          label="As known at, UTC"
          type="datetime-local"
          step={1}
          defaultValue={fieldOf(asOf.recorded)}
          onChange={change("recorded")}
          hint="As it is known now, if empty"
        />
      </div>
      <div className="actions">
        <button type="submit" className="button primary">
          Show
        </button>
        {Object.keys(asOf).length > 0 && (
          <Link className="button" to="/operate/finance">
            Show now
          </Link>
        )}
      </div>
    </form>
  );
}

function Books({ books, csv }: { books: TrialBalance; csv: string }) {
  if (books.balances.length === 0)
    return (
      <Empty title="Nothing stands in the books as of then">
        <p>The first entry is written with the first payment.</p>
      </Empty>
    );
  return (
    <>
      <Statement books={books} />
      <div className="work-head">
        <h2>Accounts</h2>
        <a className="button small" href={csv} download>
          Download as CSV
        </a>
      </div>
      <section className="table-scroll panel" tabIndex={0} aria-label="Balances of the accounts">
        <table className="data">
          <thead>
            <tr>
              <th scope="col">Account</th>
              <th scope="col">Currency</th>
              <th scope="col" className="num">
                Debits
              </th>
              <th scope="col" className="num">
                Credits
              </th>
              <th scope="col" className="num">
                Balance
              </th>
            </tr>
          </thead>
          <tbody>
            {books.balances.map(({ account, currency, debits, credits, balance }) => (
              <tr key={`${currency} ${account}`} data-account={account}>
                <th scope="row">
                  <Link to={linesPath(account, currency)}>{account}</Link>
                </th>
                <td>{currency}</td>
                <td className="num">{money(debits)}</td>
                <td className="num">{money(credits)}</td>
                <td className="num">{money(balance)}</td>
              </tr>
            ))}
          </tbody>
          <tfoot>
            {books.sums.map(({ currency, debits, credits }) => (
              <tr key={currency}>
                <th scope="row">All accounts</th>
                <td>{currency}</td>
                <td className="num">{money(debits)}</td>
                <td className="num">{money(credits)}</td>
                <td />
              </tr>
            ))}
          </tfoot>
        </table>
      </section>
    </>
  );
}

function Statement({ books }: { books: TrialBalance }) {
  const good = balanced(books);
  return (
    <div className={`checks panel ${good ? "holds" : "refused"}`}>
      <p className="checks-all" role="status" data-outcome={good ? "holds" : "refused"}>
        <span className={`tag ${good ? "passed" : "failed"}`}>{good ? "Balanced" : "Not balanced"}</span>{" "}
        <strong>
          {good
            ? "Debits equal credits in every currency."
            : "Debits do not equal credits. Do not trust a figure of these books until the cause is found."}
        </strong>
      </p>
      {!good && (
        <ul aria-label="Where they differ">
          {unequal(books).map((side) => (
            <li key={side.currency}>
              <b>{side.currency}</b>
              <p>
                Debits less credits are <span className="tab">{signed(offBy(side))}</span>.
              </p>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
