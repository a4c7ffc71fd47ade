import { describe, expect, it } from "vitest";
import type { Floor, FloorAfter, Forecast } from "../api/types";
import {
  conditionText,
  effectWords,
  figureText,
  isSoft,
  movingFloors,
  nearestAfter,
  outcomeSentence,
  outcomeTitle,
  targetText,
  whyBlocked,
} from "./ahead";
import { promotedOnRequest } from "./on-request";

const floorAfter = (rule: string, floor: string, room: string): FloorAfter => ({
  rule,
  label: rule === "daily_loss" ? "Daily loss" : "Maximum loss",
  floor,
  room,
  derivation: "",
});

const held = (rule: string, floor: string): Floor => ({
  rule,
  label: rule,
  floor,
  room: "0.00",
  limit: "500.00",
  comparison: "below",
  cap: false,
  effect: "hard",
  locked: false,
  derivation: "",
});

function ahead(change: Partial<Forecast>): Forecast {
  return {
    as_of: "2026-11-23T03:37:55.091936Z",
    currency: "USD",
    resets: [],
    next_reset: { fires: false, sentence: "", floors: [] },
    locked_until: null,
    deadlines: [],
    positions: [],
    rules: [],
    payout: null,
    ...change,
  };
}

const position = { ticket: 2, symbol: "EURUSD", price: "1.37662", rule: "daily_loss", label: "Daily loss" };

describe("what the next reset does", () => {
  const floors = [
    floorAfter("max_loss", "23500.00", "1493.50"),
    floorAfter("daily_loss", "24493.50", "500.00"),
  ];
  const sentence = "If prices stay, nothing fires at the reset at 2026-11-23T22:00:00.000000Z.";

  it("names the nearest floor and what is left above it", () => {
    const told = outcomeSentence(
      ahead({ positions: [position], next_reset: { fires: false, sentence, floors } }),
    );
    expect(told).toBe(
      "If prices stay, nothing fires at the reset at 2026-11-23 22:00:00 UTC. " +
        "The nearest floor is then that of daily loss at 24,493.50, 500.00\u00a0USD away.",
    );
  });

  it("says of open positions that they stay above, and of none that there are none", () => {
    const quiet = { fires: false, sentence, floors };
    expect(outcomeTitle(ahead({ positions: [position], next_reset: quiet }))).toBe(
      "What you hold stays above every floor at the next reset",
    );
    expect(outcomeTitle(ahead({ next_reset: quiet }))).toBe(
      "Nothing is open, nothing fires at the next reset",
    );
  });

  it("gives the server's warning with readable times when it would fire", () => {
    const fires = { fires: true, sentence: "The reset at 2026-11-23T22:00:00Z moves it.", floors };
    expect(outcomeTitle(ahead({ positions: [position], next_reset: fires }))).toMatch(/would breach/);
    expect(outcomeSentence(ahead({ next_reset: fires }))).toBe(
      "The reset at 2026-11-23 22:00:00 UTC moves it.",
    );
  });

  it("finds the nearest floor by amount and not by text", () => {
    expect(nearestAfter([floorAfter("a", "1", "1000.00"), floorAfter("b", "1", "999.99")])?.rule).toBe("b");
    expect(nearestAfter([floorAfter("a", "1", "9.00"), floorAfter("b", "1", "-10.00")])?.rule).toBe("b");
    expect(nearestAfter([])).toBeNull();
  });
});

describe("how floors move", () => {
  it("compares each with the floor of now, floors of one kind in their order", () => {
    const moved = movingFloors(
      [held("daily_loss", "24500.00"), held("daily_loss", "24000.00"), held("max_loss", "23500.00")],
      [
        floorAfter("daily_loss", "24900.00", "-100.00"),
        floorAfter("daily_loss", "23999.99", "700.00"),
        floorAfter("max_loss", "23500.0", "1.00"),
        floorAfter("ruin", "0.00", "1.00"),
      ],
    );
    expect(moved.map((floor) => floor.moves)).toEqual(["up", "down", "stays", "unknown"]);
    expect(moved.map((floor) => floor.now)).toEqual(["24500.00", "24000.00", "23500.00", null]);
    expect(moved.map((floor) => floor.crossed)).toEqual([true, false, false, false]);
  });
});

describe("numbers of rules", () => {
  it("groups amounts, shortens instants, and leaves words alone", () => {
    expect(figureText("24998.50")).toBe("24,998.50");
    expect(figureText("-1.50")).toBe("\u22121.50");
    expect(figureText("2027-01-22T03:37:53.968383Z")).toBe("2027-01-22 03:37:53 UTC");
    expect(figureText("no")).toBe("no");
    expect(figureText("40%")).toBe("40%");
    expect(figureText("2026-11-23")).toBe("2026-11-23");
  });

  it("says on which side of its target a condition holds", () => {
    expect(targetText({ name: "most_payouts", target: "2" })).toBe("at most 2");
    expect(targetText({ name: "min_profit", target: "1000.00" })).toBe("at least 1,000.00");
    expect(targetText({ name: "flat", target: "yes" })).toBe("asked: yes");
  });

  it("calls the conditions of a payout what a trader calls them", () => {
    expect(conditionText({ name: "flat", label: "Flat" })).toBe("No position is open");
    expect(conditionText({ name: "consistency", label: "Consistency" })).toBe("Consistency");
  });
});

describe("why the ticket is closed", () => {
  it("is open only on an active account that nothing holds back", () => {
    const of = (status: "active" | "passed" | "breached" | "expired", held = false) => ({ status, held });
    expect(whyBlocked(of("active"), null)).toBeNull();
    expect(whyBlocked(of("active"), "2026-11-23T22:00:00.000000Z")).toContain("2026-11-23 22:00:00 UTC");
    expect(whyBlocked(of("breached"), null)).toMatch(/breached/);
    expect(whyBlocked(of("passed"), "2026-11-23T22:00:00.000000Z")).toMatch(/passed/);
    expect(whyBlocked(of("expired"), null)).toMatch(/expired/);
    expect(whyBlocked(of("active", true), "2026-11-23T22:00:00.000000Z")).toMatch(/on hold.*disputed/);
    expect(whyBlocked(of("breached", true), null)).toMatch(/breached/);
  });

  it("tells a soft effect from one that ends the account", () => {
    expect(isSoft("soft")).toBe(true);
    expect(isSoft("pause")).toBe(true);
    expect(isSoft("hard")).toBe(false);
    expect(isSoft("expire")).toBe(false);
    expect(effectWords.soft).toBe("locks the day");
  });
});

describe("asking for the next phase", () => {
  const text = JSON.stringify({ phases: [{ promotion: "on_request" }, { name: "Funded" }] });
  it("is read from the version's own text", () => {
    expect(promotedOnRequest(text, 0)).toBe(true);
    expect(promotedOnRequest(text, 1)).toBe(false);
    expect(promotedOnRequest(text, 2)).toBe(false);
    expect(promotedOnRequest("{}", 0)).toBe(false);
  });
});
