import type { Candle, Interval } from "../api/types";
import { compare, dec } from "../lib/decimal";

export const intervalSeconds: Record<Interval, number> = { "5s": 5, "1m": 60, "5m": 300, "15m": 900 };

/**
 * The candle that a bid at `seconds` (unix time) belongs to: the last one changed, or a new one after it. Null when
 * the bid is older than the last candle or changes nothing.
 */
export function withBid(
  last: Candle | undefined,
  bid: string,
  seconds: number,
  interval: Interval,
): Candle | null {
  const length = intervalSeconds[interval];
  const start = Math.floor(seconds / length) * length;
  if (!last || start > last.time) return { time: start, open: bid, high: bid, low: bid, close: bid };
  if (start < last.time || bid === last.close) return null;
  const price = dec(bid);
  return {
    ...last,
    high: compare(price, dec(last.high)) > 0 ? bid : last.high,
    low: compare(price, dec(last.low)) < 0 ? bid : last.low,
    close: bid,
  };
}

/**
 * The candles in strictly rising order of time, as the chart must have them. Where a list steps back in time, what
 * comes later in it counts, and the candles before the step that are not earlier are left out.
 */
export function rising(candles: readonly Candle[]): readonly Candle[] {
  const kept: Candle[] = [];
  let next = Number.POSITIVE_INFINITY;
  for (const candle of [...candles].reverse()) {
    if (candle.time >= next) continue;
    next = candle.time;
    kept.push(candle);
  }
  return kept.length === candles.length ? candles : kept.reverse();
}
