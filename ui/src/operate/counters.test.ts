import { describe, expect, it } from "vitest";
import type { Business, Happened } from "../api/types";
import { dayBefore, daysOf, phasesOf, programsOf, sumsOf } from "./counters";

const one = (day: string, what: Happened["what"], count: number, amount: string | null, currency = "USD") =>
  ({ day, what, program: "express", phase: 0, count, amount, currency }) satisfies Happened;
const happened = [
  one("2026-01-05", "paid", 2, "0.10"),
  one("2026-01-06", "paid", 1, "0.20"),
  one("2026-01-06", "paid", 1, "99.00", "EUR"),
  one("2026-01-06", "breaches", 3, null),
];

describe("the counters of a firm", () => {
  it("are summed exactly, each currency for itself", () => {
    const sums = sumsOf(happened);
    expect(sums.get("paid")?.count).toBe(4);
    expect([...(sums.get("paid")?.amounts ?? [])]).toEqual([
      ["USD", "0.30"],
      ["EUR", "99.00"],
    ]);
    expect(sums.get("breaches")).toEqual({ count: 3, amounts: new Map() });
    expect(sums.get("payouts")).toBeUndefined();
  });
  it("are told by day, the newest first", () => {
    const days = daysOf(happened);
    expect(days.map(({ day }) => day)).toEqual(["2026-01-06", "2026-01-05"]);
    expect(days[1]?.sums.get("paid")).toEqual({ count: 2, amounts: new Map([["USD", "0.10"]]) });
  });
  it("tell the accounts of each phase by their state", () => {
    const accounts: Business["accounts"] = [
      { program: "express", phase: 1, status: "active", count: 2 },
      { program: "express", phase: 0, status: "active", count: 5 },
      { program: "express", phase: 0, status: "breached", count: 4 },
      { program: "classic", phase: 0, status: "passed", count: 1 },
    ];
    expect(phasesOf(accounts)).toEqual([
      { program: "classic", phase: 0, counts: { passed: 1 }, all: 1 },
      { program: "express", phase: 0, counts: { active: 5, breached: 4 }, all: 9 },
      { program: "express", phase: 1, counts: { active: 2 }, all: 2 },
    ]);
    expect(programsOf({ accounts, days: happened, as_of: "" })).toEqual(["classic", "express"]);
  });
  it("begin with a day of UTC", () => {
    expect(dayBefore(Date.parse("2026-03-01T00:30:00Z"), 6)).toBe("2026-02-23");
  });
});
