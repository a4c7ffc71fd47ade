import { infiniteQueryOptions, QueryClient, queryOptions } from "@tanstack/react-query";
import { api, ask } from "./client";
import { ApiError } from "./error";
import { signatureOf } from "./signature";
import type { DeliveryState, Forecast, Interval, JobState, NewPurchase, PayoutState } from "./types";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      // Refusals are answers; only a lost connection or a failing server is worth asking again by itself.
      retry: (count, error) => error instanceof ApiError && error.outcomeUnknown && count < 2,
      refetchOnWindowFocus: false,
    },
  },
});

export const firmQuery = queryOptions({
  queryKey: ["firm"],
  queryFn: () => ask(api.GET("/v1/firm")),
  staleTime: Number.POSITIVE_INFINITY,
});

/** The person who is signed in, or null. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: async () => {
    try {
      return await ask(api.GET("/v1/me"));
    } catch (thrown) {
      if (thrown instanceof ApiError && thrown.status === 401) return null;
      throw thrown;
    }
  },
  staleTime: 60_000,
});

export const programsQuery = queryOptions({
  queryKey: ["programs"],
  queryFn: async () => (await ask(api.GET("/v1/programs"))).items,
});

export const programQuery = (slug: string) =>
  queryOptions({
    queryKey: ["programs", slug],
    queryFn: () => ask(api.GET("/v1/programs/{slug}", { params: { path: { slug } } })),
  });

/** A version for good: what an account was bought with, whatever is on sale now. */
export const versionQuery = (hash: string) =>
  queryOptions({
    queryKey: ["version", hash],
    queryFn: () => ask(api.GET("/v1/programs/versions/{hash}", { params: { path: { hash } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const versionsQuery = (slug: string) =>
  queryOptions({
    queryKey: ["programs", slug, "versions"],
    queryFn: async () =>
      (await ask(api.GET("/v1/programs/{slug}/versions", { params: { path: { slug } } }))).items,
  });

export const differenceQuery = (slug: string, from: string, to: string) =>
  queryOptions({
    queryKey: ["programs", slug, "difference", from, to],
    queryFn: async () => {
      const params = { path: { slug }, query: { from, to } };
      return (await ask(api.GET("/v1/programs/{slug}/difference", { params }))).items;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

/** What is on a program's shelf, at the prices of whoever looks. */
export const shelfQuery = (slug: string, country = "", currency = "") =>
  queryOptions({
    queryKey: ["programs", slug, "shelf", country, currency],
    queryFn: () => {
      const query = { country: country || undefined, currency: currency || undefined };
      return ask(api.GET("/v1/programs/{slug}/shelf", { params: { path: { slug }, query } }));
    },
  });

/** What something would cost now. */
export const quoteQuery = (order: NewPurchase) =>
  queryOptions({
    queryKey: ["quote", order],
    queryFn: () => ask(api.POST("/v1/purchases/quote", { body: order })),
    staleTime: 0,
  });

/** Whether and at what price one's failed challenge may begin anew. */
export const resetOfferQuery = (id: string) =>
  queryOptions({
    queryKey: ["challenges", id, "reset"],
    queryFn: () => ask(api.GET("/v1/challenges/{id}/reset", { params: { path: { id } } })),
    staleTime: 0,
  });

/** The shelf of a program as it is, for those who edit it. */
export const programShelfQuery = (slug: string) =>
  queryOptions({
    queryKey: ["shelf", "programs", slug],
    queryFn: () => ask(api.GET("/v1/shelf/programs/{slug}", { params: { path: { slug } } })),
    staleTime: 0,
  });

export const taxesQuery = queryOptions({
  queryKey: ["shelf", "taxes"],
  queryFn: async () => (await ask(api.GET("/v1/shelf/taxes"))).items,
  staleTime: 0,
});

export const purchaseQuery = (id: string) =>
  queryOptions({
    queryKey: ["purchases", id],
    queryFn: () => ask(api.GET("/v1/purchases/{id}", { params: { path: { id } } })),
    staleTime: 0,
  });

export const challengesQuery = queryOptions({
  queryKey: ["challenges"],
  queryFn: async () => (await ask(api.GET("/v1/challenges"))).items,
  staleTime: 0,
});

export const accountQuery = (id: string) =>
  queryOptions({
    queryKey: ["accounts", id],
    queryFn: () => ask(api.GET("/v1/accounts/{id}", { params: { path: { id } } })),
    staleTime: 0,
  });

export const forecastQuery = (id: string) =>
  queryOptions({
    queryKey: ["accounts", id, "forecast"],
    queryFn: async (): Promise<Forecast> => {
      const params = { path: { id } };
      return (await ask(api.GET("/v1/accounts/{id}/forecast", { params }))) as unknown as Forecast;
    },
    staleTime: 0,
  });

export const overridesQuery = (id: string) =>
  queryOptions({
    queryKey: ["accounts", id, "overrides"],
    queryFn: async () =>
      (await ask(api.GET("/v1/accounts/{id}/overrides", { params: { path: { id } } }))).items,
    staleTime: 0,
  });

/** What every paged list has in common: the first page has no cursor, the last one gives none. */
export const pages = {
  initialPageParam: "",
  getNextPageParam: (page: { next_cursor: string | null }) => page.next_cursor,
  staleTime: 0,
};

export const couponsQuery = infiniteQueryOptions({
  ...pages,
  queryKey: ["shelf", "coupons"],
  queryFn: ({ pageParam }) =>
    ask(api.GET("/v1/shelf/coupons", { params: { query: { cursor: pageParam || undefined } } })),
});

export const groupsQuery = infiniteQueryOptions({
  ...pages,
  queryKey: ["shelf", "groups"],
  queryFn: ({ pageParam }) =>
    ask(api.GET("/v1/shelf/groups", { params: { query: { cursor: pageParam || undefined } } })),
});

export const fillsQuery = (id: string) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["accounts", id, "fills"],
    queryFn: ({ pageParam }) => {
      const params = { path: { id }, query: { cursor: pageParam || undefined } };
      return ask(api.GET("/v1/accounts/{id}/fills", { params }));
    },
  });

export const closedPositionsQuery = (id: string) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["accounts", id, "closed"],
    queryFn: ({ pageParam }) => {
      const params = { path: { id }, query: { state: "closed" as const, cursor: pageParam || undefined } };
      return ask(api.GET("/v1/accounts/{id}/positions", { params }));
    },
  });

export const allOrdersQuery = (id: string) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["accounts", id, "orders"],
    queryFn: ({ pageParam }) => {
      const params = { path: { id }, query: { state: "all" as const, cursor: pageParam || undefined } };
      return ask(api.GET("/v1/accounts/{id}/orders", { params }));
    },
  });

/** Whether so much may leave the account, and what the trader gets of it. Nothing typed asks for everything. */
export const payoutCheckQuery = (id: string, amount: string) =>
  queryOptions({
    queryKey: ["accounts", id, "payout-check", amount],
    queryFn: () => {
      const params = { path: { id }, query: { amount: amount || undefined } };
      return ask(api.GET("/v1/accounts/{id}/payout-check", { params }));
    },
    staleTime: 0,
  });

/** The ways in which the firm sends payouts. */
export const payoutMethodsQuery = queryOptions({
  queryKey: ["payout-methods"],
  queryFn: async () => (await ask(api.GET("/v1/payout-methods"))).methods,
  staleTime: 60_000,
});

/** One's own payouts, of every account. */
export const payoutsQuery = infiniteQueryOptions({
  ...pages,
  queryKey: ["payouts", "list"],
  queryFn: ({ pageParam }) =>
    ask(api.GET("/v1/payouts", { params: { query: { cursor: pageParam || undefined } } })),
});

export const payoutQuery = (id: string) =>
  queryOptions({
    queryKey: ["payouts", "one", id],
    queryFn: () => ask(api.GET("/v1/payouts/{id}", { params: { path: { id } } })),
    staleTime: 0,
  });

/** What a certificate with this code proves. */
export const certificateQuery = (token: string) =>
  queryOptions({
    queryKey: ["certificates", token],
    queryFn: () => ask(api.GET("/v1/certificates/{token}", { params: { path: { token } } })),
  });

export const identityQuery = queryOptions({
  queryKey: ["identity"],
  queryFn: () => ask(api.GET("/v1/me/identity")),
  staleTime: 0,
});

/** The firm's payouts, as those who decide see them. */
export const payoutQueueQuery = (state: PayoutState | "all") =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["payout-reviews", "list", state],
    queryFn: ({ pageParam }) => {
      const query = { state: state === "all" ? undefined : state, cursor: pageParam || undefined };
      return ask(api.GET("/v1/payout-reviews", { params: { query } }));
    },
    refetchInterval: 10_000,
  });

/** Everything about one. Every look is written down with its reason, so that it is asked once for each opening. */
export const dossierQuery = (id: string, reason: string) =>
  queryOptions({
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
    queryKey: ["payout-reviews", "one", id],
    queryFn: () => {
      const params = { path: { id }, header: { Reason: reason } };
      return ask(api.GET("/v1/payout-reviews/{id}", { params }));
    },
  });

export const payoutSettingsQuery = queryOptions({
  queryKey: ["payout-settings"],
  queryFn: () => ask(api.GET("/v1/payout-settings")),
  staleTime: 0,
});

export const payoutBatchesQuery = queryOptions({
  queryKey: ["payout-batches"],
  queryFn: async () => (await ask(api.GET("/v1/payout-batches"))).items,
  staleTime: 0,
});

export const identityQueueQuery = queryOptions({
  queryKey: ["identity-reviews", "list"],
  queryFn: async () => (await ask(api.GET("/v1/identity-reviews"))).items,
  staleTime: 0,
  refetchInterval: 10_000,
});

export const identityReviewQuery = (id: string) =>
  queryOptions({
    queryKey: ["identity-reviews", "one", id],
    queryFn: () => ask(api.GET("/v1/identity-reviews/{id}", { params: { path: { id } } })),
    staleTime: 0,
  });

export const verdictsQuery = (id: string) =>
  queryOptions({
    queryKey: ["accounts", id, "verdicts"],
    queryFn: async () =>
      (await ask(api.GET("/v1/accounts/{id}/verdicts", { params: { path: { id } } }))).items,
    staleTime: 0,
  });

export const receiptQuery = (id: string, number: number) =>
  queryOptions({
    queryKey: ["accounts", id, "receipts", number],
    queryFn: () => ask(api.GET("/v1/accounts/{id}/receipts/{number}", { params: { path: { id, number } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });

/** The signed document of a receipt, as far as the page reads it. */
export const receiptSignatureQuery = (id: string, number: number) =>
  queryOptions({
    queryKey: ["accounts", id, "receipts", number, "signature"],
    queryFn: async () => {
      const params = { path: { id, number } };
      return signatureOf(await ask(api.GET("/v1/accounts/{id}/receipts/{number}/document", { params })));
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

export const receiptKeysQuery = queryOptions({
  queryKey: ["receipt-keys"],
  queryFn: async () => (await ask(api.GET("/v1/receipt-keys"))).items,
  staleTime: 600_000,
});

export const releasesQuery = queryOptions({
  queryKey: ["releases"],
  queryFn: async () => (await ask(api.GET("/v1/releases"))).items,
  staleTime: 0,
});

/** What goes on behind the requests is looked at again and again while somebody looks. */
const WATCHED_MS = 3_000;

export const operationsQuery = queryOptions({
  queryKey: ["operations", "overview"],
  queryFn: () => ask(api.GET("/v1/operations")),
  staleTime: 0,
  refetchInterval: WATCHED_MS,
});

export const jobsQuery = (state: JobState) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["operations", "jobs", state],
    queryFn: ({ pageParam }) =>
      ask(api.GET("/v1/operations/jobs", { params: { query: { state, cursor: pageParam || undefined } } })),
    refetchInterval: WATCHED_MS,
  });

export const failedMessagesQuery = (group: string) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["operations", "messages", group],
    queryFn: ({ pageParam }) => {
      const query = { group: group || undefined, cursor: pageParam || undefined };
      return ask(api.GET("/v1/operations/messages", { params: { query } }));
    },
    refetchInterval: WATCHED_MS,
  });

// Every reading of what a job or a message is about is written down: these are asked once for each opening.
const onceEach = { staleTime: Number.POSITIVE_INFINITY, gcTime: 0 };

export const jobQuery = (id: string) =>
  queryOptions({
    ...onceEach,
    queryKey: ["job", id],
    queryFn: () => ask(api.GET("/v1/operations/jobs/{id}", { params: { path: { id } } })),
  });

export const failedMessageQuery = (group: string, id: number) =>
  queryOptions({
    ...onceEach,
    queryKey: ["message", group, id],
    queryFn: () => ask(api.GET("/v1/operations/messages/{group}/{id}", { params: { path: { group, id } } })),
  });

export const personKey = (id: string) => ["people", id] as const;

/** Who somebody is. Every look is written down with its reason, so that it is asked once for each opening. */
export const personQuery = (id: string, reason: string) =>
  queryOptions({
    staleTime: Number.POSITIVE_INFINITY,
    // Long enough to be handed from the search to the page.
    gcTime: 10_000,
    queryKey: personKey(id),
    queryFn: () => {
      const params = { path: { id }, header: { Reason: reason } };
      return ask(api.GET("/v1/people/{id}", { params }));
    },
  });

export const notificationsQuery = infiniteQueryOptions({
  ...pages,
  queryKey: ["notifications", "list"],
  queryFn: ({ pageParam }) =>
    ask(api.GET("/v1/notifications", { params: { query: { cursor: pageParam || undefined } } })),
});

/** How many of one's notifications are unread, asked for again and again while the page is looked at. */
export const unreadQuery = queryOptions({
  queryKey: ["notifications", "unread"],
  queryFn: async () => (await ask(api.GET("/v1/notifications"))).unread,
  refetchInterval: 30_000,
  refetchOnWindowFocus: true,
});

export const preferencesQuery = queryOptions({
  queryKey: ["notifications", "preferences"],
  queryFn: async () => (await ask(api.GET("/v1/notifications/preferences"))).items,
  staleTime: 0,
});

export const webhooksQuery = queryOptions({
  queryKey: ["webhooks"],
  queryFn: async () => (await ask(api.GET("/v1/webhooks"))).items,
  staleTime: 0,
});

export const webhookQuery = (id: string) =>
  queryOptions({
    queryKey: ["webhooks", id],
    queryFn: () => ask(api.GET("/v1/webhooks/{id}", { params: { path: { id } } })),
    staleTime: 0,
  });

export const deliveriesQuery = (id: string, state: DeliveryState | "all") =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["webhooks", id, "deliveries", state],
    queryFn: ({ pageParam }) => {
      const query = { cursor: pageParam || undefined, state: state === "all" ? undefined : state };
      return ask(api.GET("/v1/webhooks/{id}/deliveries", { params: { path: { id }, query } }));
    },
    refetchInterval: 5_000,
  });

export const deliveryQuery = (id: string, delivery: string) =>
  queryOptions({
    queryKey: ["webhooks", id, "deliveries", "one", delivery],
    queryFn: () =>
      ask(api.GET("/v1/webhooks/{id}/deliveries/{delivery}", { params: { path: { id, delivery } } })),
    staleTime: 0,
    refetchInterval: 5_000,
  });

export const instrumentsQuery = queryOptions({
  queryKey: ["instruments"],
  queryFn: async () => (await ask(api.GET("/v1/market/instruments"))).items,
  staleTime: 600_000,
});

export const quotesQuery = queryOptions({
  queryKey: ["quotes"],
  queryFn: async () => (await ask(api.GET("/v1/market/quotes"))).items,
});

export const candlesQuery = (symbol: string, interval: Interval) =>
  queryOptions({
    queryKey: ["candles", symbol, interval],
    queryFn: async () => {
      const params = { query: { symbol, interval, limit: 500 } };
      return (await ask(api.GET("/v1/market/candles", { params }))).items;
    },
    staleTime: 0,
  });

export const leaderboardQuery = (program: string, phase: number) =>
  queryOptions({
    queryKey: ["leaderboard", program, phase],
    queryFn: () => ask(api.GET("/v1/leaderboard", { params: { query: { program, phase, limit: 50 } } })),
    refetchInterval: 5_000,
  });
