import type { DisputeAnswer, DisputeDetail, DisputeRate, DisputeState } from "../api/types";
import { ageWords } from "../lib/time";

export const disputeStates = [
  "needs_answer",
  "under_review",
  "won",
  "lost",
] as const satisfies readonly DisputeState[];

export const disputeWords: Record<DisputeState, readonly [string, string]> = {
  needs_answer: ["Needs an answer", "expired"],
  under_review: ["Under review", "running"],
  won: ["Won", "passed"],
  lost: ["Lost", "failed"],
};

/** Whether it is the firm's turn, and nothing was answered that may have arrived. */
export function answerable({ dispute, answers }: DisputeDetail): boolean {
  return dispute.state === "needs_answer" && answers.every(({ state }) => state === "failed");
}

/** How long there is to answer, and how much that hurries; null where nobody waits. */
export function timeLeft(
  { state, answer_by }: { state: DisputeState; answer_by: string | null },
  now: number,
): { say: string; tone: "fine" | "late" | "very-late" } | null {
  if (state !== "needs_answer" || answer_by === null) return null;
  const seconds = Math.floor((Date.parse(answer_by) - now) / 1000);
  if (seconds <= 0) return { say: "over", tone: "very-late" };
  const tone = seconds < 86_400 ? "very-late" : seconds < 3 * 86_400 ? "late" : "fine";
  return { say: `${ageWords(seconds)} left`, tone };
}

const answerWords: Record<string, string> = { evidence: "Evidence", concession: "Given in" };
const standingWords: Record<string, readonly [string, string]> = {
  asked: ["Not known to have arrived", "waiting"],
  done: ["Arrived", "done"],
  failed: ["Not taken", "failed"],
};

export function answerText({ kind, state }: Pick<DisputeAnswer, "kind" | "state">): {
  what: string;
  standing: readonly [string, string];
} {
  return { what: answerWords[kind] ?? kind, standing: standingWords[state] ?? [state, ""] };
}

/** The longest explanation, in characters, as the server has it. */
export const MOST_EXPLANATION = 1_000;

export function explanationProblem(text: string): string | null {
  const length = [...text.trim()].length;
  return length > MOST_EXPLANATION
    ? `Say it in at most ${MOST_EXPLANATION.toLocaleString("en-US")} characters; these are ${length.toLocaleString("en-US")}.`
    : null;
}

/** How bad a month's rate is, as the server judges it. */
export function levelText(level: DisputeRate["level"]): readonly [string, string] {
  if (level === "alert") return ["Alert: the provider is about to act", "failed"];
  if (level === "warn") return ["Look at it", "expired"];
  return ["Usual", "done"];
}

/** From which rates on the server tells, as it judges them. */
export const thresholds = { warn: "0.5", alert: "0.65", leastPayments: 100 } as const;

/** A month as the address and the server write it; nothing for anything else. */
export function monthOf(text: string | undefined): string | undefined {
  return text && /^\d{4}-(0[1-9]|1[0-2])$/.test(text.trim()) ? text.trim() : undefined;
}

/** "812 bytes", "12.4 kB", "3.0 MB": cut, never more than there is. */
export function sizeText(bytes: number): string {
  if (bytes < 1_000) return `${bytes} bytes`;
  const [unit, name] = bytes < 1_000_000 ? [100, "kB"] : [100_000, "MB"];
  const tenths = Math.floor(bytes / unit);
  return `${Math.floor(tenths / 10)}.${tenths % 10} ${name}`;
}
