import { expect, test } from "vitest";
import { dec } from "./decimal";
import { figure, group, money, moneyIn, priceParts, share, short, signed, tone, wordFor } from "./format";
import { countdown, utcExact, utcSeconds } from "./time";

test.each([
  ["0.00", "0.00"],
  ["999.99", "999.99"],
  ["1000.00", "1,000.00"],
  ["-1234567.89", "\u22121,234,567.89"],
  ["1000", "1,000"],
])("groups %s", (amount, shown) => {
  expect(group(dec(amount))).toBe(shown);
});

test("keeps every digit of a price-like amount", () => {
  expect(money("12345.678901")).toBe("12,345.678901");
});

test("a result has its sign, so that colour is not needed to read it", () => {
  expect([signed("12.50"), signed("-12.50"), signed("0.00")]).toEqual(["+12.50", "\u221212.50", "0.00"]);
  expect([tone("0.01"), tone("-0.01"), tone("0.00")]).toEqual(["gain", "loss", "flat"]);
});

test("sizes drop empty cents and nothing else", () => {
  expect([short("100000.00"), short("5.50"), short("100"), short("0.05")]).toEqual([
    "100,000",
    "5.5",
    "100",
    "0.05",
  ]);
  expect(moneyIn("89.00", "USD")).toBe("89.00\u00a0USD");
});

test.each([
  ["1.38598", 5, ["1.38", "59", "8"]],
  ["102.298", 3, ["102.", "29", "8"]],
  ["1284.29", 2, ["1284.", "29", ""]],
  ["1.3859", 4, ["1.38", "59", ""]],
  ["39412", 0, ["394", "12", ""]],
] as const)("splits the price %s", (price, decimals, [head, pips, tail]) => {
  expect(priceParts(price, decimals)).toEqual({ head, pips, tail });
});

test("codes become words, unknown ones too", () => {
  expect(wordFor("max_loss")).toBe("Maximum loss");
  expect(wordFor("brand_new_rule")).toBe("Brand new rule");
});

test("evidence keeps its microseconds", () => {
  expect(utcExact("2014-05-02T12:30:00.123456Z")).toBe("2014-05-02 12:30:00.123456 UTC");
  expect(utcExact("2014-05-02T12:30:00.123456+00:00")).toBe("2014-05-02 12:30:00.123456 UTC");
  expect(utcSeconds("2014-05-02T12:30:00.123456Z")).toBe("2014-05-02 12:30:00");
});

test("counts down and stops at zero", () => {
  expect(countdown(3_661_000, 0)).toBe("01:01:01");
  expect(countdown(90_000_000, 0)).toBe("1d 01:00:00");
  expect(countdown(0, 5_000)).toBe("00:00:00");
});

test("figures that are no amounts have two decimals, or a dash", () => {
  expect(figure("1.428571")).toBe("1.43");
  expect(figure("1234.5")).toBe("1,234.50");
  expect(figure("33.3333", " %")).toBe("33.33 %");
  expect(figure(null, " %")).toBe("–");
  expect(share("-0.012345")).toBe("\u22121.23\u00a0%");
  expect(share(null)).toBe("–");
});
