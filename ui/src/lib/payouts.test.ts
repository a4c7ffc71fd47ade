import { describe, expect, it } from "vitest";
import { problem } from "../api/error";
import type { Payout, PayoutState } from "../api/types";
import {
  bankOf,
  eventText,
  ibanText,
  isIban,
  isOver,
  mayWithdraw,
  newPayee,
  openOf,
  payeeFaults,
  payeeOf,
  payeeText,
  payoutAmount,
  payoutStates,
  stateNext,
  stateWord,
} from "./payouts";

const IBAN = "DE89370400440532013000";

const payout = (id: string, account_id: string, state: PayoutState): Payout => ({
  id,
  account_id,
  state,
  program: "Express",
  currency: "USD",
  amount: "500.00",
  share: "400.00",
  method: "bank_file",
  verdict: null,
  reason: null,
  requested_at: "2026-11-29T10:00:00.000000Z",
  moved_at: "2026-11-29T10:00:00.000000Z",
});

describe("the states of a payout", () => {
  it("are all said in words", () => {
    expect(payoutStates).toHaveLength(15);
    for (const state of payoutStates) {
      expect(stateWord(state)).not.toBe("");
      expect(stateNext(state)).toMatch(/\.$/);
    }
  });
  it("say what is over and what may be taken back", () => {
    expect(payoutStates.filter(isOver)).toEqual(["settled", "refused", "rejected", "withdrawn"]);
    expect(payoutStates.filter(mayWithdraw)).toEqual([
      "requested",
      "awaiting_identity",
      "in_review",
      "approved",
    ]);
  });
  it("find the one of an account that is under way", () => {
    const all = [payout("1", "a", "settled"), payout("2", "b", "sent"), payout("3", "a", "failed")];
    expect(openOf(all, "a")?.id).toBe("3");
    expect(openOf(all, "c")).toBeNull();
  });
  it("begin with an amount as fine as those of the account", () => {
    expect(payoutAmount(" 100,5 ", "0.00")).toBe("100.50");
    expect(payoutAmount("", "0.00")).toBe("");
    expect(payoutAmount("1500", "25000")).toBe("1500");
    for (const typed of ["0", "-1", "all", "0.001", "1e3"]) expect(payoutAmount(typed, "0.00")).toBeNull();
  });
  it("name an attempt from the second one on", () => {
    expect(eventText({ what: "sent", attempt: 1 })).toBe("On its way");
    expect(eventText({ what: "sent", attempt: 2 })).toBe("On its way (attempt 2)");
    expect(eventText({ what: "moved_on", attempt: 0 })).toBe("Moved on");
  });
});

describe("where a payout goes", () => {
  it("is checked like the server checks it", () => {
    expect(payeeOf({ ...newPayee, name: "Ada", iban: "de89 3704 0044 0532 0130 00" })).toEqual({
      payee: { method: "bank_file", bank: { name: "Ada", iban: IBAN } },
    });
    expect(payeeOf({ ...newPayee, method: "paypal", email: " ada@example.com " })).toEqual({
      payee: { method: "paypal", email: "ada@example.com" },
    });
    expect(payeeOf({ ...newPayee, method: "manual" })).toEqual({ payee: { method: "manual", note: "" } });
    for (const email of ["ada", "ada@example", "ada@.com", "a b@example.com"])
      expect(payeeOf({ ...newPayee, method: "paypal", email })).toHaveProperty("faults.email");
    expect(payeeOf({ ...newPayee, method: "stripe", account: "1234" })).toHaveProperty("faults.account");
    expect(payeeOf({ ...newPayee, method: "manual", note: "x".repeat(201) })).toHaveProperty("faults.note");
  });
  it("has an account with right check digits", () => {
    expect(isIban(IBAN)).toBe(true);
    expect(isIban("DE89370400440532013001")).toBe(false);
    expect(isIban("GB82WEST12345698765432")).toBe(true);
    expect(isIban("")).toBe(false);
    expect(bankOf({ name: "", iban: "DE00", bic: "SHORT" })).toEqual({
      faults: {
        name: expect.stringContaining("holder"),
        iban: expect.stringContaining("IBAN"),
        bic: expect.stringContaining("BIC"),
      },
    });
    expect(bankOf({ name: "Ada", iban: IBAN, bic: "cobadeffxxx" })).toEqual({
      bank: { name: "Ada", iban: IBAN, bic: "COBADEFFXXX" },
    });
  });
  it("is read on one line", () => {
    expect(ibanText(IBAN)).toBe("DE89 3704 0044 0532 0130 00");
    expect(payeeText({ method: "bank_file", bank: { name: "Ada", iban: IBAN } })).toBe(
      "Ada, DE89 3704 0044 0532 0130 00",
    );
    expect(payeeText({ method: "manual", note: "" })).toBe("Nothing was said");
  });
  it("shows what the server says at the field that it is about", () => {
    const refused = problem(422, {
      detail: "Look at the fields.",
      errors: [
        { pointer: "/payee/iban", code: "invalid", detail: "This is no IBAN." },
        { pointer: "/payee/method", code: "invalid", detail: "The firm does not pay like this." },
        { pointer: "/amount", code: "invalid", detail: "Must be above 0." },
      ],
    });
    expect(payeeFaults(refused)).toEqual({
      iban: "This is no IBAN.",
      method: "The firm does not pay like this.",
    });
  });
});
