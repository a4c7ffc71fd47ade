import { describe, expect, it } from "vitest";
import type { Dossier, PayoutMethod, PayoutState, Person } from "../api/types";
import { agreedText, draftOf, possible, settingsOf } from "./payout-work";

const check = {
  conditions: [],
  eligible: true,
  figures: [],
  payout: "400.00",
  warnings: [],
  withdrawable: "500.00",
};

const dossier = (state: PayoutState, method: PayoutMethod = "bank_file"): Dossier => ({
  payout: {
    id: "p1",
    account_id: "a1",
    state,
    method,
    program: "Express",
    currency: "USD",
    amount: "500.00",
    share: "400.00",
    verdict: null,
    reason: null,
    requested_at: "2026-11-29T10:00:00Z",
    moved_at: "2026-11-29T10:00:00Z",
  },
  person_id: "trader",
  payee: null,
  payee_by_id: null,
  at_request: check,
  now: null,
  identity: "verified",
  reviews: [],
  reviewers_needed: 2,
  attempts: [],
  events: [],
  sign_ins: [],
  others: [],
  blocks: [],
});

const by = (id: string, approves = true) => ({
  reviewer_id: id,
  approves,
  counts: true,
  reason: "Ticket 7",
  at: "2026-11-29T10:00:00Z",
});

const who = (id: string, ...roles: Person["roles"]) => ({ id, roles });

describe("what somebody may do with a payout", () => {
  it("lets a reviewer agree once, and never about their own", () => {
    const reviewed = dossier("in_review");
    expect(possible(reviewed, who("r1", "risk")).actions).toEqual(["approve", "reject"]);
    expect(possible(reviewed, who("trader", "risk")).actions).toEqual([]);
    expect(possible(reviewed, who("trader", "risk")).hindered).toMatch(/own/);
    const half = { ...reviewed, reviews: [by("r1")] };
    expect(possible(half, who("r1", "risk")).actions).toEqual(["reject"]);
    expect(possible(half, who("r1", "risk")).hindered).toMatch(/somebody else/);
    expect(possible(half, who("r2", "finance")).actions).toContain("approve");
  });
  it("lets others than whoever named it agree to another payee", () => {
    const named = { ...dossier("payee_in_review"), payee_by_id: "f1" };
    expect(possible(named, who("f1", "finance")).actions).toEqual(["reject"]);
    expect(possible(named, who("f1", "finance")).hindered).toMatch(/somebody else/);
    const before = { ...named, reviews: [{ ...by("r1"), counts: false }] };
    expect(possible(before, who("r1", "risk")).actions).toEqual(["approve", "reject"]);
    expect(agreedText(before)).toBe("0 of 2 different reviewers have agreed.");
    expect(possible(dossier("failed", "stripe"), who("trader", "finance")).actions).toEqual([]);
  });
  it("waits for the identity, and may still say no", () => {
    const { actions, hindered } = possible(dossier("awaiting_identity"), who("r1", "admin"));
    expect(actions).toEqual(["reject"]);
    expect(hindered).toMatch(/who asks/);
  });
  it("leaves money to those who manage it", () => {
    expect(possible(dossier("reserved", "manual"), who("f1", "finance")).actions).toEqual(["paid"]);
    expect(possible(dossier("reserved", "manual"), who("r1", "risk")).actions).toEqual([]);
    expect(possible(dossier("reserved"), who("f1", "finance")).actions).toEqual([]);
    expect(possible(dossier("sent"), who("f1", "finance")).actions).toEqual(["paid", "returned"]);
    expect(possible(dossier("settled"), who("f1", "finance")).actions).toEqual(["returned"]);
    expect(possible(dossier("sent", "paypal"), who("f1", "finance")).actions).toEqual([]);
    expect(possible(dossier("failed", "stripe"), who("f1", "finance")).actions).toEqual(["again"]);
  });
  it("says how many have agreed", () => {
    expect(agreedText({ reviews: [by("r1"), by("r2", false)], reviewers_needed: 2 })).toBe(
      "1 of 2 different reviewers have agreed.",
    );
    expect(agreedText({ reviews: [], reviewers_needed: 1 })).toBe("One reviewer is enough.");
  });
});

describe("how the firm pays", () => {
  const settings = {
    methods: ["bank_file", "manual"] as const,
    identity_needed: true,
    bank: { name: "Firm", iban: "DE89370400440532013000" },
    one_reviewer: [{ amount: "1000.00", currency: "USD" }],
  };
  it("comes out of the form as it went in", () => {
    const draft = draftOf({ ...settings, methods: [...settings.methods] });
    expect(settingsOf(draft)).toEqual({ settings });
    expect(settingsOf({ ...draft, name: "", iban: "", bic: " " })).toEqual({
      settings: { ...settings, bank: null },
    });
  });
  it("explains what is wrong", () => {
    const draft = draftOf({ ...settings, methods: [] });
    const limits = (...list: [string, string][]) =>
      settingsOf({ ...draft, limits: list.map(([amount, currency]) => ({ amount, currency })) });
    expect(limits()).toHaveProperty("faults.methods");
    expect(limits(["1", "usd"], ["2", "USD"])).toHaveProperty("faults.limits", "Give each currency once.");
    expect(limits(["-1", "USD"])).toHaveProperty("faults.limits");
    expect(limits(["1", "dollars"])).toHaveProperty("faults.limits");
    expect(settingsOf({ ...draft, iban: "DE00" })).toHaveProperty("faults.iban");
  });
});
