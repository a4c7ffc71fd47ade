import { describe, expect, test } from "vitest";
import { applyTicks, backoff, connecting, type Link, nextLink, type QuoteBook } from "./live-state";

describe("the state of a stream", () => {
  const linkAfter = (...events: Parameters<typeof nextLink>[1][]) =>
    events.reduce<Link>(nextLink, connecting);
  test("is live once opened and counts failed attempts", () => {
    expect(linkAfter("opened")).toEqual({ status: "live", attempt: 0 });
    expect(linkAfter("opened", "lost", "lost")).toEqual({ status: "reconnecting", attempt: 2 });
    expect(linkAfter("lost", "opened")).toEqual({ status: "live", attempt: 0 });
  });
  test("rests while the tab is hidden", () => {
    expect(linkAfter("opened", "paused", "lost").status).toBe("paused");
    expect(linkAfter("opened", "paused", "resumed")).toEqual(connecting);
    expect(linkAfter("opened", "resumed").status).toBe("live");
  });
  test("waits longer after each failure, up to a bound", () => {
    expect([0, 1, 2, 9].map((attempt) => backoff(attempt, 1))).toEqual([500, 1000, 2000, 15_000]);
    expect(backoff(9, 0)).toBe(7500);
  });
});

describe("the quote book", () => {
  const tick = (bid: string, second: number, stale = false) => ({
    symbol: "EURUSD",
    bid,
    ask: "1.40000",
    at: `2014-05-02T12:30:0${second}.000000Z`,
    stale,
  });
  const empty: QuoteBook = new Map();

  test("remembers where the bid went", () => {
    const first = applyTicks(empty, [tick("1.38600", 1)]);
    expect(first.get("EURUSD")?.direction).toBe(0);
    const up = applyTicks(first, [tick("1.38610", 2)]);
    expect(up.get("EURUSD")?.direction).toBe(1);
    // Only the ask moved: the last direction stays.
    expect(applyTicks(up, [tick("1.38610", 3)]).get("EURUSD")?.direction).toBe(1);
    expect(applyTicks(up, [tick("1.38600", 3)]).get("EURUSD")?.direction).toBe(-1);
  });
  test("ignores an older tick and is then the same book", () => {
    const book = applyTicks(empty, [tick("1.38600", 5)]);
    expect(applyTicks(book, [tick("1.30000", 4)])).toBe(book);
    expect(applyTicks(book, [tick("1.38600", 5)])).toBe(book);
  });
  test("marks a price as stale without a new tick, and a newer tick revives it", () => {
    const book = applyTicks(empty, [tick("1.38600", 5)]);
    const stale = applyTicks(book, [tick("1.38600", 5, true)]);
    expect(stale.get("EURUSD")?.stale).toBe(true);
    expect(applyTicks(stale, [tick("1.38601", 6)]).get("EURUSD")?.stale).toBe(false);
  });
});
