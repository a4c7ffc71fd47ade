import { describe, expect, it } from "vitest";
import type { Person, ProgramColumn, WhatIf } from "../api/types";
import { ageWords, lateness } from "../lib/time";
import { instantOf, words } from "./calendar";
import { looksLikeJson, readJson } from "./json";
import { headerText, Reasons, reasonProblem } from "./reasons";
import { parts } from "./report";
import { may, screenAt, screensOf } from "./roles";
import { topicsOf } from "./topics";
import { counted, firstLine, kindsOf, standing } from "./work";

describe("who may open the desk's screens", () => {
  it("follows the roles", () => {
    expect(may({ roles: ["auditor"] }, "judge")).toBe(true);
    expect(may({ roles: ["auditor"] }, "edit")).toBe(false);
    expect(may({ roles: ["trader", "risk"] }, "edit")).toBe(true);
    expect(may({ roles: ["trader"] }, "judge")).toBe(false);
    expect(may({ roles: ["support"] }, "judge")).toBe(false);
    expect(may(null, "judge")).toBe(false);
    expect(may({ roles: ["admin"] }, "operate")).toBe(true);
    expect(may({ roles: ["risk", "auditor"] }, "operate")).toBe(false);
    expect(may({ roles: ["admin"] }, "webhooks")).toBe(true);
    expect(may({ roles: ["risk", "auditor"] }, "webhooks")).toBe(false);
    expect(may({ roles: ["finance"] }, "business")).toBe(true);
    expect(may({ roles: ["trader", "support"] }, "business")).toBe(false);
    expect(may({ roles: ["finance"] }, "money")).toBe(true);
    expect(may({ roles: ["risk", "auditor", "support"] }, "money")).toBe(false);
    expect(may({ roles: ["auditor"] }, "audit")).toBe(true);
    expect(may({ roles: ["risk", "support"] }, "audit")).toBe(false);
    expect(may({ roles: ["support"] }, "people")).toBe(true);
    expect(may({ roles: ["risk", "finance"] }, "people")).toBe(false);
    expect(may({ roles: ["support", "auditor"] }, "privacy")).toBe(false);
    expect(may({ roles: ["admin"] }, "privacy")).toBe(true);
    expect(may({ roles: ["risk"] }, "payouts")).toBe(true);
    expect(may({ roles: ["risk"] }, "money")).toBe(false);
    expect(may({ roles: ["finance"] }, "money")).toBe(true);
    expect(may({ roles: ["support", "auditor"] }, "payouts")).toBe(false);
  });
  it("names the screens of each", () => {
    const names = (...roles: Person["roles"]) => screensOf({ roles }).map(({ name }) => name);
    expect(names("trader")).toEqual([]);
    expect(names("finance")).toEqual([
      "Business",
      "Payouts",
      "Identity",
      "Finance",
      "Reconciliation",
      "Refunds",
      "Disputes",
    ]);
    expect(names("support")).toEqual(["People"]);
    expect(names("auditor")).toEqual([
      "What if",
      "Releases",
      "Overrides",
      "Operations",
      "Business",
      "Finance",
      "Reconciliation",
      "Refunds",
      "Disputes",
      "People",
      "Audit log",
    ]);
    expect(names("admin")).toHaveLength(16);
    expect(names("risk")).toContain("Shelf");
    expect(names("auditor")).not.toContain("Coupons");
    expect(screensOf(null)).toEqual([]);
  });
  it("finds the screen of an address", () => {
    expect(screenAt("/operate")?.name).toBe("What if");
    expect(screenAt("/operate/audit/entries/7")?.name).toBe("Audit log");
    expect(screenAt("/operate/payouts/files")?.name).toBe("Payouts");
    expect(screenAt("/operate/people")?.name).toBe("People");
    expect(screenAt("/operate/finance/accounts/payable")?.name).toBe("Finance");
    expect(screenAt("/operate/disputes/rates")?.name).toBe("Disputes");
    expect(screenAt("/operate/operations/provider-events")?.name).toBe("Operations");
    expect(screenAt("/leaderboard")).toBeNull();
  });
});

describe("the reason for looking at somebody's data", () => {
  it("is said once for each person, and again after an hour", () => {
    let now = 0;
    const reasons = new Reasons(() => now);
    reasons.give("me", "her", "T-1");
    expect([reasons.of("me", "her"), reasons.of("me", "him"), reasons.of("you", "her")]).toEqual([
      "T-1",
      null,
      null,
    ]);
    now = 3_599_999;
    expect(reasons.of("me", "her")).toBe("T-1");
    now = 3_600_000;
    expect(reasons.of("me", "her")).toBeNull();
    reasons.give("me", "her", "T-2");
    reasons.give("me", "him", "T-3");
    reasons.forget("me", "her");
    expect([reasons.of("me", "her"), reasons.of("me", "him")]).toEqual([null, "T-3"]);
    reasons.forgetAll();
    expect(reasons.of("me", "him")).toBeNull();
  });
  it("has 1 to 500 characters", () => {
    expect(reasonProblem("T-1")).toBeNull();
    expect(reasonProblem("  ")).not.toBeNull();
    expect(reasonProblem("\u{1f600}".repeat(500))).toBeNull();
    expect(reasonProblem("x".repeat(501))).not.toBeNull();
  });
  it("goes into a header as the bytes of its UTF-8", () => {
    expect(headerText(" Ticket\n 7 ")).toBe("Ticket 7");
    const sent = headerText("Prüfung 7 – \u{1f600}");
    expect(new Headers({ Reason: sent }).get("Reason")).toBe(sent);
    const bytes = Uint8Array.from(sent, (character) => character.charCodeAt(0));
    expect(new TextDecoder().decode(bytes)).toBe("Prüfung 7 – \u{1f600}");
  });
});

describe("JSON that a person wrote", () => {
  it("is an object with whole numbers", () => {
    expect(readJson('{"a":{"b":[1,"2.5"]}}')).toEqual({ value: { a: { b: [1, "2.5"] } } });
  });
  it("is refused with the place of a number that would be rounded", () => {
    expect(readJson('{"phases":[{"rules":[{"limit":{"percent":2.5}}]}]}')).toEqual({
      error: "Write the number at phases[0].rules[0].limit.percent in quotes, so that it stays exact.",
    });
    expect(readJson('{"a":9007199254740993}')).toHaveProperty("error");
  });
  it("is refused when it is none", () => {
    expect(readJson("name = 3")).toHaveProperty("error");
    expect(readJson("[1]")).toEqual({ error: "This must be a JSON object, in braces." });
    expect(looksLikeJson('\n {"a":1}')).toBe(true);
    expect(looksLikeJson('name = "x"')).toBe(false);
  });
});

describe("a release", () => {
  it("has an instant in UTC only when day and time are given", () => {
    expect(instantOf("2026-12-04", "13:30")).toBe("2026-12-04T13:30:00Z");
    expect(instantOf("2026-12-04", "13:30:15")).toBe("2026-12-04T13:30:15Z");
    expect(instantOf("", "13:30")).toBeNull();
    expect(instantOf("2026-12-04", "")).toBeNull();
  });
  it("targets what stands between commas or blanks", () => {
    expect(words(" usd, eur gbp;")).toEqual(["USD", "EUR", "GBP"]);
    expect(words("")).toEqual([]);
  });
});

const column = (change: Partial<ProgramColumn>): ProgramColumn => ({
  challenges: 12,
  completed: 0,
  phases: [],
  verdicts: [],
  payouts: 0,
  paid: "0.00",
  payable_accounts: 0,
  payable: "0.00",
  ...change,
});

const phase = (passed: number, ended_by: ProgramColumn["phases"][number]["ended_by"]) => ({
  phase: 0,
  accounts: 12,
  active: 2,
  passed,
  breached: 9,
  expired: 0,
  pass_rate: "10.00",
  ended_by,
});

describe("a what-if report", () => {
  const report = {
    currency: "USD",
    own: column({
      paid: "12500.00",
      phases: [phase(1, [{ status: "breached", rule: "daily_loss", accounts: 3 }])],
      verdicts: [{ kind: "breach", rule: "daily_loss", count: 3 }],
    }),
    under_other: column({
      paid: "900.00",
      phases: [phase(1, [{ status: "breached", rule: "max_loss", accounts: 4 }])],
      verdicts: [{ kind: "soft_breach", rule: "daily_loss", count: 5 }],
    }),
  } as WhatIf;
  const all = parts(report);

  it("tells both programs side by side and marks what differs", () => {
    expect(all.map((part) => part.title)).toEqual(["In all", "Phase 1", "Verdicts of every kind"]);
    const paid = all[0]?.lines.find((line) => line.label === "Taken out by them");
    expect(paid).toEqual({
      label: "Taken out by them",
      own: "12,500.00 USD",
      other: "900.00 USD",
      differs: true,
    });
    const rate = all[1]?.lines.find((line) => line.label.startsWith("Pass rate"));
    expect(rate).toMatchObject({ own: "10.00 %", other: "10.00 %", differs: false });
  });

  it("counts nothing where only one of them has a reason", () => {
    const lines = all[1]?.lines.filter((line) => line.label.startsWith("Ended by"));
    expect(lines?.map((line) => [line.own, line.other])).toEqual([
      ["3", "0"],
      ["0", "4"],
    ]);
    expect(all[2]?.lines.map((line) => line.label)).toEqual([
      "Breach: daily loss",
      "Soft breach: daily loss",
    ]);
  });

  it("shows a dash for a phase that only one of them has", () => {
    const longer = parts({ ...report, under_other: column({ phases: [] }) });
    const rate = longer[1]?.lines.find((line) => line.label.startsWith("Pass rate"));
    expect(rate).toMatchObject({ own: "10.00 %", other: "–", differs: true });
  });
});

describe("what waits and failed", () => {
  it("tells an age in two units at most", () => {
    expect([0, 0.9, 59, 60, 61, 3_599, 3_600, 7_500].map(ageWords)).toEqual([
      "0 s",
      "0 s",
      "59 s",
      "1 min",
      "1 min 1 s",
      "59 min 59 s",
      "1 h",
      "2 h 5 min",
    ]);
    expect(ageWords(86_400 * 6 + 3_600 * 3 + 59)).toBe("6 d 3 h");
    expect(ageWords(86_400 + 59)).toBe("1 d");
    expect(ageWords(-5)).toBe("0 s");
  });
  it("marks what waits for long", () => {
    expect([null, 0, 59, 60, 599, 600].map(lateness)).toEqual([
      "fine",
      "fine",
      "fine",
      "late",
      "late",
      "very-late",
    ]);
  });
  it("is counted in words", () => {
    expect([0, 1, 1_204].map((count) => counted(count, "job"))).toEqual(["no jobs", "1 job", "1,204 jobs"]);
  });
  it("shows the first line of an error", () => {
    expect(firstLine("connecting failed\nat line 3")).toBe("connecting failed");
    expect(firstLine(null)).toBe("");
    expect(firstLine("abcdef ghi", 8)).toBe("abcdef…");
  });
  it("names every kind once", () => {
    expect(kindsOf([{ kind: "mail.send" }, { kind: "a" }, { kind: "mail.send" }])).toEqual([
      "a",
      "mail.send",
    ]);
  });
  it("tells where a failed message stands", () => {
    const at = "2026-01-01T00:00:00Z";
    expect(standing({ dead_at: at, sent_again_at: at })).toBe("Dead");
    expect(standing({ dead_at: null, sent_again_at: at })).toBe("Sent again");
    expect(standing({ dead_at: null, sent_again_at: null })).toBe("Failing");
  });
});

describe("topics that a person wrote", () => {
  it("are words between commas, spaces and lines, each once", () => {
    expect(topicsOf(" account.*, purchase.paid\n*  account.* ")).toEqual(["account.*", "purchase.paid", "*"]);
    expect(topicsOf(" , ")).toEqual([]);
  });
});
