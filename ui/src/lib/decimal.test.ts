import { describe, expect, test } from "vitest";
import {
  add,
  compare,
  dec,
  decimals,
  isDecimal,
  isMultiple,
  moveBySteps,
  percentOf,
  ratio,
  readDecimal,
  rounded,
  roundValues,
  sign,
  smallestStep,
  spreadPoints,
  subtract,
  withScale,
} from "./decimal";

describe("reading", () => {
  test.each(["0", "-12.50", "100000.00", "1.38589", "90071992547409930.01"])(
    "takes %s from the API",
    (text) => {
      expect(dec(text)).toBe(text);
    },
  );
  test.each(["", "1.", ".5", "1e5", "NaN", "1,5", " 1", "+1", "0x10"])("refuses %j from the API", (text) => {
    expect(() => dec(text)).toThrow(RangeError);
  });
  test.each([
    ["1.", "1"],
    [".5", "0.5"],
    ["0,10", "0.10"],
    [" 007.5 ", "7.5"],
    ["-.5", "-0.5"],
  ])("a person may type %j", (typed, read) => {
    expect(readDecimal(typed)).toBe(read);
  });
  test("tells numbers from the words, shares and dates of a condition", () => {
    expect(["25020.00", "-1"].map(isDecimal)).toEqual([true, true]);
    expect(["yes", "40%", "2026-11-23", ""].map(isDecimal)).toEqual([false, false, false, false]);
  });
  test("counts the digits after the point", () => {
    expect(["61.00", "5", "1.38650"].map(decimals)).toEqual([2, 0, 5]);
  });
  test.each(["", "abc", "1e3", "1.2.3", "--1", "1,000.00"])("%j is no number", (typed) => {
    expect(readDecimal(typed)).toBeNull();
  });
});

describe("arithmetic", () => {
  test("is exact beyond what a floating-point number holds", () => {
    expect(add(dec("0.1"), dec("0.2"))).toBe("0.3");
    expect(add(dec("9007199254740993.01"), dec("0.01"))).toBe("9007199254740993.02");
    expect(subtract(dec("0.00"), dec("12.50"))).toBe("-12.50");
    expect(subtract(dec("0.05"), dec("0.10"))).toBe("-0.05");
  });
  test("compares values and not texts", () => {
    expect(compare(dec("1.0"), dec("1.00"))).toBe(0);
    expect(compare(dec("9.99"), dec("10"))).toBe(-1);
    expect(compare(dec("-2"), dec("-10"))).toBe(1);
    expect(sign(dec("-0.00"))).toBe(0);
    expect(sign(dec("-0.01"))).toBe(-1);
  });
  test("changes the number of decimals only when no digit is lost", () => {
    expect(withScale(dec("0.5"), 2)).toBe("0.50");
    expect(withScale(dec("1.500"), 1)).toBe("1.5");
    expect(withScale(dec("1.386051"), 5)).toBeNull();
    expect(withScale(dec("-0.07"), 3)).toBe("-0.070");
  });
});

describe("steps of an instrument", () => {
  const move = (value: string, count: number) =>
    moveBySteps(dec(value), dec("0.01"), count, dec("0.01"), dec("50.00"));
  test("go up and down and stop at the bounds", () => {
    expect(move("0.10", 1)).toBe("0.11");
    expect(move("0.10", -10)).toBe("0.01");
    expect(move("49.99", 10)).toBe("50.00");
  });
  test("put a value between two steps on the grid", () => {
    expect(move("0.105", 1)).toBe("0.110");
    expect(move("0.105", -1)).toBe("0.100");
  });
  test("know what lies on the grid", () => {
    expect(isMultiple(dec("0.3"), dec("0.1"))).toBe(true);
    expect(isMultiple(dec("0.105"), dec("0.01"))).toBe(false);
    expect(smallestStep(5)).toBe("0.00001");
    expect(smallestStep(0)).toBe("1");
  });
});

describe("what a gauge and a quote show", () => {
  test("the part of a whole is cut to 0..10000", () => {
    expect(ratio(dec("2500.00"), dec("5000.00"))).toBe(5000);
    expect(ratio(dec("-1.00"), dec("5000.00"))).toBe(0);
    expect(ratio(dec("6000.00"), dec("5000.00"))).toBe(10_000);
    expect(ratio(dec("1.00"), dec("0.00"))).toBe(0);
  });
  test("the spread counts smallest price steps", () => {
    expect(spreadPoints(dec("1.38598"), dec("1.38606"))).toBe("8");
    expect(spreadPoints(dec("1284.60"), dec("1284.95"))).toBe("35");
  });
});

describe("figures and scales", () => {
  test("halves are rounded away from zero", () => {
    expect(rounded(dec("1.005"), 2)).toBe("1.01");
    expect(rounded(dec("-1.005"), 2)).toBe("-1.01");
    expect(rounded(dec("-0.004"), 2)).toBe("0.00");
    expect(rounded(dec("1.5"), 2)).toBe("1.50");
    expect(rounded(dec("90071992547409930.019"), 2)).toBe("90071992547409930.02");
  });
  test("a share is a hundred times as many per cent", () => {
    expect(percentOf(dec("-0.012345"))).toBe("-1.234500");
  });
  test("lines lie at round numbers between both ends", () => {
    expect(roundValues(dec("99250.00"), dec("100875.50"), 4)).toEqual(["99500.00", "100000.00", "100500.00"]);
    expect(roundValues(dec("-250.00"), dec("150.00"), 5)).toEqual(["-200.00", "-100.00", "0.00", "100.00"]);
    expect(roundValues(dec("0.00"), dec("0.02"), 9)).toEqual(["0.00", "0.01", "0.02"]);
    expect(roundValues(dec("5.00"), dec("5.00"), 4)).toEqual([]);
  });
});
