import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router-dom";
import { leaderboardQuery, programsQuery } from "../api/queries";
import type { Program, Ranked } from "../api/types";
import { money, signed, tone } from "../lib/format";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Empty, Failure, Skeleton } from "../parts/states";
import { StatusTag } from "../parts/status";

export function Leaderboard() {
  useTitle("Leaderboard");
  const programs = useQuery(programsQuery);
  return (
    <div className="page">
      <h1>Leaderboard</h1>
      {programs.isPending && <Skeleton lines={8} height={32} label="Loading programs" />}
      {programs.isError && <Failure error={programs.error} retry={() => programs.refetch()} />}
      {programs.data && <Ranking programs={programs.data} />}
    </div>
  );
}

function Ranking({ programs }: { programs: readonly Program[] }) {
  const [search, setSearch] = useSearchParams();
  const program = programs.find((found) => found.slug === search.get("program")) ?? programs[0];
  const wanted = Number.parseInt(search.get("phase") ?? "0", 10);
  const phase = program?.phases[wanted] ? wanted : 0;
  const board = useQuery({
    ...leaderboardQuery(program?.slug ?? "", phase),
    enabled: program !== undefined,
    placeholderData: keepPreviousData,
  });
  if (!program) return <Empty title="No programs, no ranking yet" />;
  const choose = (slug: string, index: number) =>
    setSearch({ program: slug, phase: String(index) }, { replace: true });
  return (
    <>
      <div className="filters">
        <label className="select">
          <span>Program</span>
          <select value={program.slug} onChange={(event) => choose(event.target.value, 0)}>
            {programs.map((option) => (
              <option key={option.slug} value={option.slug}>
                {option.name}
              </option>
            ))}
          </select>
        </label>
        <fieldset className="segments">
          <legend className="hidden">Phase</legend>
          {program.phases.map((option, index) => (
            <button
              key={option.name}
              type="button"
              aria-pressed={index === phase}
              onClick={() => choose(program.slug, index)}
            >
              {option.name}
            </button>
          ))}
        </fieldset>
        {board.data && <span className="muted as-of">As of {utcSeconds(board.data.as_of)} UTC</span>}
      </div>
      {board.isPending && <Skeleton lines={8} height={32} label="Loading the ranking" />}
      {board.isError && <Failure error={board.error} retry={() => board.refetch()} />}
      {board.data?.items.length === 0 && (
        <Empty title="Nobody trades this phase yet">
          <p>The first place is free.</p>
          <Link className="button primary" to={`/programs/${program.slug}`}>
            See the program
          </Link>
        </Empty>
      )}
      {board.data && board.data.items.length > 0 && (
        <section className="panel table-scroll" tabIndex={0} aria-label="Ranking">
          <table className="data ranking">
            <thead>
              <tr>
                <th scope="col" className="num">
                  Rank
                </th>
                <th scope="col">Trader</th>
                <th scope="col" className="num">
                  Profit %
                </th>
                <th scope="col" className="num">
                  Profit
                </th>
                <th scope="col" className="num">
                  Balance
                </th>
                <th scope="col" className="num">
                  Trades
                </th>
                <th scope="col">Account</th>
                <th scope="col">Status</th>
              </tr>
            </thead>
            <tbody>
              {board.data.items.map((row) => (
                <Row key={row.account} row={row} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </>
  );
}

function Row({ row }: { row: Ranked }) {
  return (
    <tr className={row.you ? "you" : undefined}>
      <td className="num rank">{row.rank}</td>
      <td className="trader">
        {row.trader} {row.you && <span className="tag demo">You</span>}
      </td>
      <td className={`num ${tone(row.profit_percent)}`}>{signed(row.profit_percent)}</td>
      <td className={`num ${tone(row.profit)}`}>{signed(row.profit)}</td>
      <td className="num">{money(row.balance)}</td>
      <td className="num">{row.trades}</td>
      <td>{row.account}</td>
      <td>
        <StatusTag status={row.status} />
      </td>
    </tr>
  );
}
