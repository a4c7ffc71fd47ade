import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router-dom";
import { boardQuery, type Choice } from "../api/analytics";
import { leaderboardQuery, programsQuery } from "../api/queries";
import type { Board, Program } from "../api/types";
import { useTitle } from "../lib/title";
import { whole } from "../operate/work";
import { Freshness } from "../parts/freshness";
import { Empty, Failure, Skeleton } from "../parts/states";
import { ALL, choiceOf, periods, periodWord, phasesOf } from "./choice";
import { Ranking } from "./ranking";
import { Standing } from "./standing";

export function Leaderboard() {
  useTitle("Leaderboard");
  const programs = useQuery(programsQuery);
  return (
    <div className="page">
      <h1>Leaderboard</h1>
      {programs.isPending && <Skeleton lines={8} height={32} label="Loading programs" />}
      {programs.isError && <Failure error={programs.error} retry={() => programs.refetch()} />}
      {programs.data && <Boards programs={programs.data} />}
    </div>
  );
}

function Boards({ programs }: { programs: readonly Program[] }) {
  const [search, setSearch] = useSearchParams();
  const choice = choiceOf(search, programs);
  const board = useInfiniteQuery({ ...boardQuery(choice), placeholderData: keepPreviousData });
  const first = board.data?.pages[0];
  const away = first === null;
  const choose = (name: "program" | "phase" | "period", value: string) => {
    const next = { program: choice.program ?? ALL, phase: String(choice.phase), period: periodWord(choice) };
    // Another program has other phases.
    if (name === "program") next.phase = "0";
    setSearch({ ...next, [name]: value }, { replace: true });
  };
  return (
    <>
      <div className="filters">
        <label className="select">
          <span>Program</span>
          <select value={choice.program ?? ALL} onChange={(event) => choose("program", event.target.value)}>
            <option value={ALL}>All programs</option>
            {programs.map((option) => (
              <option key={option.slug} value={option.slug}>
                {option.name}
              </option>
            ))}
          </select>
        </label>
        <fieldset className="segments">
          <legend className="hidden">Phase</legend>
          {phasesOf(choice.program, programs).map((name, index) => (
            <button
              key={name}
              type="button"
              aria-pressed={index === choice.phase}
              onClick={() => choose("phase", String(index))}
            >
              {name}
            </button>
          ))}
        </fieldset>
        {!away && (
          <label className="select">
            <span>Period</span>
            <select value={periodWord(choice)} onChange={(event) => choose("period", event.target.value)}>
              {periods.map(([word, label]) => (
                <option key={word} value={word}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        )}
        {first && <Freshness asOf={first.as_of} failing={board.isError} />}
      </div>
      {board.isPending && <Skeleton lines={8} height={32} label="Loading the ranking" />}
      {board.isError && !board.data && <Failure error={board.error} retry={() => board.refetch()} />}
      {away && <Elsewhere choice={choice} />}
      {first && (
        <>
          <Standing choice={choice} />
          <Top
            choice={choice}
            first={first}
            rows={board.data?.pages.flatMap((page) => page?.items ?? []) ?? []}
            more={board}
          />
        </>
      )}
    </>
  );
}

interface TopProps {
  choice: Choice;
  first: Board;
  rows: Board["items"];
  more: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
}

function Top({ choice, first, rows, more }: TopProps) {
  if (rows.length === 0) return <Nobody choice={choice} />;
  return (
    <section className="panel" aria-labelledby="top">
      <div className="panel-head">
        <h2 id="top">Who leads</h2>
        <span className="muted tab">
          {first.starts && `Since ${first.starts} · `}
          {whole(rows.length)} of {whole(first.of)} {first.of === 1 ? "account" : "accounts"}
        </span>
      </div>
      <Ranking caption="Ranking" rows={rows} currencies={choice.program === null} />
      {more.hasNextPage && (
        <p className="more">
          <button
            type="button"
            className="button small"
            disabled={more.isFetchingNextPage}
            onClick={() => more.fetchNextPage()}
          >
            {more.isFetchingNextPage ? "Loading…" : "Load more"}
          </button>
        </p>
      )}
    </section>
  );
}

function Nobody({ choice }: { choice: Choice }) {
  return (
    <Empty title={choice.period === "all" ? "Nobody trades this phase yet" : "No result in this period"}>
      <p>The first place is free.</p>
      <Link className="button primary" to={choice.program === null ? "/" : `/programs/${choice.program}`}>
        {choice.program === null ? "See the programs" : "See the program"}
      </Link>
    </Empty>
  );
}

/** The list of the accounts themselves, where nobody keeps boards: one program, one phase, all time. */
function Elsewhere({ choice }: { choice: Choice }) {
  const { program, phase } = choice;
  const list = useQuery({
    ...leaderboardQuery(program ?? "", phase),
    enabled: program !== null,
    placeholderData: keepPreviousData,
  });
  return (
    <>
      <p className="notice" role="status">
        Boards by period and your own standing are not available at the moment.{" "}
        {program === null
          ? "Choose a program to see its list of all time."
          : "This is the program’s list of all time, by balance."}
      </p>
      {program !== null && list.isPending && <Skeleton lines={8} height={32} label="Loading the ranking" />}
      {list.isError && !list.data && <Failure error={list.error} retry={() => list.refetch()} />}
      {list.data?.items.length === 0 && <Nobody choice={{ ...choice, period: "all" }} />}
      {program !== null && list.data && list.data.items.length > 0 && (
        <section className="panel" aria-labelledby="top">
          <div className="panel-head">
            <h2 id="top">Who leads</h2>
            <Freshness asOf={list.data.as_of} failing={list.isError} />
          </div>
          <Ranking caption="Ranking" rows={list.data.items} />
        </section>
      )}
    </>
  );
}
