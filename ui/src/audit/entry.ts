import { toHex } from "./bytes";
import { Refused } from "./verifier";

// The one byte form of an entry, version 1 (the table in the module `entry` of the crate `audit`). Exact: what is accepted has no
// other text, and nothing may follow it.

const sources = { 1: "act", 2: "command", 3: "verdict" } as const;

export interface Entry {
  index: bigint;
  source: (typeof sources)[1 | 2 | 3];
  firm: string;
  /** Microseconds after 1970. */
  at: bigint;
  actor: string | null;
  request: string | null;
  id: string;
  action: string;
  purpose: string;
  objectKind: string;
  object: string;
  detail: string;
  /** In hexadecimal, as the other hashes. */
  before: string | null;
  after: string | null;
  /** What is kept beside it: its length in bytes and its SHA-256. */
  document: { length: number; hash: string } | null;
  /** Personal data that belongs to it: whose, and the SHA-256 of the ciphertext. */
  personal: { person: string; hash: string } | null;
}

class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(length: number, what: string): Uint8Array {
    const taken = this.bytes.subarray(this.at, this.at + length);
    if (taken.length !== length) throw new Refused(`The entry's bytes end within the ${what}.`);
    this.at += length;
    return taken;
  }

  private number<T>(length: number, what: string, read: (at: number) => T): T {
    const at = this.at;
    this.take(length, what);
    return read(at);
  }

  byte = (what: string) => this.number(1, what, (at) => this.view.getUint8(at));
  u16 = (what: string) => this.number(2, what, (at) => this.view.getUint16(at));
  u32 = (what: string) => this.number(4, what, (at) => this.view.getUint32(at));
  u64 = (what: string) => this.number(8, what, (at) => this.view.getBigUint64(at));
  i64 = (what: string) => this.number(8, what, (at) => this.view.getBigInt64(at));

  uuid(what: string): string {
    return toHex(this.take(16, what)).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  hash(what: string): string {
    return toHex(this.take(32, what));
  }

  text(what: string): string {
    const bytes = this.take(this.u16(what), what);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new Refused(`The entry's ${what} is no text.`);
    }
  }

  optional<T>(what: string, read: () => T): T | null {
    const mark = this.byte(what);
    if (mark > 1) throw new Refused(`The entry's ${what} is marked by ${mark}, where 0 or 1 must stand.`);
    return mark === 1 ? read() : null;
  }

  end() {
    const left = this.bytes.length - this.at;
    if (left > 0) throw new Refused(`${left} bytes follow the entry's end.`);
  }
}

const MOST_BYTES = 65_535;

/** Reads an entry; refused with the reason where the bytes are none. */
export function decodeEntry(bytes: Uint8Array): Entry {
  if (bytes.length > MOST_BYTES) throw new Refused(`An entry has at most ${MOST_BYTES} bytes.`);
  const read = new Reader(bytes);
  const version = read.byte("version");
  if (version !== 1) throw new Refused(`The entry has the version ${version}, and this page knows 1.`);
  const index = read.u64("index");
  const code = read.byte("table");
  const source = code === 1 || code === 2 || code === 3 ? sources[code] : null;
  if (!source) throw new Refused(`The entry names a table by ${code}, which is none.`);
  const entry: Entry = {
    index,
    source,
    firm: read.uuid("firm"),
    at: read.i64("time"),
    actor: read.optional("actor", () => read.uuid("actor")),
    request: read.optional("request", () => read.uuid("request")),
    id: read.text("id"),
    action: read.text("action"),
    purpose: read.text("purpose"),
    objectKind: read.text("kind of object"),
    object: read.text("object"),
    detail: read.text("detail"),
    before: read.optional("state before", () => read.hash("state before")),
    after: read.optional("state after", () => read.hash("state after")),
    document: read.optional("document", () => ({
      length: read.u32("document"),
      hash: read.hash("document"),
    })),
    personal: read.optional("personal data", () => ({
      person: read.uuid("personal data"),
      hash: read.hash("personal data"),
    })),
  };
  read.end();
  return entry;
}
