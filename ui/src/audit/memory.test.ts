import { describe, expect, it } from "vitest";
import { keepMemory, type Memory, readMemory, withSeen } from "./memory";

function placed(kept: string | null = null) {
  let held = kept;
  return {
    recall: () => held,
    remember: (_: string, value: string) => {
      held = value;
    },
  };
}

const seen = (size: number, minute: number) => ({
  size: String(size),
  root: `root ${size}`,
  at: new Date(Date.UTC(2026, 8, 21, 0, minute)).toISOString(),
});
const memory: Memory = { key: "k", given: false, since: "2026-09-21T00:00:00Z", seen: [] };

describe("what a browser remembers of the log", () => {
  it("is read as it was kept", () => {
    const place = placed();
    expect(readMemory(place)).toBeNull();
    const kept = withSeen(memory, seen(7, 1));
    keepMemory(place, kept);
    expect(readMemory(place)).toEqual(kept);
    keepMemory(place, null);
    expect(readMemory(place)).toBeNull();
  });
  it("is nothing where it cannot be read", () => {
    for (const text of [
      "",
      "{",
      "null",
      "7",
      "{}",
      '{"key":"k","since":"s","seen":[{}]}',
      '{"key":1,"seen":[]}',
    ])
      expect(readMemory(placed(text)), text).toBeNull();
  });
  it("holds the newest, and older ones an hour apart", () => {
    let held = memory;
    for (let minute = 0; minute <= 600; minute += 10) held = withSeen(held, seen(1000 + minute, minute));
    expect(held.seen[0]?.size).toBe("1600");
    const times = held.seen.map(({ at }) => Date.parse(at) / 60_000);
    expect(times.slice(1).every((at, place) => place === 0 || (times[place] ?? 0) - at >= 60)).toBe(true);
    expect(held.seen.length).toBeGreaterThan(8);
    expect(held.seen.at(-1)?.size).toBe("1000");
  });
  it("holds twenty at most, and none twice", () => {
    let held = memory;
    for (let hour = 0; hour < 40; hour += 1) held = withSeen(held, seen(hour, hour * 60));
    expect(held.seen).toHaveLength(20);
    expect(withSeen(held, seen(39, 9_999))).toBe(held);
  });
});
