import { describe, expect, it } from "vitest";
import type { Account, Curve } from "../api/types";
import { dec } from "../lib/decimal";
import { acrossOf, heightOn, momentsOf, nearestTo, scaleOf, some } from "./curve";

const point = (at: string, balance: string, equity: string | null, drawdown: string | null = null) => ({
  at,
  balance,
  equity,
  drawdown,
  drawdown_percent: drawdown === null ? null : "0.1500",
});
const curve: Curve = {
  currency: "USD",
  as_of: "2026-01-07T09:00:00Z",
  points: [
    point("2026-01-05T00:00:00Z", "100000.00", "100000.00", "0.00"),
    point("2026-01-06T00:00:00Z", "100200.00", "99850.00", "150.00"),
    point("2026-01-07T09:00:00Z", "100300.00", null),
  ],
};
const account = {
  status: "active",
  balance: "100300.00",
  equity: "100412.07",
  as_of: "2026-01-07T09:00:02Z",
} as Account;

describe("the moments of a curve", () => {
  it("end with the account itself while it trades", () => {
    const last = momentsOf(curve, account)[2];
    expect(last).toMatchObject({ at: account.as_of, equity: "100412.07", drawdown: null, live: true });
  });
  it("end without equity where the account is not known, and with it once the account is over", () => {
    expect(momentsOf(curve, undefined)[2]).toMatchObject({ equity: null, live: false });
    const over = { ...curve, points: [point("2026-01-05T00:00:00Z", "95000.00", "95000.00")] };
    expect(momentsOf(over, { ...account, status: "breached" })[0]).toMatchObject({
      equity: "95000.00",
      live: false,
    });
  });
  it("lie in time, and the nearest one is found", () => {
    const moments = momentsOf(curve, undefined);
    expect(acrossOf(moments, "2026-01-06T00:00:00Z")).toBeCloseTo(24 / 57);
    expect(nearestTo(moments, 0.1)).toBe(0);
    expect(nearestTo(moments, 0.4)).toBe(1);
    expect(nearestTo(moments, 1)).toBe(2);
    expect(acrossOf(moments.slice(0, 1), "2026-01-05T00:00:00Z")).toBe(0);
  });
});

describe("a scale", () => {
  it("holds every value and has round lines", () => {
    const scale = scaleOf([dec("99850.00"), null, dec("100412.07")], 4);
    expect(scale).toEqual({
      low: "99850.00",
      high: "100412.07",
      lines: ["100000.00", "100200.00", "100400.00"],
    });
    expect(scale && heightOn(scale, dec("100412.07"))).toBe(1);
    expect(scale && heightOn(scale, dec("99850.00"))).toBe(0);
  });
  it("has its only value in the middle", () => {
    const scale = scaleOf([dec("5.00")], 4);
    expect(scale?.lines).toEqual(["5.00"]);
    expect(scale && heightOn(scale, dec("5.00"))).toBe(0.5);
    expect(scaleOf([null], 4)).toBeNull();
  });
});

it("some of many are spread evenly, with both ends", () => {
  expect(some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4)).toEqual([0, 3, 6, 9]);
  expect(some([0, 1], 4)).toEqual([0, 1]);
  expect(some([0, 1, 2], 1)).toEqual([0]);
});
