import { describe, expect, it } from "vitest";
import type { Program } from "../api/types";
import { ALL, choiceOf, periodWord, phasesOf } from "./choice";

const program = (slug: string, ...phases: string[]) =>
  ({ slug, phases: phases.map((name) => ({ name })) }) as unknown as Program;
const programs = [program("express", "Express"), program("classic", "Challenge", "Verification")];
const read = (text: string) => choiceOf(new URLSearchParams(text), programs);

describe("which board the address asks for", () => {
  it("is the first program's where it says nothing, or nothing that is known", () => {
    const first = { program: "express", phase: 0, period: "all", before: false };
    expect(read("")).toEqual(first);
    expect(read("program=gone&phase=7&period=decade")).toEqual(first);
    expect(read("phase=-1&period=all-before")).toEqual(first);
  });
  it("has a program, a phase and a period", () => {
    const choice = read("program=classic&phase=1&period=week-before");
    expect(choice).toEqual({ program: "classic", phase: 1, period: "week", before: true });
    expect(periodWord(choice)).toBe("week-before");
  });
  it("may be that of all programs together", () => {
    expect(read(`program=${ALL}&phase=1`)).toMatchObject({ program: null, phase: 1 });
    expect(phasesOf(null, programs)).toEqual(["Phase 1", "Phase 2"]);
    expect(choiceOf(new URLSearchParams(), [])).toMatchObject({ program: null, phase: 0 });
  });
});
