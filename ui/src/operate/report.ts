import type { ProgramColumn, WhatIf } from "../api/types";
import { dec, isDecimal } from "../lib/decimal";
import { group, wordFor } from "../lib/format";

/** A line of the report: the same thing under both programs. */
export interface Line {
  label: string;
  own: string;
  other: string;
  differs: boolean;
}

export interface Part {
  title: string;
  lines: Line[];
}

const text = (value: string | number | null, unit = "") => {
  if (value === null) return "–";
  const plain = String(value);
  return `${isDecimal(plain) ? group(dec(plain)) : plain}${unit}`;
};

function line(label: string, own: string, other: string): Line {
  return { label, own, other, differs: own !== other };
}

/** The report in the order in which it is read: what came of it, phase by phase, and what fired. */
export function parts(report: WhatIf): Part[] {
  const { own, under_other: other, currency } = report;
  const summary: Part = {
    title: "In all",
    lines: [
      line("Challenges", text(own.challenges), text(other.challenges)),
      line("Challenges with every phase passed", text(own.completed), text(other.completed)),
      line("Payouts made", text(own.payouts), text(other.payouts)),
      line("Taken out by them", text(own.paid, ` ${currency}`), text(other.paid, ` ${currency}`)),
      line(
        "Accounts that could be paid at the end",
        text(own.payable_accounts),
        text(other.payable_accounts),
      ),
      line(
        "What their traders would get",
        text(own.payable, ` ${currency}`),
        text(other.payable, ` ${currency}`),
      ),
    ],
  };
  const phases = Math.max(own.phases.length, other.phases.length);
  return [
    summary,
    ...Array.from({ length: phases }, (_, phase) => phasePart(own, other, phase)),
    fired(own, other),
  ];
}

function phasePart(own: ProgramColumn, other: ProgramColumn, phase: number): Part {
  const mine = own.phases[phase];
  const theirs = other.phases[phase];
  const lines = (["accounts", "active", "passed", "breached", "expired"] as const).map((name) =>
    line(phaseWords[name], text(mine?.[name] ?? 0), text(theirs?.[name] ?? 0)),
  );
  lines.push(
    line("Pass rate of those that ended", rate(mine?.pass_rate), rate(theirs?.pass_rate)),
    ...counted(
      (mine?.ended_by ?? []).map((end) => [
        `Ended by ${wordFor(end.rule).toLowerCase()}, ${end.status}`,
        end.accounts,
      ]),
      (theirs?.ended_by ?? []).map((end) => [
        `Ended by ${wordFor(end.rule).toLowerCase()}, ${end.status}`,
        end.accounts,
      ]),
    ),
  );
  return { title: `Phase ${phase + 1}`, lines };
}

const phaseWords = {
  accounts: "Accounts that reached it",
  active: "Still trading",
  passed: "Passed",
  breached: "Breached",
  expired: "Expired",
} as const;

const rate = (value: string | null | undefined) => text(value ?? null, value ? " %" : "");

function fired(own: ProgramColumn, other: ProgramColumn): Part {
  const named = (column: ProgramColumn) =>
    column.verdicts.map((verdict): [string, number] => [
      `${wordFor(verdict.kind)}: ${wordFor(verdict.rule).toLowerCase()}`,
      verdict.count,
    ]);
  return { title: "Verdicts of every kind", lines: counted(named(own), named(other)) };
}

/** Both lists of counts side by side; what one of them does not have counts nothing there. */
function counted(own: [string, number][], other: [string, number][]): Line[] {
  const both = new Map<string, { own: number; other: number }>();
  for (const [name, count] of own) both.set(name, { own: count, other: 0 });
  for (const [name, count] of other) both.set(name, { own: both.get(name)?.own ?? 0, other: count });
  return [...both].map(([name, counts]) => line(name, text(counts.own), text(counts.other)));
}
