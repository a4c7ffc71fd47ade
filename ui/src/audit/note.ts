import { type Bytes, concat, equal, fromBase64, toBase64, toHex, utf8 } from "./bytes";
import { parseHash, parseSize } from "./tree";
import { Refused, type Verifier } from "./verifier";

// Signed notes (C2SP `signed-note`), checkpoints (`tlog-checkpoint`) and cosignatures (`tlog-cosignature`, version 1). Nothing read
// here is to be believed before a signature was verified.

const MOST_BYTES = 131_072;
const MOST_SIGNATURES = 100;

/** Below a text, or that its checkpoint was the latest and consistent one at a time. */
export type Signs = "text" | "witnessed";

const codes = { text: 1, witnessed: 4 } as const;

/** A public key with a name, written `name+id+base64`. */
export interface NoteKey {
  name: string;
  signs: Signs;
  key: Bytes;
  /** Stands before its signatures. Short: it finds a key and proves nothing. */
  id: Bytes;
  text: string;
}

export interface NoteSignature {
  name: string;
  id: Bytes;
  signature: Bytes;
}

export interface Note {
  /** What is signed, with its last line feed. */
  text: string;
  signatures: readonly NoteSignature[];
}

export interface Checkpoint {
  origin: string;
  size: bigint;
  root: Bytes;
}

function isName(name: string): boolean {
  return name !== "" && !/[\s\u0085\p{Cc}+]/u.test(name);
}

// The points of small order (and the other ways to write them), under which anything would be validly signed.
const weak = new Set(
  [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ].flatMap((low) => [low, low.slice(0, 62) + (Number.parseInt(low.slice(62), 16) | 0x80).toString(16)]),
);

/** Reads a key; refused with the reason where it is none, or mistyped. */
export async function parseKey(verifier: Verifier, text: string): Promise<NoteKey> {
  const [name, id, ...rest] = text.split("+");
  const bytes = fromBase64(rest.join("+"));
  if (name === undefined || id === undefined || rest.length === 0 || !bytes)
    throw new Refused("A key is written as its name, 8 hexadecimal digits and base64, with a plus between.");
  if (!isName(name)) throw new Refused("A key's name is not empty and has no spaces or control characters.");
  const signs = bytes[0] === codes.text ? "text" : bytes[0] === codes.witnessed ? "witnessed" : null;
  if (!signs) throw new Refused("The key is not one of Ed25519 for notes or cosignatures.");
  const key = bytes.slice(1);
  if (key.length !== 32 || weak.has(toHex(key)))
    throw new Refused("The key's bytes are no good Ed25519 public key.");
  const own = (await verifier.sha256(concat(utf8(`${name}\n`), bytes))).slice(0, 4);
  if (toHex(own) !== id) throw new Refused("The key's digits are not those of its name and bytes.");
  return { name, signs, key, id: own, text };
}

function parseSignature(line: string): NoteSignature | null {
  const parts = line.split(" ");
  const [dash, name, base64] = parts;
  if (parts.length !== 3 || dash !== "\u2014" || !name || !base64) return null;
  const bytes = fromBase64(base64);
  if (!bytes || bytes.length < 5 || !isName(name)) return null;
  return { name, id: bytes.slice(0, 4), signature: bytes.slice(4) };
}

/** Reads a whole note; refused with the reason where it is none. */
export function parseNote(note: string): Note {
  const bytes = utf8(note);
  if (bytes.length > MOST_BYTES) throw new Refused(`A note has at most ${MOST_BYTES} bytes.`);
  if (bytes.some((byte) => byte < 0x20 && byte !== 0x0a))
    throw new Refused("A note holds no control characters but line feeds.");
  const end = note.lastIndexOf("\n\n");
  const lines = note.slice(end + 2);
  if (end < 0 || !lines.endsWith("\n"))
    throw new Refused("A note is a text, an empty line and at least one line with a signature.");
  const signatures = lines
    .slice(0, -1)
    .split("\n")
    .map((line, place) => {
      const signature = place < MOST_SIGNATURES ? parseSignature(line) : null;
      if (!signature) throw new Refused(`Line ${place + 1} below the text is no signature.`);
      return signature;
    });
  return { text: note.slice(0, end + 1), signatures };
}

/** Whether a line below a note is that of a key. */
export function isOf(line: NoteSignature, key: NoteKey): boolean {
  return line.name === key.name && equal(line.id, key.id);
}

/** A good signature; of a witness with the time that it gives, in seconds after 1970. */
export interface Signed {
  at: number | null;
}

/** Whether the key has signed: null if it has no line here, refused if its line does not fit. */
export async function signedBy(verifier: Verifier, note: Note, key: NoteKey): Promise<Signed | null> {
  let signed: Signed | null = null;
  for (const line of note.signatures.filter((found) => isOf(found, key))) {
    const good = await verifyLine(verifier, note.text, line, key);
    if (!good) throw new Refused(`The signature of the key ${key.text} is not that of this text.`);
    signed ??= good;
  }
  return signed;
}

async function verifyLine(
  verifier: Verifier,
  text: string,
  { signature }: NoteSignature,
  key: NoteKey,
): Promise<Signed | null> {
  if (key.signs === "text")
    return signature.length === 64 && (await verifier.signed(key.key, utf8(text), signature))
      ? { at: null }
      : null;
  if (signature.length !== 72) return null;
  const at = new DataView(signature.buffer, signature.byteOffset, 8).getBigInt64(0);
  const message = utf8(`cosignature/v1\ntime ${at}\n${text}`);
  return at >= 0n && (await verifier.signed(key.key, message, signature.slice(8)))
    ? { at: Number(at) }
    : null;
}

/** Reads the text above the signatures as a checkpoint. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.slice(0, -1).split("\n");
  const [origin, size, root] = lines;
  const parsed = { size: parseSize(size ?? ""), root: parseHash(root ?? "") };
  const whole = text.endsWith("\n") && lines.every((line) => line !== "");
  if (!whole || !origin || parsed.size === null || !parsed.root)
    throw new Refused(
      "A checkpoint is three lines: the log's name, how many entries it has, and their root in base64.",
    );
  if (parsed.size === 0n && toBase64(parsed.root) !== EMPTY_ROOT)
    throw new Refused("A log without entries has another root.");
  return { origin, size: parsed.size, root: parsed.root };
}

/** SHA-256 of nothing. */
const EMPTY_ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
