import { describe, expect, it } from "vitest";
import { problem } from "../api/error";
import type { Coupon } from "../api/types";
import {
  addonOf,
  changeOf,
  countOf,
  couponLimits,
  couponOf,
  couponState,
  faultsOf,
  isRead,
  newAddon,
  newCoupon,
  numbersOf,
  PERCENT,
  portionOf,
  portionText,
} from "./stock";

describe("what is typed", () => {
  it("is a share or an amount, and stays text", () => {
    expect(portionOf("12,5", PERCENT)).toEqual({ kind: "percent", percent: "12.5" });
    expect(portionOf(" 100.00 ", "usd")).toEqual({ kind: "amount", amount: "100.00", currency: "USD" });
    expect(portionOf("ten", PERCENT)).toBeNull();
    expect(portionText({ kind: "amount", amount: "1250.00", currency: "USD" })).toBe("1,250.00\u00a0USD");
    expect(portionText({ kind: "percent", percent: "12.5" })).toBe("12.5%");
  });
  it("is a count, nothing or a fault", () => {
    expect(countOf(" 7 ")).toBe(7);
    expect(countOf("")).toBeUndefined();
    expect(countOf("7.5")).toBeNull();
    expect(countOf("-1")).toBeNull();
  });
});

describe("an add-on", () => {
  it("changes what its numbers say", () => {
    expect(changeOf("split", "90", "")).toEqual({ kind: "split", at_least: "90" });
    expect(changeOf("payout_days", "14", "7")).toEqual({ kind: "payout_days", first: 14, next: 7 });
    expect(changeOf("payout_days", "14", "")).toBeNull();
    expect(numbersOf({ kind: "payout_days", first: 14, next: 7 })).toEqual(["14", "7"]);
    for (const kind of ["resets", "trading_days", "more_days"] as const) {
      const change = changeOf(kind, "3", "");
      expect(change && numbersOf(change)).toEqual(["3", ""]);
    }
  });
  it("says what is missing, each at its field", () => {
    const faults = addonOf(newAddon);
    expect(isRead(faults, "price")).toBe(false);
    expect(Object.keys(faults)).toEqual(["code", "name", "price", "first"]);
    const read = addonOf({ ...newAddon, code: "s90", name: "More", price: "20", first: "90" });
    expect(read).toEqual({
      name: "More",
      price: { kind: "percent", percent: "20" },
      change: { kind: "split", at_least: "90" },
      on_sale: true,
    });
  });
});

describe("a coupon", () => {
  it("is read from its form", () => {
    const read = couponOf({
      ...newCoupon,
      code: " spring ",
      off: "10",
      programs: "one-step, two-step",
      endDay: "2026-12-01",
      most_uses: "100",
      least: "200",
      leastUnit: "USD",
    });
    expect(read).toEqual({
      code: "SPRING",
      off: { kind: "percent", percent: "10" },
      programs: ["one-step", "two-step"],
      stackable: false,
      most_uses: 100,
      most_per_person: 1,
      ends_at: "2026-12-01T00:00:00Z",
      least: { amount: "200", currency: "USD" },
    });
  });
  it("says what is wrong at its field", () => {
    const faults = couponOf({ ...newCoupon, most_uses: "many", least: "x" });
    expect(Object.keys(faults).sort()).toEqual(["code", "least", "most_uses", "off"]);
  });
  it("has a state at a moment", () => {
    const bare = { disabled: false, starts_at: null, ends_at: null, most_uses: null, used: 0 };
    const now = "2026-11-29T12:00:00Z";
    expect(couponState(bare, now)).toBe("Valid");
    expect(couponState({ ...bare, ends_at: "2026-11-29T12:00:00.000000Z" }, now)).toBe("Over");
    expect(couponState({ ...bare, starts_at: "2026-11-29T12:00:01.000000Z" }, now)).toBe("Not yet");
    expect(couponState({ ...bare, most_uses: 2, used: 2 }, now)).toBe("Used up");
    expect(couponState({ ...bare, disabled: true }, now)).toBe("Disabled");
  });
  it("says in short what it asks for", () => {
    const coupon: Coupon = {
      code: "SPRING",
      off: { kind: "percent", percent: "10" },
      programs: ["two-step"],
      starts_at: null,
      ends_at: null,
      most_uses: null,
      most_per_person: 1,
      only_person: null,
      stackable: false,
      least: { amount: "200.00", currency: "USD" },
      disabled: false,
      used: 0,
      created_at: "2026-11-29T12:00:00.000000Z",
    };
    expect(couponLimits(coupon)).toBe("for two-step, from 200.00\u00a0USD, 1 per person, alone");
  });
});

describe("a refusal", () => {
  const refusal = (errors: unknown[]) => problem(422, { code: "validation_failed", title: "Faults", errors });
  it("goes to the fields of the form", () => {
    const told = refusal([
      { pointer: "/programs/0", detail: "There is no program x on sale." },
      { pointer: "/ends_at", detail: "Must be after its start." },
    ]);
    expect(faultsOf(told, ["programs", "endDay"], { ends_at: "endDay" })).toEqual({
      programs: "There is no program x on sale.",
      endDay: "Must be after its start.",
    });
  });
  it("is told all the same if it is about none of them", () => {
    expect(faultsOf(refusal([]), ["code"])).toEqual({ all: "Faults" });
    expect(faultsOf(refusal([{ pointer: "/odd", detail: "Odd." }]), ["code"])).toEqual({ all: "Odd." });
  });
});
