import { describe, expect, it } from "vitest";
import type { FinanceRow } from "../api/types";
import { oneOf, saidIn, withQuery } from "./address";
import {
  addsUp,
  apart,
  balanced,
  byOf,
  byText,
  linesPath,
  offBy,
  reports,
  sides,
  sideText,
  totals,
  unequal,
} from "./books";

const usd = { currency: "USD", debits: "9007199254740993.01", credits: "9007199254740993.01" };
const eur = { currency: "EUR", debits: "10.00", credits: "10.01" };

describe("the trial balance", () => {
  it("is balanced only if the server and the sums both say so", () => {
    expect(balanced({ balanced: true, sums: [usd] })).toBe(true);
    expect(balanced({ balanced: false, sums: [usd] })).toBe(false);
    expect(balanced({ balanced: true, sums: [usd, eur] })).toBe(false);
  });
  it("says where the sides differ, to the last digit", () => {
    expect(unequal({ sums: [usd, eur] })).toEqual([eur]);
    expect(offBy(eur)).toBe("-0.01");
    expect(unequal({ sums: [{ ...usd, debits: "9007199254740993.02" }] })).toHaveLength(1);
  });
  it("shows a line on its side", () => {
    expect(sides("1234.50")).toEqual({ debit: "1,234.50", credit: null });
    expect(sides("-0.10")).toEqual({ debit: null, credit: "0.10" });
  });
  it("leads to the lines of an account with a colon in its name", () => {
    expect(linesPath("provider_clearing:stripe", "USD")).toBe(
      "/operate/finance/accounts/provider_clearing%3Astripe?currency=USD",
    );
  });
});

const row = (currency: string, net: string, count = 1): FinanceRow => ({
  day: "2026-01-05",
  program: null,
  provider: null,
  currency,
  count,
  amounts: { net },
});

describe("a report", () => {
  it("sums each currency for itself, exactly", () => {
    const columns = [["net", "Net"]] as const;
    expect(totals([row("USD", "0.10", 2), row("EUR", "5.00"), row("USD", "0.20")], columns)).toEqual([
      { currency: "USD", count: 3, amounts: { net: "0.30" } },
      { currency: "EUR", count: 1, amounts: { net: "5.00" } },
    ]);
    expect(totals([row("USD", "1.00")], reports.refunds.columns)[0]?.amounts).toEqual({});
  });
  it("does not sum what is owed at the end of each day", () => {
    expect(addsUp("liability", ["day", "program"])).toBe(false);
    expect(addsUp("liability", ["program"])).toBe(true);
    expect(addsUp("revenue", ["day"])).toBe(true);
  });
  it("is told apart by everything, by some, or by the currency alone", () => {
    expect(byText(byOf(undefined))).toBe("day,program,provider");
    expect(byText(byOf("provider,day,colour"))).toBe("day,provider");
    expect(byText(byOf("none"))).toBe("");
  });
});

describe("two sides of a difference", () => {
  it("are compared where both have a number", () => {
    expect(apart("10.00", "10.05")).toBe("0.05");
    expect(apart(null, "10.05")).toBeNull();
    expect([sideText("1000.00"), sideText(null), sideText("-5")]).toEqual(["1,000.00", "–", "\u22125"]);
  });
});

describe("an address", () => {
  it("keeps what is said, an empty text too", () => {
    expect(withQuery("/x", { a: undefined })).toBe("/x");
    expect(withQuery("/x", { by: "", to: "2026-01-05" })).toBe("/x?by=&to=2026-01-05");
    expect(withQuery("/x", { at: "2026-01-05T10:00:00Z" })).toBe("/x?at=2026-01-05T10%3A00%3A00Z");
  });
  it("says what it has of the names", () => {
    expect(saidIn(new URLSearchParams("a=1&b=%20&c=3"), ["a", "b"])).toEqual({ a: "1" });
    expect([oneOf("b", ["a", "b"]), oneOf("c", ["a", "b"]), oneOf(undefined, ["a"])]).toEqual([
      "b",
      undefined,
      undefined,
    ]);
  });
});
