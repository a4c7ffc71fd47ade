import type { NewRefund, Refund, RefundState } from "../api/types";
import { compare, dec, readDecimal } from "../lib/decimal";
import { moneyIn } from "../lib/format";
import { reasonProblem } from "./reasons";

export const refundStates = ["asked", "pending", "done", "failed"] as const satisfies readonly RefundState[];

export const refundWords: Record<RefundState, readonly [string, string]> = {
  asked: ["Asked for", "waiting"],
  pending: ["On its way", "running"],
  done: ["Done", "done"],
  failed: ["Failed", "failed"],
};

export const originWords: Record<Refund["origin"], string> = {
  asked: "The firm",
  overpaid: "Paid twice",
  at_provider: "At the provider",
};

/** What somebody typed to give money back. */
export interface RefundDraft {
  purchase: string;
  /** Everything that is left, or an amount. */
  how: "all" | "part";
  amount: string;
  currency: string;
  payment: string;
  reason: string;
}

export const newRefund: RefundDraft = {
  purchase: "",
  how: "part",
  amount: "",
  currency: "",
  payment: "",
  reason: "",
};

export type RefundFaults = Partial<Record<keyof RefundDraft | "all", string>>;

export interface RefundAsked {
  purchase: string;
  body: NewRefund;
}

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What is to be sent, or what is wrong with it. */
export function refundOf(draft: RefundDraft): { asked: RefundAsked } | { faults: RefundFaults } {
  const purchase = draft.purchase.trim().toLowerCase();
  const currency = draft.currency.trim().toUpperCase();
  const amount = readDecimal(draft.amount);
  const payment = draft.payment.trim();
  const reason = reasonProblem(draft.reason);
  const part = draft.how === "part";
  const faults: RefundFaults = {
    ...(!ID.test(purchase) && { purchase: "Give the id of a purchase." }),
    ...(part &&
      (amount === null || compare(amount, dec("0")) <= 0) && { amount: "Give an amount above zero." }),
    ...(part && !/^[A-Z]{3}$/.test(currency) && { currency: "Write a currency as USD." }),
    ...(reason && { reason }),
  };
  if (Object.keys(faults).length > 0) return { faults };
  const body: NewRefund = {
    reason: draft.reason.trim(),
    ...(part && amount !== null && { amount, currency }),
    ...(payment !== "" && { payment }),
  };
  return { asked: { purchase, body } };
}

/** How much that is, in words. */
export function howMuch({ amount, currency }: NewRefund): string {
  return amount && currency ? moneyIn(amount, currency) : "Everything that is left";
}
