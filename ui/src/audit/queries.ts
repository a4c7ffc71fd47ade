import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, ask } from "../api/client";
import { pages, queryClient } from "../api/queries";
import type { AuditCheckpoint, ProvenEntry } from "../api/types";
import { recall, remember } from "../lib/theme";
import { type Check, judgeContinuation, judgeEntry, judgeLog, type Log, outcome, type Prove } from "./checks";
import { keepMemory, type Memory, readMemory, withSeen } from "./memory";
import type { Search } from "./search";
import { browserVerifier } from "./verifier";

const place = { recall, remember };

/** The firm's entries, the newest first. */
export const entriesQuery = (search: Search) =>
  infiniteQueryOptions({
    ...pages,
    queryKey: ["audit", "entries", search],
    queryFn: ({ pageParam }) =>
      ask(api.GET("/v1/audit/entries", { params: { query: { ...search, cursor: pageParam || undefined } } })),
  });

const prove: Prove = (from, to) =>
  ask(api.GET("/v1/audit/consistency", { params: { query: { from: Number(from), to: Number(to) } } }));

const checkpointOf = (size: number): Promise<AuditCheckpoint> =>
  ask(api.GET("/v1/audit/checkpoints/{size}", { params: { path: { size } } }));

/** The log as it is shown now, and what this browser makes of it. What it does not refuse it remembers. */
export const logQuery = queryOptions({
  queryKey: ["audit", "log"],
  queryFn: async (): Promise<Log & { memory: Memory | null }> => {
    const [keys, newest] = await Promise.all([
      ask(api.GET("/v1/audit/keys")),
      ask(api.GET("/v1/audit/checkpoint")),
    ]);
    const before = readMemory(place);
    const log = await judgeLog(browserVerifier, before, keys.items, newest, prove);
    const [first] = keys.items;
    if (outcome(log.checks) === "refused" || !first) return { ...log, memory: before };
    const since = new Date().toISOString();
    const known = before ?? { key: first.key, given: false, since, seen: [] };
    const memory = withSeen(known, { size: String(newest.size), root: newest.root, at: newest.at });
    keepMemory(place, memory);
    return { ...log, memory };
  },
  staleTime: 5_000,
  refetchInterval: 10_000,
});

/** Holds the log to a key that was got elsewhere. */
export async function giveKey(key: string): Promise<void> {
  const before = readMemory(place);
  const seen = before?.key === key ? before.seen : [];
  keepMemory(place, { key, given: true, since: new Date().toISOString(), seen });
  await queryClient.invalidateQueries({ queryKey: logQuery.queryKey });
}

/** Forgets the log; the next look is the first one. */
export async function forgetLog(): Promise<void> {
  keepMemory(place, null);
  await queryClient.invalidateQueries({ queryKey: logQuery.queryKey });
}

async function judged(proven: ProvenEntry, log: Log): Promise<Check[]> {
  return judgeEntry(browserVerifier, log, proven, prove);
}

/** Until a checkpoint covers an entry, moments after it was written, it is asked for again. */
const COVERED_SOON_MS = 2_000;

interface Judged {
  proven: ProvenEntry;
  checks: readonly Check[];
}

const once = {
  staleTime: Number.POSITIVE_INFINITY,
  refetchInterval: (query: { state: { data?: Judged } }) =>
    query.state.data?.proven.proof === null ? COVERED_SOON_MS : (false as const),
};

/** One entry, and whether it is in the log. */
export const entryQuery = (index: number) =>
  queryOptions({
    ...once,
    queryKey: ["audit", "entry", index],
    queryFn: async (): Promise<Judged> => {
      const log = await queryClient.fetchQuery(logQuery);
      const proven = await ask(api.GET("/v1/audit/entries/{index}", { params: { path: { index } } }));
      return { proven, checks: await judged(proven, log) };
    },
  });

/** The entry of a receipt's verdict, and whether it is in the log. */
export const receiptProofQuery = (id: string, number: number) =>
  queryOptions({
    ...once,
    queryKey: ["accounts", id, "receipts", number, "proof"],
    queryFn: async (): Promise<Judged & { key: string | null }> => {
      const log = await queryClient.fetchQuery(logQuery);
      const params = { path: { id, number } };
      const proven = await ask(api.GET("/v1/accounts/{id}/receipts/{number}/proof", { params }));
      return { proven, checks: await judged(proven, log), key: log.served[0]?.key ?? null };
    },
  });

/** Whether the log at one size continues what it was at another; at the newest checkpoint if no other is said. */
export const continuationQuery = (from: number, to: number | null) =>
  queryOptions({
    queryKey: ["audit", "continuation", from, to],
    queryFn: async () => {
      const log = await queryClient.fetchQuery(logQuery);
      const query = to === null ? { from } : { from, to };
      const [before, answer] = await Promise.all([
        checkpointOf(from),
        ask(api.GET("/v1/audit/consistency", { params: { query } })),
      ]);
      const checks = await judgeContinuation(browserVerifier, log.keys, before, answer);
      return { before, after: answer.checkpoint, checks };
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

/** The note of a checkpoint that this browser saw; refused if the server shows another one now. */
export async function seenNote(size: string, root: string): Promise<string> {
  const shown = await checkpointOf(Number(size));
  if (shown.root !== root) throw new Error(`The server shows another checkpoint of ${size} entries now.`);
  return shown.note;
}
