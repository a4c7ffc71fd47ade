import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, ask } from "./client";
import { pages } from "./queries";
import type { DisputeState, ProviderEventState, RefundState } from "./types";

export interface AsOf {
  effective?: string | undefined;
  recorded?: string | undefined;
}

export const trialBalanceQuery = ({ effective, recorded }: AsOf) =>
  queryOptions({
    queryKey: ["finance", "trial-balance", effective ?? "", recorded ?? ""],
    queryFn: () =>
      ask(
        api.GET("/v1/finance/trial-balance", {
          params: { query: { ...(effective && { effective }), ...(recorded && { recorded }) } },
        }),
      ),
    staleTime: 0,
  });

export const linesQuery = (account: string, currency: string) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["finance", "lines", account, currency],
    queryFn: ({ pageParam }) => {
      const params = { path: { account }, query: { currency, ...(pageParam && { cursor: pageParam }) } };
      return ask(api.GET("/v1/finance/accounts/{account}/lines", { params }));
    },
  });

export interface ReportAsked {
  from?: string | undefined;
  to?: string | undefined;
  by: string;
}

export const reportQuery = (report: string, { from, to, by }: ReportAsked) =>
  queryOptions({
    queryKey: ["finance", "reports", report, from ?? "", to ?? "", by],
    queryFn: () => {
      const params = { path: { report }, query: { by, ...(from && { from }), ...(to && { to }) } };
      return ask(api.GET("/v1/finance/reports/{report}", { params }));
    },
    staleTime: 0,
  });

/** A comparison that goes on is looked at again and again. */
const RUNNING_MS = 3_000;

export const runsQuery = infiniteQueryOptions({
  ...pages,
  queryKey: ["reconciliation", "runs"],
  queryFn: ({ pageParam }) =>
    ask(api.GET("/v1/reconciliation/runs", { params: { query: { cursor: pageParam || undefined } } })),
  refetchInterval: ({ state }) => {
    const runs = state.data?.pages.flatMap((page) => page.items) ?? [];
    return runs.some((run) => run.state !== "done") ? RUNNING_MS : false;
  },
});

export interface DifferencesAsked {
  with?: string | undefined;
  state?: string | undefined;
  owner?: string | undefined;
}

export const differencesQuery = (asked: DifferencesAsked) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["reconciliation", "differences", asked],
    queryFn: ({ pageParam }) => {
      const query = { ...asked, cursor: pageParam || undefined };
      return ask(api.GET("/v1/reconciliation/differences", { params: { query } }));
    },
  });

export const refundsQuery = (state: RefundState | undefined) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["refunds", state ?? "all"],
    queryFn: ({ pageParam }) =>
      ask(api.GET("/v1/refunds", { params: { query: { state, cursor: pageParam || undefined } } })),
    refetchInterval: 10_000,
  });

export const disputesQuery = (state: DisputeState | undefined) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["disputes", "list", state ?? "all"],
    queryFn: ({ pageParam }) =>
      ask(api.GET("/v1/disputes", { params: { query: { state, cursor: pageParam || undefined } } })),
  });

export const disputeQuery = (id: string) =>
  queryOptions({
    queryKey: ["disputes", "one", id],
    queryFn: () => ask(api.GET("/v1/disputes/{id}", { params: { path: { id } } })),
    staleTime: 0,
  });

/** What would be handed in now. Every look is written down: it is asked once for each opening. */
export const evidenceQuery = (id: string) =>
  queryOptions({
    queryKey: ["evidence", id],
    queryFn: () => ask(api.GET("/v1/disputes/{id}/evidence", { params: { path: { id } } })),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });

export const ratesQuery = (month: string | undefined) =>
  queryOptions({
    queryKey: ["disputes", "rates", month ?? ""],
    queryFn: async () => (await ask(api.GET("/v1/dispute-rates", { params: { query: { month } } }))).items,
    staleTime: 0,
  });

export const providerEventsQuery = (state: ProviderEventState | undefined) =>
  queryOptions({
    queryKey: ["operations", "provider-events", state ?? "all"],
    queryFn: async () => {
      const query = state === undefined ? {} : { state };
      return (await ask(api.GET("/v1/operations/provider-events", { params: { query } }))).items;
    },
    staleTime: 0,
    refetchInterval: 5_000,
  });
