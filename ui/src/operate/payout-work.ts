import type { Dossier, Payout, PayoutSettings, Person } from "../api/types";
import { readDecimal, sign } from "../lib/decimal";
import { bankOf } from "../lib/payouts";
import { may } from "./roles";

export type PayoutAction = "approve" | "reject" | "paid" | "returned" | "again";

/** Which actions somebody may try, and in a sentence why they may not approve; the server decides. */
export interface Possible {
  actions: readonly PayoutAction[];
  /** Why there is nothing to agree to, where one might expect it. */
  hindered: string | null;
}

export function possible(dossier: Dossier, me: Pick<Person, "id" | "roles">): Possible {
  const { payout } = dossier;
  const own = dossier.person_id === me.id;
  const agreed = dossier.reviews.some(
    (review) => review.counts && review.reviewer_id === me.id && review.approves,
  );
  const actions: PayoutAction[] = [];
  let hindered: string | null = null;
  if (payout.state === "awaiting_identity") hindered = "It is not known yet who asks for it.";
  const payee = payout.state === "payee_in_review";
  if (payout.state === "in_review" || payee) {
    if (own) hindered = "Nobody decides about a payout of their own.";
    else if (payee && dossier.payee_by_id === me.id)
      hindered = "You have said whom it goes to; somebody else has to look at that.";
    else if (agreed) hindered = "You have agreed to it; somebody else has to look at it, too.";
    else actions.push("approve");
  }
  const undecided = ["requested", "awaiting_identity", "in_review", "approved", "payee_in_review"].includes(
    payout.state,
  );
  if (undecided && !own) actions.push("reject");
  if (may(me, "money") && !own) {
    if (toBePaid(payout)) actions.push("paid");
    if (mayReturn(payout)) actions.push("returned");
    if (payout.state === "failed" || payout.state === "returned") actions.push("again");
  }
  return { actions, hindered };
}

const byHand = ({ method }: Payout) => method === "manual" || method === "bank_file";

/** Whether somebody of the firm says that it was paid: by hand, or by the bank from a file. */
function toBePaid(payout: Payout): boolean {
  return (
    (payout.method === "manual" && payout.state === "reserved") || (byHand(payout) && payout.state === "sent")
  );
}

/** Whether the bank may say that it did not arrive. */
function mayReturn(payout: Payout): boolean {
  return byHand(payout) && (payout.state === "sent" || payout.state === "settled");
}

/** "1 of 2 have agreed". */
export function agreedText(dossier: Pick<Dossier, "reviews" | "reviewers_needed">): string {
  const agreed = dossier.reviews.filter((review) => review.counts && review.approves).length;
  const needed = dossier.reviewers_needed;
  if (needed === 1) return agreed === 0 ? "One reviewer is enough." : "One reviewer was enough, and agreed.";
  return `${agreed} of ${needed} different reviewers have agreed.`;
}

/** What is typed about how the firm pays. Amounts stay texts. */
export interface SettingsDraft {
  methods: PayoutSettings["methods"];
  identity_needed: boolean;
  name: string;
  iban: string;
  bic: string;
  limits: readonly { currency: string; amount: string }[];
}

export type SettingsFault = "name" | "iban" | "bic" | "limits" | "methods" | "all";

export function draftOf(settings: PayoutSettings): SettingsDraft {
  return {
    methods: settings.methods,
    identity_needed: settings.identity_needed,
    name: settings.bank?.name ?? "",
    iban: settings.bank?.iban ?? "",
    bic: settings.bank?.bic ?? "",
    limits: settings.one_reviewer,
  };
}

/** What was typed as the API takes it, or what is wrong with it. */
export function settingsOf(
  draft: SettingsDraft,
): { settings: PayoutSettings } | { faults: Partial<Record<SettingsFault, string>> } {
  const faults: Partial<Record<SettingsFault, string>> = {};
  const none = [draft.name, draft.iban, draft.bic].every((text) => text.trim() === "");
  const bank = none ? null : bankOf(draft);
  if (bank && "faults" in bank) Object.assign(faults, bank.faults);
  if (draft.methods.length === 0) faults.methods = "Choose at least one way, or nobody can be paid.";
  const limits = draft.limits.filter(({ amount, currency }) => `${amount}${currency}`.trim() !== "");
  const read = limits.map(({ amount, currency }) => ({
    amount: readDecimal(amount),
    currency: currency.trim().toUpperCase(),
  }));
  const seen = new Set(read.map(({ currency }) => currency));
  if (seen.size < read.length) faults.limits = "Give each currency once.";
  const one_reviewer: PayoutSettings["one_reviewer"] = [];
  for (const { amount, currency } of read) {
    if (!/^[A-Z]{3}$/.test(currency)) faults.limits = "A currency has three letters, such as USD.";
    else if (amount === null || sign(amount) < 0)
      faults.limits = `Give an amount of ${currency}, not below 0.`;
    else one_reviewer.push({ amount, currency });
  }
  if (Object.keys(faults).length > 0) return { faults };
  const { methods, identity_needed } = draft;
  return {
    settings: {
      methods,
      identity_needed,
      bank: bank && "bank" in bank ? bank.bank : null,
      one_reviewer,
    },
  };
}
