import type { ApiError } from "../api/error";
import type { Payee, Payout, PayoutEvent, PayoutMethod, PayoutState } from "../api/types";
import { decimals, readDecimal, sign, withScale } from "./decimal";
import { wordFor } from "./format";

/** Where a payout stands, for a tag: its words, its tone and a sentence about what comes next. */
const states: Record<PayoutState, { word: string; tone: string; next: string }> = {
  requested: { word: "Requested", tone: "active", next: "It was asked for and is being looked at." },
  awaiting_identity: {
    word: "Awaiting identity",
    tone: "expired",
    next: "It goes on as soon as it is known who asks.",
  },
  in_review: { word: "In review", tone: "active", next: "The firm's people look at it." },
  approved: { word: "Approved", tone: "active", next: "The amount is about to leave the trading account." },
  taken: { word: "Taken", tone: "active", next: "The amount has left the trading account." },
  reserved: { word: "Reserved", tone: "active", next: "The share is kept back and waits to be sent." },
  sending: { word: "Sending", tone: "active", next: "The share is being sent." },
  sent: { word: "Sent", tone: "active", next: "The share is on its way." },
  settled: { word: "Settled", tone: "passed", next: "The share has arrived." },
  failed: {
    word: "Failed",
    tone: "failed",
    next: "The share never left. It is owed and will be sent again.",
  },
  returned: {
    word: "Returned",
    tone: "failed",
    next: "The share came back. It is owed and will be sent again.",
  },
  payee_in_review: {
    word: "Payee in review",
    tone: "active",
    next: "The share is owed. The firm's people look at where it is to go.",
  },
  refused: { word: "Refused", tone: "failed", next: "A condition of the program no longer held." },
  rejected: { word: "Rejected", tone: "failed", next: "The firm's people did not let it go." },
  withdrawn: { word: "Withdrawn", tone: "", next: "It was taken back; nothing left the account." },
};

export const payoutStates = Object.keys(states) as PayoutState[];

export function stateWord(state: PayoutState): string {
  return states[state].word;
}

export function stateTone(state: PayoutState): string {
  return states[state].tone;
}

export function stateNext(state: PayoutState): string {
  return states[state].next;
}

/** Whether nothing follows by itself, so that another one may be asked for. */
export function isOver(state: PayoutState): boolean {
  return state === "settled" || state === "refused" || state === "rejected" || state === "withdrawn";
}

/** Whether it may be taken back, as far as its state says; the server knows whether the engine was asked. */
export function mayWithdraw(state: PayoutState): boolean {
  return (
    state === "requested" || state === "awaiting_identity" || state === "in_review" || state === "approved"
  );
}

/** The one of an account that is under way. */
export function openOf(payouts: readonly Payout[], account: string): Payout | null {
  return payouts.find((payout) => payout.account_id === account && !isOver(payout.state)) ?? null;
}

/** What was typed as an amount of an account; empty for everything that is allowed, null if it is no amount. */
export function payoutAmount(typed: string, like: string): string | null {
  if (typed.trim() === "") return "";
  const read = readDecimal(typed);
  // No amount is finer than those of the account.
  const amount = read === null ? null : withScale(read, decimals(like));
  return amount === null || sign(amount) <= 0 ? null : amount;
}

const happened: Record<string, string> = {
  requested: "Asked for",
  identity_needed: "It must be known who asks",
  identity_known: "It is known who asks",
  reviewed: "One reviewer agreed, another one has to",
  approved: "Approved",
  rejected: "Rejected",
  withdrawn: "Taken back by the trader",
  take_begun: "Being taken from the account",
  later: "Prices were too old; tried again",
  taken: "Taken from the account",
  nothing_owed: "Taken from the account; the share of it is nothing",
  refused: "Refused by a condition of the program",
  reserved: "The share is kept back",
  begun: "The provider was asked to send it",
  sent: "On its way",
  settled: "Arrived",
  fee_known: "Its cost is known",
  failed: "It did not leave",
  returned: "It came back",
  sent_again: "To be sent once more",
  payee_changed: "To be sent to somewhere else",
  payee_approved: "Where it goes was approved",
  payee_rejected: "Where it was to go was not approved",
};

/** An event of a payout in words; an attempt is named from the second one on. */
export function eventText(event: Pick<PayoutEvent, "what" | "attempt">): string {
  const words = happened[event.what] ?? wordFor(event.what);
  return event.attempt > 1 ? `${words} (attempt ${event.attempt})` : words;
}

const methods: Record<PayoutMethod, string> = {
  bank_file: "Bank transfer",
  paypal: "PayPal",
  stripe: "Stripe",
  manual: "As agreed with the firm",
};

export const payoutMethods = Object.keys(methods) as PayoutMethod[];

export function methodWord(method: PayoutMethod): string {
  return methods[method];
}

/** Whom a payout goes to, on one line. */
export function payeeText(payee: Payee): string {
  switch (payee.method) {
    case "stripe":
      return payee.account ?? "";
    case "paypal":
      return payee.email ?? "";
    case "bank_file": {
      const { bank } = payee;
      return bank ? [bank.name, ibanText(bank.iban), bank.bic].filter(Boolean).join(", ") : "";
    }
    case "manual":
      return payee.note || "Nothing was said";
  }
}

/** An IBAN in groups of four, as it stands on paper. */
export function ibanText(iban: string): string {
  return iban.replace(/(.{4})(?=.)/g, "$1 ");
}

/** What is typed about where the money goes. */
export interface PayeeDraft {
  method: PayoutMethod;
  account: string;
  email: string;
  name: string;
  iban: string;
  bic: string;
  note: string;
}

export type PayeeField = keyof PayeeDraft;
export type PayeeFaults = Partial<Record<PayeeField, string>>;

export const newPayee: PayeeDraft = {
  method: "bank_file",
  account: "",
  email: "",
  name: "",
  iban: "",
  bic: "",
  note: "",
};

/** Letters and digits as banks write them: in capitals, without blanks. */
function compact(text: string): string {
  return text.replace(/[\s-]+/g, "").toUpperCase();
}

/** Whether the check digits of an IBAN are right (ISO 7064, modulo 97). */
export function isIban(iban: string): boolean {
  if (!/^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$/.test(iban)) return false;
  let remainder = 0;
  for (const letter of iban.slice(4) + iban.slice(0, 4)) {
    const value = Number.parseInt(letter, 36);
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97;
  }
  return remainder === 1;
}

export interface BankDraft {
  name: string;
  iban: string;
  bic: string;
}

/** What was typed as a bank account, or what is wrong with it. */
export function bankOf(
  draft: BankDraft,
): { bank: { name: string; iban: string; bic?: string } } | { faults: Partial<BankDraft> } {
  const [name, iban, bic] = [draft.name.trim(), compact(draft.iban), compact(draft.bic)];
  const faults: Partial<BankDraft> = {};
  if (name === "" || [...name].length > 70) faults.name = "Give the holder in 1 to 70 characters.";
  if (iban === "") faults.iban = "Give the IBAN of the account.";
  else if (!isIban(iban)) faults.iban = "This is no IBAN: a digit is wrong or missing.";
  if (bic !== "" && !/^[A-Z]{6}([A-Z0-9]{2}|[A-Z0-9]{5})$/.test(bic))
    faults.bic = "A BIC has 8 or 11 letters and digits.";
  return Object.keys(faults).length > 0 ? { faults } : { bank: { name, iban, ...(bic && { bic }) } };
}

/** What was typed as the API takes it, or what is wrong with it. */
export function payeeOf(draft: PayeeDraft): { payee: Payee } | { faults: PayeeFaults } {
  const { method } = draft;
  switch (method) {
    case "stripe": {
      const account = draft.account.trim();
      if (!/^acct_\w{1,59}$/.test(account))
        return { faults: { account: "Give a connected account, such as acct_1234." } };
      return { payee: { method, account } };
    }
    case "paypal": {
      const email = draft.email.trim();
      if (email.length > 127 || !/^[^\s@]+@[^\s@.]+(\.[^\s@.]+)+$/.test(email))
        return { faults: { email: "Give the e-mail address that PayPal knows." } };
      return { payee: { method, email } };
    }
    case "bank_file": {
      const read = bankOf(draft);
      return "faults" in read ? read : { payee: { method, bank: read.bank } };
    }
    case "manual": {
      const note = draft.note.trim();
      if ([...note].length > 200) return { faults: { note: "At most 200 characters." } };
      return { payee: { method, note } };
    }
  }
}

const payeeFields: readonly PayeeField[] = ["method", "account", "email", "name", "iban", "bic", "note"];

/** What the server says of the fields of a payee, wherever in the body they are. */
export function payeeFaults(refused: ApiError): PayeeFaults {
  const found: PayeeFaults = {};
  for (const { pointer, detail } of refused.fields) {
    const last = pointer.split("/").at(-1);
    const field = payeeFields.find((known) => known === last);
    if (field && pointer.includes("payee")) found[field] ??= detail;
  }
  return found;
}
