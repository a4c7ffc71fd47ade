import { compare, dec } from "../lib/decimal";
import type { Tick } from "./types";

/** What a screen may say about a stream. `refused` means that the server answered with an error and asking again is slow. */
export type Link =
  | { status: "connecting"; attempt: number }
  | { status: "live"; attempt: 0 }
  | { status: "reconnecting"; attempt: number }
  | { status: "paused"; attempt: 0 };

export type LinkEvent = "opened" | "lost" | "paused" | "resumed";

export const connecting: Link = { status: "connecting", attempt: 0 };

export function nextLink(link: Link, event: LinkEvent): Link {
  switch (event) {
    case "opened":
      return { status: "live", attempt: 0 };
    case "lost":
      // A first connection that fails is still a reconnection from then on: the person should see that it is being tried again.
      return link.status === "paused" ? link : { status: "reconnecting", attempt: link.attempt + 1 };
    case "paused":
      return { status: "paused", attempt: 0 };
    case "resumed":
      return link.status === "paused" ? connecting : link;
  }
}

/** Milliseconds before the next attempt: 0.5 s doubling to 15 s, spread by `random` (0..1) so that browsers do not return as one. */
export function backoff(attempt: number, random: number): number {
  const ceiling = Math.min(15_000, 500 * 2 ** Math.min(attempt, 5));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

export interface LiveQuote extends Tick {
  /** Where the bid went with the last change: up, down, or not known yet. */
  direction: -1 | 0 | 1;
}

export type QuoteBook = ReadonlyMap<string, LiveQuote>;

/** The book with the ticks applied. Older ticks than the one held are ignored; an unchanged book is returned as it is. */
export function applyTicks(book: QuoteBook, ticks: readonly Tick[]): QuoteBook {
  let next: Map<string, LiveQuote> | null = null;
  for (const tick of ticks) {
    const held = (next ?? book).get(tick.symbol);
    if (held && (tick.at < held.at || (tick.at === held.at && held.stale === tick.stale))) continue;
    const moved = held ? compare(dec(tick.bid), dec(held.bid)) : 0;
    next ??= new Map(book);
    next.set(tick.symbol, {
      symbol: tick.symbol,
      bid: tick.bid,
      ask: tick.ask,
      at: tick.at,
      direction: moved === 0 ? (held?.direction ?? 0) : moved,
      stale: tick.stale,
    });
  }
  return next ?? book;
}
