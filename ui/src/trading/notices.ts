import type { AccountSnapshot, Order, Position } from "../api/types";
import { compare, dec, sign, subtract } from "../lib/decimal";
import { signed, wordFor } from "../lib/format";

export interface Notice {
  /** A fill, a fill that lost, or news of an order. */
  kind: "fill" | "loss" | "order";
  text: string;
}

/** What of a snapshot is looked at. */
export type Holdings = Pick<AccountSnapshot, "balance" | "currency" | "positions" | "orders">;

const name = (side: Position["side"]) => (side === "buy" ? "Bought" : "Sold");

/** What happened between two snapshots, in sentences for the eye and for a screen reader. */
export function notices(previous: Holdings, next: Holdings): Notice[] {
  const found: Notice[] = [];
  const before = new Map(previous.positions.map((position) => [position.ticket, position]));
  const after = new Map(next.positions.map((position) => [position.ticket, position]));
  for (const position of next.positions) {
    const held = before.get(position.ticket);
    if (!held) {
      const text = `${name(position.side)} ${position.quantity} ${position.symbol} at ${position.open_price}`;
      found.push({ kind: "fill", text });
    } else if (compare(dec(position.quantity), dec(held.quantity)) < 0) {
      const closed = subtract(dec(held.quantity), dec(position.quantity));
      found.push({
        kind: "fill",
        text: `Closed ${closed} of position ${position.ticket}, ${position.quantity} left`,
      });
    }
  }
  const closed = previous.positions.filter((position) => !after.has(position.ticket));
  if (closed.length > 0) {
    const which = closed
      .map((position) => `${position.ticket} (${position.quantity} ${position.symbol})`)
      .join(", ");
    const change = subtract(dec(next.balance), dec(previous.balance));
    const what = closed.length === 1 ? "Position" : "Positions";
    found.push({
      kind: sign(change) < 0 ? "loss" : "fill",
      text: `${what} ${which} closed, balance ${signed(change)} ${next.currency}`,
    });
  }
  const working = new Set(next.orders.map((order) => order.ticket));
  const known = new Set(previous.orders.map((order) => order.ticket));
  for (const order of next.orders) {
    if (!known.has(order.ticket)) found.push({ kind: "order", text: `${describe(order)} placed` });
  }
  const opened = next.positions.filter((position) => !before.has(position.ticket));
  for (const order of previous.orders) {
    // An order that became a position has been announced as a fill.
    const filled = opened.some(
      ({ symbol, side, quantity }) =>
        symbol === order.symbol && side === order.side && quantity === order.quantity,
    );
    if (!working.has(order.ticket) && !filled)
      found.push({ kind: "order", text: `${describe(order)} removed` });
  }
  return found;
}

function describe(order: Order): string {
  return `${wordFor(order.side)} ${order.kind} ${order.quantity} ${order.symbol}${order.price ? ` at ${order.price}` : ""}`;
}
