import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { analytics, ask } from "./client";
import { asApiError } from "./error";
import { queryClient } from "./queries";
import type { BoardPeriod } from "./types";

/** Which board: a program's or that of all (none), a phase from 0, a period. */
export interface Choice {
  program: string | null;
  phase: number;
  period: BoardPeriod;
  /** The period before the running one. */
  before: boolean;
}

/**
 * The answer of the analytics role; null where it does not run or does not answer, as a firm may run without it. Ask only for
 * what exists otherwise, so that "not found" cannot mean anything else. What was read before stays, with the failure beside it.
 */
async function unlessAway<T>(key: readonly unknown[], request: () => Promise<T>): Promise<T | null> {
  try {
    return await request();
  } catch (thrown) {
    const { status, outcomeUnknown } = asApiError(thrown);
    const away = status === 404 || outcomeUnknown;
    if (!away || hasAnswer(queryClient.getQueryData(key))) throw thrown;
    return null;
  }
}

function hasAnswer(kept: unknown): boolean {
  if (typeof kept === "object" && kept !== null && "pages" in kept && Array.isArray(kept.pages))
    return kept.pages[0] !== null;
  return kept !== null && kept !== undefined;
}

/** Analytics is asked again and again while somebody looks; asking at once a second time would only delay what is shown instead. */
const watched = (everyMs: number) => ({ staleTime: 0, retry: false, refetchInterval: everyMs });

const BOARD_MS = 5_000;
const STATISTICS_MS = 10_000;
const AWAY_MS = 10_000;

export const boardQuery = ({ program, phase, period, before }: Choice) => {
  const queryKey = ["board", program, phase, period, before] as const;
  return infiniteQueryOptions({
    ...watched(BOARD_MS),
    queryKey,
    queryFn: ({ pageParam }) =>
      unlessAway(queryKey, () => {
        const cursor = pageParam || undefined;
        const query = { program: program ?? undefined, phase, period, before, limit: 50, cursor };
        return ask(analytics.GET("/v1/analytics/leaderboard", { params: { query } }));
      }),
    initialPageParam: "",
    getNextPageParam: (page) => page?.next_cursor ?? null,
    refetchInterval: ({ state }) => (hasAnswer(state.data) ? BOARD_MS : AWAY_MS),
  });
};

/** Where one's own accounts stand in a period, each in its phase. */
export const myRanksQuery = ({ program, period, before }: Choice) =>
  queryOptions({
    ...watched(BOARD_MS),
    queryKey: ["board", "mine", program === null, period, before],
    queryFn: async () => {
      const query = { all_programs: program === null, period, before };
      return (await ask(analytics.GET("/v1/analytics/me/ranks", { params: { query } }))).items;
    },
  });

/** An account's line with so many before and after it. */
export const rankQuery = (id: string, { program, period, before }: Choice, neighbours: number) =>
  queryOptions({
    ...watched(BOARD_MS),
    queryKey: ["board", "around", id, program === null, period, before, neighbours],
    queryFn: () => {
      const query = { all_programs: program === null, period, before, neighbours };
      return ask(analytics.GET("/v1/analytics/accounts/{id}/rank", { params: { path: { id }, query } }));
    },
  });

export const statisticsQuery = (id: string) => {
  const queryKey = ["statistics", id] as const;
  return queryOptions({
    ...watched(STATISTICS_MS),
    queryKey,
    queryFn: () =>
      unlessAway(queryKey, () =>
        ask(analytics.GET("/v1/analytics/accounts/{id}/statistics", { params: { path: { id } } })),
      ),
  });
};

export const curveQuery = (id: string) =>
  queryOptions({
    ...watched(STATISTICS_MS),
    queryKey: ["statistics", id, "curve"],
    queryFn: () => ask(analytics.GET("/v1/analytics/accounts/{id}/curve", { params: { path: { id } } })),
  });

/** The firm's counters from a day on (UTC), such as 2026-01-05. */
export const businessQuery = (from: string) => {
  const queryKey = ["business", from] as const;
  return queryOptions({
    ...watched(BOARD_MS),
    queryKey,
    queryFn: () =>
      unlessAway(queryKey, () =>
        ask(analytics.GET("/v1/analytics/business", { params: { query: { from } } })),
      ),
  });
};
