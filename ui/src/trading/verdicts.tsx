import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { verdictsQuery } from "../api/queries";
import { wordFor } from "../lib/format";
import { localShort, utcExact } from "../lib/time";
import { verdictTag, verdictWords } from "../lib/verdicts";
import { Failure, Skeleton } from "../parts/states";

/** Everything that was decided about the account, each with its receipt. */
export function Verdicts({ accountId }: { accountId: string }) {
  const verdicts = useQuery(verdictsQuery(accountId));
  if (verdicts.isPending) return <Skeleton lines={4} height={16} label="Loading the verdicts" />;
  if (verdicts.isError) return <Failure error={verdicts.error} retry={() => verdicts.refetch()} />;
  if (verdicts.data.length === 0)
    return <p className="none">No rule has decided anything about this account yet.</p>;
  return (
    <table className="data">
      <caption className="hidden">Verdicts</caption>
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">Verdict</th>
          <th scope="col">Rule</th>
          <th scope="col">In one line</th>
          <th scope="col">
            <span className="hidden">Receipt</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {verdicts.data.map((verdict) => (
          <tr key={verdict.number}>
            <td className="tab" title={utcExact(verdict.at)}>
              {localShort(verdict.at)}
            </td>
            <td>
              <span className={`tag ${verdictTag(verdict.kind)}`}>{verdictWords[verdict.kind]}</span>
            </td>
            <td>{wordFor(verdict.rule)}</td>
            <td>{verdict.headline}</td>
            <td className="num">
              <Link className="button small" to={`/accounts/${accountId}/receipts/${verdict.number}`}>
                Receipt<span className="hidden"> {verdict.number}</span>
              </Link>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
