import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router-dom";
import { linesQuery } from "../api/money-queries";
import type { LedgerLine } from "../api/types";
import { wordFor } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { More } from "../parts/more";
import { Empty, Failure, Skeleton } from "../parts/states";
import { withQuery } from "./address";
import { linesPath, sides } from "./books";
import { FinanceNav } from "./finance";
import { whole } from "./work";

/** What was debited and credited to one account. */
export default function AccountLinesPage() {
  const { account = "" } = useParams();
  const [address] = useSearchParams();
  const currency = address.get("currency") ?? "USD";
  useTitle(account);
  const pages = useInfiniteQuery(linesQuery(account, currency));
  const lines = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const csv = withQuery(`/v1/finance/accounts/${encodeURIComponent(account)}/lines/csv`, { currency });
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/finance">Trial balance</Link>
      </p>
      <h1 className="break">
        {account}, {currency}
      </h1>
      <FinanceNav />
      <p className="lead">Everything that was written to this account, in the order of recording.</p>
      {pages.isPending && <Skeleton lines={8} height={28} label="Loading the lines" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && lines.length === 0 && <Empty title={`Nothing was written to it in ${currency}`} />}
      {lines.length > 0 && (
        <>
          <p className="actions">
            <a className="button small" href={csv} download>
              Download all lines as CSV
            </a>
          </p>
          <Lines lines={lines} currency={currency} />
        </>
      )}
      <More pages={pages} shown={lines.length} />
      {pages.isFetchNextPageError && <Failure error={pages.error} retry={() => pages.fetchNextPage()} />}
    </>
  );
}

function Lines({ lines, currency }: { lines: readonly LedgerLine[]; currency: string }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Lines of the account">
      <table className="data">
        <thead>
          <tr>
            <th scope="col" className="num">
              Number
            </th>
            <th scope="col">Happened, UTC</th>
            <th scope="col">What</th>
            <th scope="col">About</th>
            <th scope="col">Other account</th>
            <th scope="col" className="num">
              Debit
            </th>
            <th scope="col" className="num">
              Credit
            </th>
            <th scope="col">Entry</th>
          </tr>
        </thead>
        <tbody>
          {lines.map((line, index) => {
            const { debit, credit } = sides(line.amount);
            return (
              // An entry may have several lines with the same account.
              <tr key={`${line.entry} ${index}`}>
                <th scope="row" className="num">
                  {whole(line.number)}
                </th>
                <td className="tab">{utcSeconds(line.effective_at)}</td>
                <td>{wordFor(line.kind)}</td>
                <td>
                  <code>{line.cause}</code>
                </td>
                <td>
                  <Link to={linesPath(line.other, currency)}>{line.other}</Link>
                </td>
                <td className="num">{debit}</td>
                <td className="num">{credit}</td>
                <td>
                  <code>{line.entry}</code>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}
