import { type InfiniteData, InfiniteQueryObserver, QueryObserver } from "@tanstack/react-query";
import { afterEach, describe, expect, it, vi } from "vitest";
import { boardQuery, statisticsQuery } from "./analytics";
import { problem } from "./error";
import { queryClient } from "./queries";

const answers = vi.hoisted(() => ({ next: [] as (() => unknown)[] }));
vi.mock("./client", async (original) => ({
  ...(await original<typeof import("./client")>()),
  analytics: { GET: () => undefined },
  ask: async () => answers.next.shift()?.(),
}));

const fails = (status: number) => () => {
  throw problem(status, null);
};
const gives = (body: unknown) => () => body;

afterEach(() => {
  queryClient.clear();
  answers.next = [];
});

describe("analytics that is not there", () => {
  const choice = { program: "express", phase: 0, period: "all", before: false } as const;

  it("is told from a refusal", async () => {
    const options = { ...statisticsQuery("a"), refetchInterval: false as const };
    for (const status of [404, 502, 503]) {
      answers.next = [fails(status)];
      expect((await new QueryObserver(queryClient, options).refetch()).data).toBeNull();
    }
    queryClient.clear();
    answers.next = [fails(403)];
    expect((await new QueryObserver(queryClient, options).refetch()).error).toMatchObject({ status: 403 });
  });

  it("leaves what was read before", async () => {
    const options = { ...boardQuery(choice), refetchInterval: false as const };
    const observer = new InfiniteQueryObserver(queryClient, options);
    const page = { items: [], next_cursor: null };
    answers.next = [fails(502), gives(page), fails(502)];
    const pages = async () => {
      const { data, isError } = await observer.refetch();
      return [(data as InfiniteData<unknown>).pages, isError];
    };
    expect(await pages()).toEqual([[null], false]);
    expect(await pages()).toEqual([[page], false]);
    expect(await pages()).toEqual([[page], true]);
  });
});
