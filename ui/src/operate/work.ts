import type { FailedMessage, Job } from "../api/types";

/** "3 s", "4 min 10 s", "2 h 5 min", "6 d 3 h": two units at most, because nobody acts on more. */
export function ageWords(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  const units: readonly [number, string][] = [
    [Math.floor(total / 86_400), "d"],
    [Math.floor(total / 3_600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = units.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return units
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** How long something may wait before it is marked, in seconds. */
const LATE = 60;
const VERY_LATE = 600;

export function lateness(seconds: number | null): "fine" | "late" | "very-late" {
  if (seconds === null || seconds < LATE) return "fine";
  return seconds < VERY_LATE ? "late" : "very-late";
}

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
