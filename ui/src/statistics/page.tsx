import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router-dom";
import { curveQuery, statisticsQuery } from "../api/analytics";
import { accountQuery } from "../api/queries";
import type { Account, Statistics } from "../api/types";
import { useTitle } from "../lib/title";
import { Freshness } from "../parts/freshness";
import { Empty, Failure, Skeleton } from "../parts/states";
import { StatusTag } from "../parts/status";
import { momentsOf } from "./curve";
import { Curves } from "./curves";
import { BySymbol, Figures, Returns } from "./figures";

/** What trading on an account was like. */
export default function StatisticsPage() {
  const { id = "" } = useParams();
  // The account comes from the API: it says that there is one, and what it is worth now.
  const account = useQuery({ ...accountQuery(id), refetchInterval: 10_000 });
  useTitle(account.data ? `Statistics of ${account.data.number}` : "Statistics");
  if (account.isError && !account.data)
    return <Failure error={account.error} retry={() => account.refetch()} />;
  return (
    <div className="page statistics">
      {account.data ? (
        <Judged account={account.data} />
      ) : (
        <Skeleton lines={6} height={40} label="Loading the account" />
      )}
    </div>
  );
}

function Judged({ account }: { account: Account }) {
  const statistics = useQuery(statisticsQuery(account.id));
  return (
    <>
      <div className="page-head">
        <div>
          <p className="crumbs">
            <Link to="/challenges">My challenges</Link> · {account.program.name}, {account.phase.name}
          </p>
          <h1>
            Statistics of {account.number} <StatusTag status={account.status} />
          </h1>
        </div>
        <Link className="button" to={`/accounts/${account.id}`}>
          {account.status === "active" ? "Trade" : "View"} {account.number}
        </Link>
      </div>
      {statistics.isPending && <Skeleton lines={6} height={40} label="Loading the statistics" />}
      {statistics.isError && !statistics.data && (
        <Failure error={statistics.error} retry={() => statistics.refetch()} />
      )}
      {statistics.data === null && (
        <Empty title="Statistics are not available at the moment">
          <p>
            Nothing is lost: they are counted from the closed positions, and appear here once they can be
            read.
          </p>
          <button type="button" className="button" onClick={() => statistics.refetch()}>
            Try again
          </button>
        </Empty>
      )}
      {statistics.data && (
        <>
          <div className="filters">
            <Freshness asOf={statistics.data.as_of} failing={statistics.isError} />
          </div>
          <Course account={account} />
          <Result statistics={statistics.data} />
        </>
      )}
    </>
  );
}

/** How balance and equity went. */
function Course({ account }: { account: Account }) {
  const curve = useQuery(curveQuery(account.id));
  return (
    <section className="panel" aria-labelledby="course">
      <div className="panel-head">
        <h2 id="course">Equity and drawdown</h2>
        <span className="muted">{account.currency}, by trading day</span>
      </div>
      {curve.isPending && <Skeleton lines={1} height={300} label="Loading the curves" />}
      {curve.isError && !curve.data && <Failure error={curve.error} retry={() => curve.refetch()} />}
      {curve.data && (
        <Curves
          moments={momentsOf(curve.data, account)}
          initial={account.initial_balance}
          currency={curve.data.currency}
        />
      )}
    </section>
  );
}

function Result({ statistics }: { statistics: Statistics }) {
  if (statistics.trades.closed === 0)
    return (
      <Empty title="Nothing has been closed yet">
        <p>A position counts once the whole of it is closed. The figures begin with the first.</p>
      </Empty>
    );
  return (
    <>
      <h2>Closed positions</h2>
      <Figures statistics={statistics} />
      <h2>By symbol</h2>
      <BySymbol statistics={statistics} />
      <h2>Returns of days</h2>
      <Returns returns={statistics.returns} />
    </>
  );
}
