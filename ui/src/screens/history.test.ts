import { describe, expect, it } from "vitest";
import { againAt, happened, partlyRefunded, settled } from "./history";

describe("a purchase", () => {
  it("is asked about again while something is on its way", () => {
    const bare = { challenge_id: null };
    expect(settled({ ...bare, state: "awaiting_payment" }, null)).toBe(true);
    expect(settled({ ...bare, state: "awaiting_payment" }, "paid")).toBe(false);
    expect(settled({ ...bare, state: "paid" }, null)).toBe(false);
    expect(settled({ ...bare, state: "declined" }, "declined")).toBe(true);
    expect(settled({ challenge_id: "c", state: "refunded" }, "paid")).toBe(true);
  });
  it("tells a part that came back from all of it", () => {
    expect(partlyRefunded({ refunded: "0.00", fee: "99.00" })).toBe(false);
    expect(partlyRefunded({ refunded: "9.00", fee: "99.00" })).toBe(true);
    expect(partlyRefunded({ refunded: "99.00", fee: "99.00" })).toBe(false);
  });
  it("begins again where it began", () => {
    const program = { slug: "two-step", name: "Two steps", version: "abc" };
    expect(againAt({ program, reset_of: null })).toBe("/programs/two-step/checkout");
    expect(againAt({ program, reset_of: "c1" })).toBe("/programs/two-step/checkout?reset=c1");
  });
  it("has words for what happened", () => {
    expect(happened("paid")).toBe("Paid");
  });
});
