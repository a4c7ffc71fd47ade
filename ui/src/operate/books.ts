import type { BothSides, FinanceRow, TrialBalance } from "../api/types";
import { add, compare, type Decimal, dec, isDecimal, sign, subtract } from "../lib/decimal";
import { group } from "../lib/format";

/** As of when the books are read: what had happened by then, as it was known by then. */
export const instants = ["effective", "recorded"] as const;

/** The currencies in which the two sides differ, whatever the server says of them. */
export function unequal(books: Pick<TrialBalance, "sums">): BothSides[] {
  return books.sums.filter(({ debits, credits }) => compare(dec(debits), dec(credits)) !== 0);
}

/** Whether debits equal credits: the server says so, and its sums do. */
export function balanced(books: Pick<TrialBalance, "balanced" | "sums">): boolean {
  return books.balanced && unequal(books).length === 0;
}

/** By how much debits are more than credits. */
export function offBy({ debits, credits }: BothSides): Decimal {
  return subtract(dec(debits), dec(credits));
}

/** The side of a line on which its amount stands; the other one is empty. */
export function sides(amount: string): { debit: string | null; credit: string | null } {
  const value = dec(amount);
  return sign(value) < 0
    ? { debit: null, credit: group(dec(value.slice(1))) }
    : { debit: group(value), credit: null };
}

/** The address of an account's lines. */
export function linesPath(account: string, currency: string): string {
  return `/operate/finance/accounts/${encodeURIComponent(account)}?currency=${encodeURIComponent(currency)}`;
}

/** The reports with what each counts and the amounts that it has, in the order of reading. */
export const reports = {
  revenue: {
    name: "Revenue",
    counts: "Sales",
    about: "Sales of these days. Net is list prices less discounts and refunds, without tax.",
    columns: [
      ["gross", "List prices"],
      ["discounts", "Discounts"],
      ["tax", "Tax"],
      ["refunds", "Refunds"],
      ["net", "Net"],
    ],
  },
  refunds: {
    name: "Refunds",
    counts: "Refunds",
    about: "Money given back in these days. What was paid twice is told apart.",
    columns: [
      ["refunds", "Without tax"],
      ["tax", "Tax"],
      ["overpaid", "Paid twice"],
      ["total", "Total"],
    ],
  },
  disputes: {
    name: "Disputes",
    counts: "Disputes",
    about: "Disputes of these days. Open is what was opened less what was won and lost.",
    columns: [
      ["opened", "Opened"],
      ["won", "Won"],
      ["lost", "Lost"],
      ["open", "Open"],
      ["fees", "Fees"],
    ],
  },
  liability: {
    name: "Liability",
    counts: null,
    about:
      "What is owed to traders and affiliates at the end of the day. Sent is what is not known to have arrived.",
    columns: [
      ["payable", "Payable"],
      ["held", "Held"],
      ["clearing", "Sent"],
      ["total", "Total"],
    ],
  },
} as const satisfies Record<
  string,
  { name: string; counts: string | null; about: string; columns: readonly (readonly [string, string])[] }
>;

export type ReportName = keyof typeof reports;
export const reportNames = Object.keys(reports) as ReportName[];

/** By what a report tells its sums apart. */
export const apartBy = ["day", "program", "provider"] as const;
export type ApartBy = (typeof apartBy)[number];

/** What an address asks to be told apart by: everything if it says nothing, nothing if it says "none". */
export function byOf(text: string | undefined): ApartBy[] {
  if (text === undefined) return [...apartBy];
  const words = text.split(",");
  return apartBy.filter((word) => words.includes(word));
}

/** How the server is told. */
export function byText(by: readonly ApartBy[]): string {
  return apartBy.filter((word) => by.includes(word)).join(",");
}

export interface Total {
  currency: string;
  count: number;
  amounts: Record<string, Decimal>;
}

/** The rows of each currency summed, exactly. */
export function totals(
  rows: readonly FinanceRow[],
  columns: readonly (readonly [string, string])[],
): Total[] {
  const found = new Map<string, Total>();
  for (const row of rows) {
    const total = found.get(row.currency) ?? { currency: row.currency, count: 0, amounts: {} };
    total.count += row.count;
    for (const [name] of columns) {
      const amount = row.amounts[name];
      if (amount === undefined) continue;
      const held = total.amounts[name];
      total.amounts[name] = held ? add(held, dec(amount)) : dec(amount);
    }
    found.set(row.currency, total);
  }
  return [...found.values()];
}

/** Whether the rows of a report add up to something: what is owed at the end of each day does not. */
export function addsUp(report: ReportName, by: readonly ApartBy[]): boolean {
  return report !== "liability" || !by.includes("day");
}

/** An amount or a count of two books that are compared; a dash where there is none. */
export function sideText(value: string | null): string {
  if (value === null) return "–";
  return isDecimal(value) ? group(dec(value)) : value;
}

/** By how much the other side has more; null where either has no number. */
export function apart(ours: string | null, theirs: string | null): Decimal | null {
  if (ours === null || theirs === null || !isDecimal(ours) || !isDecimal(theirs)) return null;
  return subtract(dec(theirs), dec(ours));
}
