import type { Account, Condition, Effect, Floor, FloorAfter, Forecast } from "../api/types";
import { compare, dec, isDecimal, sign } from "../lib/decimal";
import { group, money, moneyIn } from "../lib/format";
import { utcSeconds, withReadableTimes } from "../lib/time";

/** What a floor does, in two or three words for a tag. */
export const effectWords: Record<Effect, string> = {
  warn: "warns",
  flag: "recorded",
  deduct: "recorded, deducted",
  refuse: "refuses the order",
  close: "closes everything",
  pause: "no new positions",
  soft: "locks the day",
  expire: "ends the account",
  hard: "ends the account",
};

/** Whether the account survives it. */
export function isSoft(effect: Effect): boolean {
  return effect !== "hard" && effect !== "expire";
}

const INSTANT = /^\d{4}-\d{2}-\d{2}T/;

/** A number of a rule for the eye: amounts grouped, instants in UTC, everything else as the server wrote it. */
export function figureText(value: string): string {
  if (INSTANT.test(value)) return `${utcSeconds(value)} UTC`;
  return isDecimal(value) ? group(dec(value)) : value;
}

/** What happens to what is held at the next reset, as a headline. */
export function outcomeTitle(forecast: Forecast): string {
  if (forecast.next_reset.fires) return "What you hold would breach at the next reset";
  return forecast.positions.length === 0
    ? "Nothing is open, nothing fires at the next reset"
    : "What you hold stays above every floor at the next reset";
}

/** The numbers behind the headline: the floor that is nearest after the reset, and what is left above it. */
export function outcomeSentence(forecast: Forecast): string {
  const { next_reset: outcome, currency } = forecast;
  if (outcome.fires) return withReadableTimes(outcome.sentence);
  const nearest = nearestAfter(outcome.floors);
  const told = withReadableTimes(outcome.sentence);
  if (!nearest) return told;
  const room = moneyIn(nearest.room, currency);
  return `${told} The nearest floor is then that of ${nearest.label.toLowerCase()} at ${money(nearest.floor)}, ${room} away.`;
}

export function nearestAfter(floors: readonly FloorAfter[]): FloorAfter | null {
  let nearest: FloorAfter | null = null;
  for (const floor of floors) {
    if (nearest === null || compare(dec(floor.room), dec(nearest.room)) < 0) nearest = floor;
  }
  return nearest;
}

/** How a floor moves with the next reset. Floors of one kind are told apart by their order. */
export interface MovingFloor extends FloorAfter {
  now: string | null;
  moves: "up" | "down" | "stays" | "unknown";
  crossed: boolean;
}

export function movingFloors(now: readonly Floor[], after: readonly FloorAfter[]): MovingFloor[] {
  const seen = new Map<string, number>();
  return after.map((floor) => {
    const place = seen.get(floor.rule) ?? 0;
    seen.set(floor.rule, place + 1);
    const held = now.filter((found) => found.rule === floor.rule)[place];
    const step = held ? compare(dec(floor.floor), dec(held.floor)) : null;
    const moves = step === null ? "unknown" : step > 0 ? "up" : step < 0 ? "down" : "stays";
    return { ...floor, now: held?.floor ?? null, moves, crossed: sign(dec(floor.room)) < 0 };
  });
}

const conditionWords: Record<string, string> = {
  active: "The account trades",
  flat: "No position is open",
  no_orders: "No order is working",
  amount: "Amount that can be taken out",
  most_payouts: "Payouts so far",
  cycle: "Payout cycle",
  stays_open: "What is left lies above every floor that ends the account",
  any_of: "One of the either-or lists holds",
  asked_at_most: "Not more than can be taken out",
  asked_at_least: "Not less than the least amount",
};

/** A condition of a payout as a trader would say it. */
export function conditionText(condition: Pick<Condition, "name" | "label">): string {
  return conditionWords[condition.name] ?? condition.label;
}

const targetWords: Record<string, string> = {
  most_payouts: "at most",
  amount: "at least",
  min_profit: "at least",
  min_cycle_profit: "at least",
  min_profitable_days: "at least",
  min_trading_days: "at least",
};

/** What a condition asks for: "at least 100.00", "asked: yes". */
export function targetText({ name, target }: Pick<Condition, "name" | "target">): string {
  return `${targetWords[name] ?? "asked:"} ${figureText(target)}`;
}

/** Why nothing may be bought or sold, for the ticket; null while trading is open. */
export function whyBlocked(
  { status, held }: Pick<Account, "status" | "held">,
  lockedUntil: string | null,
): string | null {
  switch (status) {
    case "breached":
      return "This account is breached and no longer trades.";
    case "passed":
      return "This phase is passed; the account no longer trades.";
    case "expired":
      return "This account has expired and no longer trades.";
    case "active":
      if (held) return "This account is on hold: a payment for it is disputed. Positions can be closed.";
      return lockedUntil === null
        ? null
        : `Locked until ${utcSeconds(lockedUntil)} UTC: a rule of the program allows no new position before then.`;
  }
}
