import { describe, expect, it } from "vitest";
import type { Dispute, DisputeAnswer } from "../api/types";
import { kindWord, remediesOf, resolutionOf, unsettled } from "./compare";
import {
  answerable,
  answerText,
  explanationProblem,
  levelText,
  MOST_EXPLANATION,
  monthOf,
  sizeText,
  timeLeft,
} from "./contested";
import { howMuch, newRefund, refundOf } from "./giving-back";

const id = "0198c0de-0000-7000-8000-000000000001";

describe("giving money back", () => {
  const draft = { ...newRefund, purchase: ` ${id.toUpperCase()} `, reason: " T-1 " };
  it("asks for an amount as it was typed, in digits", () => {
    expect(refundOf({ ...draft, amount: "12,50", currency: "usd" })).toEqual({
      asked: { purchase: id, body: { reason: "T-1", amount: "12.50", currency: "USD" } },
    });
  });
  it("leaves the amount out where everything goes back", () => {
    const read = refundOf({ ...draft, how: "all", amount: "1", currency: "USD", payment: "pi_1" });
    expect(read).toEqual({ asked: { purchase: id, body: { reason: "T-1", payment: "pi_1" } } });
    expect(howMuch({ reason: "T-1" })).toBe("Everything that is left");
    expect(howMuch({ reason: "T-1", amount: "1200.00", currency: "USD" })).toBe("1,200.00\u00a0USD");
  });
  it("says at every field what is wrong", () => {
    expect(refundOf({ ...newRefund, purchase: "p", amount: "0.00" })).toEqual({
      faults: {
        purchase: "Give the id of a purchase.",
        amount: "Give an amount above zero.",
        currency: "Write a currency as USD.",
        reason: "Say why; it is written down.",
      },
    });
    for (const amount of ["-1", "", "1e3", "many"])
      expect(refundOf({ ...draft, currency: "USD", amount })).toHaveProperty("faults.amount");
  });
});

describe("a difference", () => {
  it("can be posted only where a provider has the other side", () => {
    expect(remediesOf({ with: "own" })).toEqual(["accept", "reverse_entry"]);
    expect(remediesOf({ with: "stripe" })).toContain("post_difference");
  });
  it("is resolved with a reason, and with an entry only where one is taken back", () => {
    expect(resolutionOf({ remedy: "accept", reason: " rounding ", entry: id })).toEqual({
      body: { reason: "rounding", remedy: "accept" },
    });
    expect(resolutionOf({ remedy: "reverse_entry", reason: "twice", entry: ` ${id}` })).toEqual({
      body: { reason: "twice", remedy: "reverse_entry", entry: id },
    });
    expect(resolutionOf({ remedy: "reverse_entry", reason: "", entry: "e" })).toEqual({
      faults: {
        reason: "Say why; it is written down.",
        entry: "Give the id of the entry that is taken back.",
      },
    });
  });
  it("is taken by somebody as long as it is one", () => {
    expect(["open", "assigned", "resolved", "vanished"].map((state) => unsettled({ state }))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect([kindWord("not_in_ledger"), kindWord("some_other")]).toEqual(["Not in our books", "some other"]);
  });
});

describe("a dispute", () => {
  const dispute = { state: "needs_answer" } as Dispute;
  const answer = (state: string) => ({ kind: "evidence", state }) as DisputeAnswer;
  it("is answered once; an answer that was not taken does not count", () => {
    expect(answerable({ dispute, answers: [] })).toBe(true);
    expect(answerable({ dispute, answers: [answer("failed")] })).toBe(true);
    expect(answerable({ dispute, answers: [answer("failed"), answer("asked")] })).toBe(false);
    expect(answerable({ dispute: { ...dispute, state: "under_review" }, answers: [] })).toBe(false);
    expect(answerText(answer("asked")).standing[0]).toBe("Not known to have arrived");
  });
  it("says how long there is to answer", () => {
    const now = Date.parse("2026-01-05T00:00:00Z");
    const left = (answer_by: string | null) => timeLeft({ state: "needs_answer", answer_by }, now);
    expect(left("2026-01-12T00:00:00Z")).toEqual({ say: "7 d left", tone: "fine" });
    expect(left("2026-01-07T00:00:00Z")?.tone).toBe("late");
    expect(left("2026-01-05T02:05:00Z")).toEqual({ say: "2 h 5 min left", tone: "very-late" });
    expect(left("2026-01-04T00:00:00Z")).toEqual({ say: "over", tone: "very-late" });
    expect(left(null)).toBeNull();
    expect(timeLeft({ state: "won", answer_by: "2026-01-12T00:00:00Z" }, now)).toBeNull();
  });
  it("takes an explanation of so many characters", () => {
    expect(explanationProblem("é".repeat(MOST_EXPLANATION))).toBeNull();
    expect(explanationProblem("")).toBeNull();
    expect(explanationProblem("é".repeat(MOST_EXPLANATION + 1))).toBe(
      "Say it in at most 1,000 characters; these are 1,001.",
    );
  });
  it("counts in the month's rate", () => {
    expect([levelText("alert")[1], levelText("warn")[1], levelText(null)[1]]).toEqual([
      "failed",
      "expired",
      "done",
    ]);
    expect([monthOf("2026-06"), monthOf("2026-13"), monthOf("June"), monthOf(undefined)]).toEqual([
      "2026-06",
      undefined,
      undefined,
      undefined,
    ]);
  });
  it("tells the size of a document", () => {
    expect([999, 1_000, 12_499, 1_000_000, 3_090_000].map(sizeText)).toEqual([
      "999 bytes",
      "1.0 kB",
      "12.4 kB",
      "1.0 MB",
      "3.0 MB",
    ]);
  });
});
