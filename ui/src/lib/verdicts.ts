import type { Verdict } from "../api/types";

/** Verdicts by their kind, for people. */
export const verdictWords: Record<Verdict["kind"], string> = {
  breach: "Breach",
  soft_breach: "Soft breach",
  violation: "Violation",
  warning: "Warning",
  pass: "Pass",
  promotion: "Promotion",
  expiry: "Expiry",
  payout: "Payout",
  payout_refusal: "Payout refused",
};

/** The class of the tag that carries a verdict's kind: gladly read, a hard end, or something to mind. */
export function verdictTag(kind: Verdict["kind"]): "passed" | "breached" | "expired" {
  switch (kind) {
    case "pass":
    case "promotion":
    case "payout":
      return "passed";
    case "breach":
      return "breached";
    case "soft_breach":
    case "violation":
    case "warning":
    case "expiry":
    case "payout_refusal":
      return "expired";
  }
}

/** Whether the verdict ended its account. */
export function endsAccount(kind: Verdict["kind"]): boolean {
  return kind === "breach" || kind === "expiry" || kind === "pass" || kind === "promotion";
}
