import type { Choice } from "../api/analytics";
import type { BoardPeriod, Program } from "../api/types";

/** What stands in the address for all programs together: no slug looks like this. */
export const ALL = "*";

export const periods = [
  ["day", "Today"],
  ["day-before", "Yesterday"],
  ["week", "This week"],
  ["week-before", "Last week"],
  ["month", "This month"],
  ["month-before", "Last month"],
  ["all", "All time"],
] as const;

const known: readonly BoardPeriod[] = ["day", "week", "month", "all"];

/** The board that the address asks for; what it does not say, or says wrong, is the first program's first phase of all time. */
export function choiceOf(search: URLSearchParams, programs: readonly Program[]): Choice {
  const slug = search.get("program");
  const program = programs.find((found) => found.slug === slug) ?? programs[0];
  const all = slug === ALL || program === undefined;
  const phase = Number.parseInt(search.get("phase") ?? "", 10);
  const names = phasesOf(all ? null : program.slug, programs);
  const wanted = search.get("period") ?? "all";
  const period = known.find((word) => word === wanted.replace(/-before$/, "")) ?? "all";
  return {
    program: all ? null : program.slug,
    phase: names[phase] === undefined ? 0 : phase,
    period,
    before: period !== "all" && wanted.endsWith("-before"),
  };
}

/** The names of the phases; over all programs they have numbers only. */
export function phasesOf(slug: string | null, programs: readonly Program[]): string[] {
  const own = programs.find((program) => program.slug === slug);
  if (own) return own.phases.map((phase) => phase.name);
  const most = Math.max(1, ...programs.map((program) => program.phases.length));
  return Array.from({ length: most }, (_, index) => `Phase ${index + 1}`);
}

/** The word of the period in the address. */
export function periodWord({ period, before }: Choice): string {
  return before ? `${period}-before` : period;
}
