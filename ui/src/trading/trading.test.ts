import { describe, expect, test } from "vitest";
import { problem } from "../api/error";
import type { Instrument, Order, Position } from "../api/types";
import { rising, withBid } from "./candles";
import { type Holdings, notices } from "./notices";
import { emptyDraft, readDraft, readLots, refusalOf } from "./ticket";

const eurusd: Instrument = {
  symbol: "EURUSD",
  description: "Euro / US dollar",
  price_decimals: 5,
  quantity_min: "0.01",
  quantity_step: "0.01",
  quantity_max: "50.00",
  contract_size: 100_000,
  base_currency: "EUR",
  quote_currency: "USD",
};

describe("the ticket", () => {
  test("sends exact strings with the instrument's decimals and leaves empty levels out", () => {
    const draft = { ...emptyDraft, kind: "limit" as const, lots: ",5", price: "1.386", takeProfit: "1.4" };
    expect(readDraft(draft, eurusd)).toEqual({
      order: {
        symbol: "EURUSD",
        side: "buy",
        kind: "limit",
        quantity: "0.50",
        price: "1.38600",
        take_profit: "1.40000",
      },
    });
  });
  test("a market order carries no price, whatever was typed before", () => {
    expect(readDraft({ ...emptyDraft, price: "nonsense" }, eurusd)).toHaveProperty("order.quantity", "0.10");
  });
  test.each([
    ["", "Enter a size in lots."],
    ["-1", "At least 0.01 lots."],
    ["50.01", "At most 50.00 lots."],
    ["0.105", "In steps of 0.01 lots."],
  ])("%j lots are explained", (lots, error) => {
    expect(readLots(lots, eurusd)).toEqual({ error });
  });
  test("each wrong field has its own sentence", () => {
    const draft = { ...emptyDraft, kind: "stop" as const, price: "", stopLoss: "0", takeProfit: "1.123456" };
    expect(readDraft(draft, eurusd)).toEqual({
      errors: {
        price: "A price is needed.",
        stopLoss: "Enter a price above zero.",
        takeProfit: "At most 5 decimals.",
      },
    });
  });
  test("the server's refusal goes beside its field, or under the order with the request id", () => {
    const errors = [{ pointer: "/stop_loss", code: "x", detail: "Must be below the price." }];
    expect(refusalOf(problem(422, { code: "validation_failed", errors }))).toEqual({
      stopLoss: "Must be below the price.",
    });
    expect(refusalOf(problem(422, { code: "insufficient_margin", detail: "Needs 10." }))).toEqual({
      order: "Needs 10.",
    });
    expect(refusalOf(problem(503, { detail: "Away.", request_id: "r1" }))).toEqual({
      order: "Away. (request r1)",
    });
  });
});

describe("the chart's last candle", () => {
  const last = { time: 600, open: "1.10", high: "1.20", low: "1.05", close: "1.15" };
  test("grows with a bid of its interval", () => {
    expect(withBid(last, "1.25", 659, "1m")).toEqual({ ...last, high: "1.25", close: "1.25" });
    expect(withBid(last, "1.01", 601, "1m")).toEqual({ ...last, low: "1.01", close: "1.01" });
  });
  test("is followed by a new one", () => {
    expect(withBid(last, "1.16", 725, "1m")).toEqual({
      time: 720,
      open: "1.16",
      high: "1.16",
      low: "1.16",
      close: "1.16",
    });
  });
  test("is left alone by an old or an unchanged bid", () => {
    expect(withBid(last, "1.50", 599, "1m")).toBeNull();
    expect(withBid(last, "1.15", 610, "1m")).toBeNull();
  });
});

describe("what is announced", () => {
  const position = (ticket: number, quantity: string): Position => ({
    ticket,
    symbol: "EURUSD",
    side: "buy",
    quantity,
    open_price: "1.38606",
    opened_at: "2014-05-02T12:30:00.000000Z",
    current_price: "1.38600",
    stop_loss: null,
    take_profit: null,
    margin: "138.61",
    profit: "-0.60",
    commission: "0.30",
    closed_at: null,
    close_price: null,
    close_reason: null,
  });
  const order: Order = {
    ticket: 9,
    symbol: "EURUSD",
    side: "buy",
    kind: "limit",
    quantity: "0.10",
    price: "1.38000",
    stop_loss: null,
    take_profit: null,
    state: "working",
    reason: null,
    placed_at: "2014-05-02T12:30:00.000000Z",
    done_at: null,
    position: null,
  };
  const state = (balance: string, positions: Position[], orders: Order[] = []): Holdings => ({
    balance,
    currency: "USD",
    positions,
    orders,
  });
  const texts = (before: Holdings, after: Holdings) => notices(before, after).map(({ text }) => text);

  test("an opened, a partly closed and a closed position", () => {
    const none = state("100.00", []);
    const whole = state("100.00", [position(7, "0.10")]);
    const part = state("101.00", [position(7, "0.06")]);
    expect(texts(none, whole)).toEqual(["Bought 0.10 EURUSD at 1.38606"]);
    expect(texts(whole, part)).toEqual(["Closed 0.04 of position 7, 0.06 left"]);
    expect(texts(part, state("99.50", []))).toEqual([
      "Position 7 (0.06 EURUSD) closed, balance \u22121.50 USD",
    ]);
  });
  test("a placed and a removed order; a filled one is announced as a fill only", () => {
    const waiting = state("100.00", [], [order]);
    expect(texts(state("100.00", []), waiting)).toEqual(["Buy limit 0.10 EURUSD at 1.38000 placed"]);
    expect(texts(waiting, state("100.00", []))).toEqual(["Buy limit 0.10 EURUSD at 1.38000 removed"]);
    expect(texts(waiting, state("100.00", [position(10, "0.10")]))).toEqual([
      "Bought 0.10 EURUSD at 1.38606",
    ]);
  });
  test("nothing when nothing changed", () => {
    const same = state("100.00", [position(7, "0.10")]);
    expect(texts(same, same)).toEqual([]);
  });
});

describe("candles of a list", () => {
  const at = (time: number) => ({ time, open: "1", high: "1", low: "1", close: "1" });
  test("that rises is taken as it is", () => {
    const list = [at(60), at(120), at(180)];
    expect(rising(list)).toBe(list);
    expect(rising([])).toEqual([]);
  });
  test("that steps back in time keeps what comes later in it", () => {
    const list = [at(60), at(120), at(600), at(660), at(180), at(180), at(240)];
    expect(rising(list).map((candle) => candle.time)).toEqual([60, 120, 180, 240]);
  });
});
