import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "react-router-dom";
import { type Choice, myRanksQuery, rankQuery } from "../api/analytics";
import { meQuery } from "../api/queries";
import type { MyRank } from "../api/types";
import { whole } from "../operate/work";
import { Failure, Skeleton } from "../parts/states";
import { Ranking } from "./ranking";

const NEIGHBOURS = 3;

/** Where the person who is signed in stands on a board, between whom. */
export function Standing({ choice }: { choice: Choice }) {
  const me = useQuery(meQuery);
  const { pathname, search } = useLocation();
  if (me.isPending) return null;
  if (!me.data)
    return (
      <p className="muted">
        <Link to={`/sign-in?next=${encodeURIComponent(pathname + search)}`}>Sign in</Link> to see where you
        stand.
      </p>
    );
  return (
    <section className="panel standing" aria-labelledby="standing">
      <Own choice={choice} />
    </section>
  );
}

function Own({ choice }: { choice: Choice }) {
  const ranks = useQuery({ ...myRanksQuery(choice), placeholderData: keepPreviousData });
  const [chosen, setChosen] = useState<string | null>(null);
  const here = ranks.data?.filter(
    (own) => own.phase === choice.phase && (choice.program === null || own.program === choice.program),
  );
  const own = here?.find(({ id }) => id === chosen) ?? (here && best(here));
  return (
    <>
      <div className="panel-head">
        <h2 id="standing">Your standing</h2>
        {own && here && here.length > 1 && (
          <label className="select">
            Account
            <select value={own.id} onChange={(event) => setChosen(event.target.value)}>
              {here.map(({ id, line }) => (
                <option key={id} value={id}>
                  {line.account}, rank {whole(line.rank)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {ranks.isPending && <Skeleton lines={2} height={28} label="Loading your standing" />}
      {ranks.isError && !ranks.data && <Failure error={ranks.error} retry={() => ranks.refetch()} />}
      {here && !own && (
        <p className="none">
          None of your accounts stands on this board. An account takes its place with the first result that
          counts here.
        </p>
      )}
      {own && <Around own={own} choice={choice} />}
    </>
  );
}

/** The best placed of them. */
function best(own: readonly MyRank[]): MyRank | undefined {
  return own.reduce<MyRank | undefined>(
    (best, next) => (best === undefined || next.line.rank < best.line.rank ? next : best),
    undefined,
  );
}

function Around({ own, choice }: { own: MyRank; choice: Choice }) {
  const around = useQuery(rankQuery(own.id, choice, NEIGHBOURS));
  // The line of the list stands until the one with its neighbours is there.
  const line = around.data?.line ?? own.line;
  const rows = around.data?.line ? around.data.board.items : [own.line];
  return (
    <>
      <p className="standing-line">
        <strong className="tab">Rank {whole(line.rank)}</strong>
        <span className="muted tab">of {whole(around.data?.board.of ?? own.of)}</span>
        <Link to={`/accounts/${own.id}/statistics`}>Statistics of {line.account}</Link>
      </p>
      <Ranking
        caption={`${line.account} and its neighbours`}
        rows={rows}
        own={line.account}
        currencies={choice.program === null}
      />
    </>
  );
}
