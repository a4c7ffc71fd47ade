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
