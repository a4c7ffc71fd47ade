import { createHash, createPrivateKey, createPublicKey, sign, webcrypto } from "node:crypto";
import { type Bytes, concat, toBase64, toHex, utf8 } from "./bytes";
import { type Verifier, verifierOf } from "./verifier";

// A small log in memory for the tests, made from the definitions of RFC 6962 word by word, with Node's own hash: nothing of it is
// shared with the code that verifies.

export const subtle = webcrypto.subtle as unknown as SubtleCrypto;

export const sha = (...parts: Uint8Array[]): Bytes => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};

/** The real one for signatures; its hashes come from Node, because many are wanted. */
export const verifier: Verifier = { ...verifierOf(subtle), sha256: async (bytes) => sha(bytes) };

/** RFC 6962, 2.1: the largest power of two smaller than n. */
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** RFC 6962, 2.1: the Merkle tree hash. */
export function mth(entries: readonly Uint8Array[]): Bytes {
  if (entries.length === 0) return sha();
  if (entries.length === 1) return sha(Uint8Array.of(0), entries[0] as Uint8Array);
  const k = split(entries.length);
  return sha(Uint8Array.of(1), mth(entries.slice(0, k)), mth(entries.slice(k)));
}

/** RFC 6962, 2.1.1: the Merkle audit path. */
export function path(m: number, entries: readonly Uint8Array[]): Bytes[] {
  if (entries.length <= 1) return [];
  const k = split(entries.length);
  return m < k
    ? [...path(m, entries.slice(0, k)), mth(entries.slice(k))]
    : [...path(m - k, entries.slice(k)), mth(entries.slice(0, k))];
}

/** RFC 6962, 2.1.2: the Merkle consistency proof. */
export function proof(m: number, entries: readonly Uint8Array[]): Bytes[] {
  return m === 0 ? [] : subproof(m, entries, true);
}

function subproof(m: number, entries: readonly Uint8Array[], whole: boolean): Bytes[] {
  if (m === entries.length) return whole ? [] : [mth(entries)];
  const k = split(entries.length);
  return m <= k
    ? [...subproof(m, entries.slice(0, k), whole), mth(entries.slice(k))]
    : [...subproof(m - k, entries.slice(k), false), mth(entries.slice(0, k))];
}

/** A copy with one bit of one byte turned over. */
export function flipped(bytes: Uint8Array, at: number, bit = 0): Bytes {
  const copy = new Uint8Array(bytes);
  copy[at] = (copy[at] ?? 0) ^ (1 << bit);
  return copy;
}

const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** A copy with another value at one place. */
export function changed<T>(list: readonly T[], at: number, value: T): T[] {
  return list.map((held, place) => (place === at ? value : held));
}

/** Who signs, from 32 equal bytes. */
export class Signer {
  private readonly secret;
  readonly public: Bytes;

  constructor(
    readonly name: string,
    seed: number,
  ) {
    const der = Buffer.concat([PKCS8, Buffer.alloc(32, seed)]);
    this.secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.secret).export({ format: "der", type: "spki" });
    this.public = new Uint8Array(spki.subarray(-32));
  }

  private id(code: number): Bytes {
    return sha(utf8(this.name), Uint8Array.of(0x0a, code), this.public).slice(0, 4);
  }

  key(code: 1 | 4 = 1): string {
    return `${this.name}+${toHex(this.id(code))}+${toBase64(concat(Uint8Array.of(code), this.public))}`;
  }

  private bare(message: string): Bytes {
    return new Uint8Array(sign(null, utf8(message), this.secret));
  }

  line(text: string): string {
    return `\u2014 ${this.name} ${toBase64(concat(this.id(1), this.bare(text)))}\n`;
  }

  cosign(text: string, at: number): string {
    const time = new Uint8Array(8);
    new DataView(time.buffer).setBigUint64(0, BigInt(at));
    const signature = this.bare(`cosignature/v1\ntime ${at}\n${text}`);
    return `\u2014 ${this.name} ${toBase64(concat(this.id(4), time, signature))}\n`;
  }
}

export const ORIGIN = "audit.example.com/main";

export function checkpointText(size: number, root: Uint8Array, origin = ORIGIN): string {
  return `${origin}\n${size}\n${toBase64(root)}\n`;
}

export function checkpoint(size: number, root: Uint8Array, signer: Signer, origin = ORIGIN): string {
  const text = checkpointText(size, root, origin);
  return `${text}\n${signer.line(text)}`;
}

/** The statement that `next` signs after this size. */
export function succession(size: number, root: Uint8Array, previous: Signer, next: Signer): string {
  const text = `tradesense.audit-key/1\nlog ${previous.name}\nafter ${size} ${toBase64(root)}\nnext ${next.key()}\n`;
  return `${text}\n${previous.line(text)}${next.line(text)}`;
}

/** The bytes of an act, as the table of the crate `audit` has it. */
export function act(index: number, detail: string, beside = false): Bytes {
  const number = (value: bigint, length: number) => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value);
    return bytes.slice(8 - length);
  };
  const text = (value: string) => concat(number(BigInt(utf8(value).length), 2), utf8(value));
  const uuid = new Uint8Array(16).fill(7);
  const document = concat(Uint8Array.of(1), number(BigInt(utf8(detail).length), 4), sha(utf8(detail)));
  return concat(
    Uint8Array.of(1),
    number(BigInt(index), 8),
    Uint8Array.of(1),
    uuid,
    number(1_790_000_000_000_000n + BigInt(index), 8),
    concat(Uint8Array.of(1), uuid),
    Uint8Array.of(0),
    ...[String(index), "privacy.read", "", "person", "p", beside ? "" : detail].map(text),
    Uint8Array.of(0, 0),
    beside ? document : Uint8Array.of(0),
    Uint8Array.of(0),
  );
}
