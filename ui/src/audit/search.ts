import { instantOf } from "../operate/calendar";

const names = ["action", "object_kind", "object", "actor", "since", "until"] as const;

/** Which entries; each only where it is said. */
export type Search = Partial<Record<(typeof names)[number], string>>;

/** What the address says. */
export function searchOf(address: URLSearchParams): Search {
  const said = names.flatMap((name) => {
    const value = address.get(name)?.trim();
    return value ? [[name, value]] : [];
  });
  return Object.fromEntries(said) as Search;
}

/** The address of a search. */
export function addressOf(search: Search): string {
  const said = names.flatMap((name) => (search[name] ? [[name, search[name]]] : []));
  const text = new URLSearchParams(said as string[][]).toString();
  return text === "" ? "/operate/audit" : `/operate/audit?${text}`;
}

/** What a field for day and time holds, as an instant in UTC; nothing where it is not whole. */
export function instantIn(field: string): string | undefined {
  const [day = "", time = ""] = field.split("T");
  return instantOf(day, time) ?? undefined;
}

/** An instant as a field for day and time holds it. */
export function fieldOf(instant: string | undefined): string {
  return instant?.slice(0, 19) ?? "";
}

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function isId(text: string): boolean {
  return ID.test(text);
}

/** Why somebody looked or decided: the purpose, or the reason that stands in the detail. */
export function reasonOf({ purpose, detail }: { purpose: string; detail: string }): string | null {
  if (purpose !== "") return purpose;
  try {
    const { reason } = JSON.parse(detail) as Record<string, unknown>;
    return typeof reason === "string" ? reason : null;
  } catch {
    return null;
  }
}

/** The line that verifies an export without the platform. `end` is the entry after the last one. */
export function exportCommand(wanted: {
  first: number;
  end: number;
  key: string;
  trusted: string | null;
}): string {
  const trusted = wanted.trusted ? ` --trusted ${trustedFile(wanted.trusted)}` : "";
  return `tradesense audit verify --export ${exportFile(wanted.first, wanted.end)} --key ${wanted.key}${trusted}`;
}

export function exportFile(first: number, end: number): string {
  return `audit-${first}-${end}.tsaudit`;
}

export function trustedFile(size: string): string {
  return `checkpoint-${size}.txt`;
}

/** A whole number that a person wrote, at most what a number holds exactly; null for anything else. */
export function wholeIn(text: string): number | null {
  const plain = text.trim().replaceAll(",", "");
  const value = /^\d+$/.test(plain) ? Number(plain) : Number.NaN;
  return Number.isSafeInteger(value) ? value : null;
}
