import type { FailedMessage, Job } from "../api/types";

/** "12,045". */
export function whole(count: number): string {
  return count.toLocaleString("en-US");
}

/** A count in words: "no jobs", "1 job", "1,204 jobs". */
export function counted(count: number, one: string): string {
  if (count === 0) return `no ${one}s`;
  return `${whole(count)} ${one}${count === 1 ? "" : "s"}`;
}

/** What a list shows of an error: its first line, cut where a line ends. The whole stands in the details. */
export function firstLine(error: string | null, most = 120): string {
  const line = (error ?? "").split("\n", 1)[0]?.trim() ?? "";
  return line.length > most ? `${line.slice(0, most - 1).trimEnd()}…` : line;
}

/** The kinds of these jobs, each once, in the order of the alphabet. */
export function kindsOf(jobs: readonly Pick<Job, "kind">[]): string[] {
  return [...new Set(jobs.map((job) => job.kind))].sort();
}

/** Where a failed message stands, in words. */
export function standing(message: Pick<FailedMessage, "dead_at" | "sent_again_at">): string {
  if (message.dead_at !== null) return "Dead";
  return message.sent_again_at === null ? "Failing" : "Sent again";
}
