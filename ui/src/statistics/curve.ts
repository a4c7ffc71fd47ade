import type { Account, Curve } from "../api/types";
import { compare, type Decimal, dec, ratio, roundValues, subtract } from "../lib/decimal";

/** A moment on the curves. */
export interface Moment {
  at: string;
  balance: Decimal;
  equity: Decimal | null;
  drawdown: Decimal | null;
  drawdownPercent: Decimal | null;
  /** The account as it is now, and not as a reset found it. */
  live: boolean;
}

const decimalOf = (text: string | null) => (text === null ? null : dec(text));

/** The points of the curve. Its end is the account itself while it trades, for only that knows its open results. */
export function momentsOf(curve: Curve, account: Account | undefined): Moment[] {
  const last = curve.points.length - 1;
  return curve.points.map((point, index) => {
    const live = index === last && point.equity === null && account?.status === "active";
    return {
      at: live ? account.as_of : point.at,
      balance: dec(live ? account.balance : point.balance),
      equity: live ? dec(account.equity) : decimalOf(point.equity),
      drawdown: decimalOf(point.drawdown),
      drawdownPercent: decimalOf(point.drawdown_percent),
      live,
    };
  });
}

/** The range of a curve's values and the round ones in it. */
export interface Scale {
  low: Decimal;
  high: Decimal;
  lines: Decimal[];
}

/** A scale that holds all values, one of which may be missing. */
export function scaleOf(values: readonly (Decimal | null)[], most: number): Scale | null {
  const known = values.filter((value) => value !== null);
  const [first] = known;
  if (first === undefined) return null;
  const low = known.reduce((low, value) => (compare(value, low) < 0 ? value : low), first);
  const high = known.reduce((high, value) => (compare(value, high) > 0 ? value : high), first);
  return { low, high, lines: compare(low, high) === 0 ? [low] : roundValues(low, high, most) };
}

/** How high a value lies on its scale, from 0 to 1; in the middle where all values are the same. */
export function heightOn({ low, high }: Scale, value: Decimal): number {
  if (compare(low, high) === 0) return 0.5;
  return ratio(subtract(value, low), subtract(high, low)) / 10_000;
}

/** Where a moment lies between the first and the last, from 0 to 1. */
export function acrossOf(moments: readonly Pick<Moment, "at">[], at: string): number {
  const from = Date.parse(moments[0]?.at ?? at);
  const to = Date.parse(moments[moments.length - 1]?.at ?? at);
  return to > from ? Math.min(1, Math.max(0, (Date.parse(at) - from) / (to - from))) : 0;
}

/** The moment nearest to a place between the first and the last. */
export function nearestTo(moments: readonly Pick<Moment, "at">[], across: number): number {
  let nearest = 0;
  let best = Number.POSITIVE_INFINITY;
  moments.forEach(({ at }, index) => {
    const off = Math.abs(acrossOf(moments, at) - across);
    if (off < best) [nearest, best] = [index, off];
  });
  return nearest;
}

/** At most so many of the moments, spread evenly, the first and the last among them. */
export function some<T>(of: readonly T[], most: number): T[] {
  const count = Math.min(of.length, Math.max(1, most));
  if (count < 2) return of.slice(0, count);
  const step = (of.length - 1) / (count - 1);
  return Array.from({ length: count }, (_, index) => of[Math.round(index * step)] as T);
}
