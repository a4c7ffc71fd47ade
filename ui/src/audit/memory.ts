/** A checkpoint that this browser was shown and did not refuse. */
export interface Seen {
  size: string;
  /** In base64. */
  root: string;
  at: string;
}

/** What this browser knows of the log apart from the server: with it a log that was rewritten between two visits is noticed. */
export interface Memory {
  /** The log's first key. */
  key: string;
  /** Whether a person gave it; else it was believed at first sight. */
  given: boolean;
  /** When it was given or first seen. */
  since: string;
  /** The newest first. */
  seen: readonly Seen[];
}

const NAME = "audit-log";
const MOST_SEEN = 20;
const APART_MS = 3_600_000;

/** Where it is kept. */
export interface Place {
  recall(name: string): string | null;
  remember(name: string, value: string): void;
}

function isSeen(value: unknown): value is Seen {
  const { size, root, at } = (value ?? {}) as Record<string, unknown>;
  return typeof size === "string" && typeof root === "string" && typeof at === "string";
}

/** What was kept; null if there is nothing that can be read. */
export function readMemory(place: Place): Memory | null {
  try {
    const kept = JSON.parse(place.recall(NAME) ?? "null") as Record<string, unknown> | null;
    const { key, given, since, seen } = kept ?? {};
    if (typeof key !== "string" || typeof since !== "string" || !Array.isArray(seen) || !seen.every(isSeen))
      return null;
    return { key, given: given === true, since, seen };
  } catch {
    return null;
  }
}

/** Keeps it, or forgets what was kept. */
export function keepMemory(place: Place, memory: Memory | null): void {
  place.remember(NAME, JSON.stringify(memory));
}

/** With one more checkpoint: those below the newest stay an hour apart, so that twenty of them reach back. */
export function withSeen(memory: Memory, seen: Seen): Memory {
  const [newest, before] = memory.seen;
  if (newest?.size === seen.size) return memory;
  const close = newest && before && Date.parse(newest.at) - Date.parse(before.at) < APART_MS;
  const rest = close ? memory.seen.slice(1) : memory.seen;
  return { ...memory, seen: [seen, ...rest].slice(0, MOST_SEEN) };
}
