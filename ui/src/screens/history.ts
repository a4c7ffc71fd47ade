import type { PurchaseDetail, PurchaseEvent } from "../api/types";
import { compare, dec, sign } from "../lib/decimal";

const words: Record<PurchaseEvent["what"], string> = {
  begun: "Payment page opened",
  nothing_due: "Nothing to pay",
  paid: "Paid",
  paid_again: "Paid once more: this payment is given back",
  fulfilled: "Account opened",
  cancelled: "Cancelled by you",
  expired: "Not paid in time",
  declined: "Payment declined",
  refunded_in_part: "Part of the payment given back",
  refunded_in_whole: "Payment given back",
  overpayment_refunded: "Second payment given back",
  refund_failed: "A refund did not arrive",
  dispute_opened: "Your bank asked for the money back",
  dispute_won: "Your bank's claim was turned down",
  dispute_lost: "Your bank took the money back",
};

/** Something that happened to a purchase, for its buyer. */
export function happened(what: PurchaseEvent["what"]): string {
  return words[what];
}

/** Whether a part of what was paid came back, and not all of it. */
export function partlyRefunded({ refunded, fee }: Pick<PurchaseDetail, "refunded" | "fee">): boolean {
  return sign(dec(refunded)) > 0 && compare(dec(refunded), dec(fee)) < 0;
}

/** Where a buyer whose payment did not come about begins again. */
export function againAt({ program, reset_of }: Pick<PurchaseDetail, "program" | "reset_of">): string {
  const checkout = `/programs/${program.slug}/checkout`;
  return reset_of === null ? checkout : `${checkout}?reset=${encodeURIComponent(reset_of)}`;
}

/** Whether the page need not ask again where the purchase stands. `outcome` is what the payment page says. */
export function settled(
  purchase: Pick<PurchaseDetail, "challenge_id" | "state">,
  outcome: string | null,
): boolean {
  if (purchase.challenge_id !== null) return true;
  if (purchase.state === "awaiting_payment") return outcome !== "paid";
  // Paid without a challenge is on its way.
  return purchase.state !== "paid";
}
