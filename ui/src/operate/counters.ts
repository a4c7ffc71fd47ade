import type { Business, Happened, What } from "../api/types";
import { add, type Decimal, dec } from "../lib/decimal";

/** What a firm counts, in the order in which it happens to a customer. */
export const kinds = [
  ["purchases", "Purchases begun"],
  ["paid", "Purchases paid"],
  ["opened", "Accounts opened"],
  ["passes", "Phases passed"],
  ["breaches", "Accounts breached"],
  ["expiries", "Accounts expired"],
  ["payouts", "Payouts"],
] as const satisfies readonly (readonly [What, string])[];

/** How often something happened, and of which amount in each currency. */
export interface Sum {
  count: number;
  amounts: ReadonlyMap<string, Decimal>;
}

export const nothing: Sum = { count: 0, amounts: new Map() };

function plus(sum: Sum, happened: Happened): Sum {
  const amounts = new Map(sum.amounts);
  if (happened.amount !== null) {
    const before = amounts.get(happened.currency);
    const amount = dec(happened.amount);
    amounts.set(happened.currency, before === undefined ? amount : add(before, amount));
  }
  return { count: sum.count + happened.count, amounts };
}

export type Sums = ReadonlyMap<What, Sum>;

/** Everything of a kind together. */
export function sumsOf(happened: readonly Happened[]): Sums {
  const sums = new Map<What, Sum>();
  for (const one of happened) sums.set(one.what, plus(sums.get(one.what) ?? nothing, one));
  return sums;
}

/** The sums of each day on which something happened, the newest first. */
export function daysOf(happened: readonly Happened[]): { day: string; sums: Sums }[] {
  const byDay = new Map<string, Happened[]>();
  for (const one of happened) byDay.set(one.day, [...(byDay.get(one.day) ?? []), one]);
  return [...byDay]
    .sort(([left], [right]) => (left < right ? 1 : -1))
    .map(([day, those]) => ({ day, sums: sumsOf(those) }));
}

type Status = Business["accounts"][number]["status"];

/** The accounts of one program's phase. */
export interface PhaseCount {
  program: string;
  phase: number;
  counts: Partial<Record<Status, number>>;
  all: number;
}

/** The accounts there are, by program and phase. */
export function phasesOf(accounts: Business["accounts"]): PhaseCount[] {
  const phases = new Map<string, PhaseCount>();
  for (const { program, phase, status, count } of accounts) {
    const key = `${program}/${phase}`;
    const found = phases.get(key) ?? { program, phase, counts: {}, all: 0 };
    found.counts[status] = (found.counts[status] ?? 0) + count;
    found.all += count;
    phases.set(key, found);
  }
  return [...phases.values()].sort(
    (left, right) => left.program.localeCompare(right.program) || left.phase - right.phase,
  );
}

/** The programs that the counters name, in the order of the alphabet. */
export function programsOf(business: Business): string[] {
  const named = [...business.accounts, ...business.days].map(({ program }) => program);
  return [...new Set(named)].sort();
}

/** The day (UTC) that is so many days before the one of a moment. */
export function dayBefore(now: number, days: number): string {
  return new Date(now - days * 86_400_000).toISOString().slice(0, 10);
}
