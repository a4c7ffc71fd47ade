// The API speaks UTC with microseconds. Dates are cut from that text where every digit counts (receipts); Date objects serve
// only the reading of clocks and the reader's own zone.

const pad = (n: number) => String(n).padStart(2, "0");

/** "2026-11-22 20:15:07" in UTC. */
export function utcSeconds(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 19)}`;
}

/** The full instant as evidence: "2026-11-22 20:15:07.123456 UTC". */
export function utcExact(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11).replace(/(Z|\+00:00)$/, "")} UTC`;
}

const INSTANT = /\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|\+00:00)/g;

/** A sentence of the server with its instants made readable; what is no instant stays as it is. */
export function withReadableTimes(sentence: string): string {
  return sentence.replace(INSTANT, (at) => `${utcSeconds(at)} UTC`);
}

/** "22 Nov 20:15:07" in the reader's zone. */
export function localShort(at: string): string {
  const date = new Date(at);
  const day = date.toLocaleDateString("en-GB", { day: "2-digit", month: "short" });
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** "22 Nov" in the reader's zone. */
export function localDay(at: string): string {
  return new Date(at).toLocaleDateString("en-GB", { day: "2-digit", month: "short" });
}

/** "22 Nov 2026" in the reader's zone. */
export function localDate(at: string): string {
  return new Date(at).toLocaleDateString("en-GB", { day: "2-digit", month: "short", year: "numeric" });
}

/** "3d 04:05:06" or "04:05:06"; zero once the moment has passed. */
export function countdown(until: number, now: number): string {
  const total = Math.max(0, Math.floor((until - now) / 1000));
  const days = Math.floor(total / 86_400);
  const clock = `${pad(Math.floor(total / 3600) % 24)}:${pad(Math.floor(total / 60) % 60)}:${pad(total % 60)}`;
  return days > 0 ? `${days}d ${clock}` : clock;
}

/** "3 s", "4 min 10 s", "2 h 5 min", "6 d 3 h": two units at most, because nobody acts on more. */
export function ageWords(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  const units: readonly [number, string][] = [
    [Math.floor(total / 86_400), "d"],
    [Math.floor(total / 3_600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = units.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return units
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** How long something may wait before it is marked, in seconds. */
const LATE = 60;
const VERY_LATE = 600;

export function lateness(seconds: number | null): "fine" | "late" | "very-late" {
  if (seconds === null || seconds < LATE) return "fine";
  return seconds < VERY_LATE ? "late" : "very-late";
}
