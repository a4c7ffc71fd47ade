import type { ReconciliationDifference, ResolutionOf } from "../api/types";
import { reasonProblem } from "./reasons";

/** With what the books are compared. */
export const subjects = ["stripe", "paypal", "own"] as const;
export type SubjectWord = (typeof subjects)[number];

export const subjectWords: Record<string, string> = {
  stripe: "Stripe",
  paypal: "PayPal",
  own: "Our own records",
};

export function subjectName(word: string): string {
  return subjectWords[word] ?? word;
}

export const standings = ["open", "assigned", "resolved", "vanished"] as const;
export type Standing = (typeof standings)[number];

export const standingWords: Record<Standing, readonly [string, string]> = {
  open: ["Open", "failed"],
  assigned: ["Assigned", "running"],
  resolved: ["Resolved", "passed"],
  vanished: ["Vanished", ""],
};

const kindWords: Record<string, string> = {
  not_in_ledger: "Not in our books",
  not_with_provider: "Not with the provider",
  amount: "Another amount",
  fee: "Another fee",
  without_entry: "A record without an entry",
  without_event: "An entry without a record",
  balance: "Another balance",
  fills: "Other fills",
};

export function kindWord(kind: string): string {
  return kindWords[kind] ?? kind.replaceAll("_", " ");
}

/** Whether somebody may still take or resolve it. */
export function unsettled({ state }: Pick<ReconciliationDifference, "state">): boolean {
  return state === "open" || state === "assigned";
}

export const remedyWords = {
  accept: "Accept it: nothing is posted",
  post_difference: "Post what our books lack",
  reverse_entry: "Take back an entry of the ledger",
} as const satisfies Record<ResolutionOf["remedy"], string>;

export type Remedy = keyof typeof remedyWords;

/** What can be done about a difference: only a provider's amounts can be posted. */
export function remediesOf({ with: subject }: Pick<ReconciliationDifference, "with">): Remedy[] {
  return subject === "own" ? ["accept", "reverse_entry"] : ["accept", "post_difference", "reverse_entry"];
}

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export interface ResolutionFaults {
  reason?: string;
  entry?: string;
}

/** What is to be sent, or what is wrong with it. */
export function resolutionOf(draft: {
  remedy: Remedy;
  reason: string;
  entry: string;
}): { body: ResolutionOf } | { faults: ResolutionFaults } {
  const reason = reasonProblem(draft.reason);
  const entry = draft.entry.trim();
  const taken = draft.remedy === "reverse_entry";
  const faults: ResolutionFaults = {
    ...(reason && { reason }),
    ...(taken && !ID.test(entry) && { entry: "Give the id of the entry that is taken back." }),
  };
  if (Object.keys(faults).length > 0) return { faults };
  const body = { reason: draft.reason.trim(), remedy: draft.remedy };
  return { body: taken ? { ...body, entry } : body };
}
