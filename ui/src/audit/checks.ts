import type { AuditCheckpoint, AuditConsistency, AuditKey, AuditLogEntry, ProvenEntry } from "../api/types";
import { type Bytes, equal, fromHex, toBase64, toHex, utf8 } from "./bytes";
import { decodeEntry, type Entry } from "./entry";
import { firstKey, type Keys, type Opened, openCheckpoint, openCosignature, succeed } from "./keys";
import type { Memory, Seen } from "./memory";
import { type Checkpoint, parseCheckpoint, parseNote } from "./note";
import { parseHashes, parseProof } from "./proof";
import { leafHash, parseHash, parseSize, verifyConsistency, verifyInclusion } from "./tree";
import { Refused, Unable, type Verifier } from "./verifier";

/** One thing that was looked at, and what came of it. What could not be looked at counts for nothing. */
export interface Check {
  name: string;
  state: "holds" | "refused" | "unchecked";
  said: string;
}

/** What many checks come to: one that is refused decides, then one that could not be made. */
export function outcome(checks: readonly Check[]): Check["state"] {
  if (checks.some(({ state }) => state === "refused")) return "refused";
  return checks.length > 0 && checks.every(({ state }) => state === "holds") ? "holds" : "unchecked";
}

async function check(name: string, run: () => Promise<string>): Promise<Check> {
  try {
    return { name, state: "holds", said: await run() };
  } catch (thrown) {
    if (thrown instanceof Refused) return { name, state: "refused", said: thrown.message };
    if (thrown instanceof Unable) return { name, state: "unchecked", said: thrown.message };
    throw thrown;
  }
}

const counted = (size: bigint) => `${size.toLocaleString("en-US")} ${size === 1n ? "entry" : "entries"}`;

/** What a checkpoint says, whoever signed it. */
function saying({ note, size, root }: AuditCheckpoint): Checkpoint {
  const said = parseCheckpoint(parseNote(note).text);
  if (said.size !== BigInt(size) || toBase64(said.root) !== root)
    throw new Refused("The server says another size or root than the note that it shows.");
  return said;
}

/** Asks for the proof that a log of `to` entries continues one of `from`. */
export type Prove = (from: bigint, to: bigint) => Promise<AuditConsistency>;

async function continues(verifier: Verifier, seen: Seen, now: Checkpoint, prove: Prove): Promise<string> {
  const older = parseSize(seen.size);
  const olderRoot = parseHash(seen.root);
  if (older === null || !olderRoot) throw new Unable("What this browser remembers cannot be read.");
  if (older > now.size)
    throw new Refused(
      `This browser saw a log of ${counted(older)} on ${seen.at}, and the server shows ${counted(now.size)}.`,
    );
  const hashes = older === now.size ? [] : parseHashes((await prove(older, now.size)).proof);
  await verifyConsistency(verifier, older, now.size, hashes, olderRoot, now.root);
  return older === now.size
    ? `It is what this browser saw before, with ${counted(older)}.`
    : `It begins with the ${counted(older)} that this browser saw before and goes on from there.`;
}

/** A witness below a checkpoint. */
export interface WitnessLine {
  witness: string;
  name: string;
  /** In seconds after 1970; nothing where its signature was not verified. */
  at: number | null;
  check: Check;
}

/** The log as the server shows it now. */
export interface Log {
  /** None where they are not believed or cannot be verified here. */
  keys: Keys | null;
  newest: AuditCheckpoint;
  served: readonly AuditKey[];
  witnesses: readonly WitnessLine[];
  /** What keys and newest checkpoint come to: whether anything can be proven by them. */
  signed: Check["state"];
  checks: readonly Check[];
}

/** Verifies the keys, the newest checkpoint, and that it continues what this browser saw. */
export async function judgeLog(
  verifier: Verifier,
  memory: Memory | null,
  served: readonly AuditKey[],
  newest: AuditCheckpoint,
  prove: Prove,
): Promise<Log> {
  let keys: Keys | null = null;
  const believed = await check("The keys", async () => {
    const [first, ...later] = served;
    if (!first) throw new Refused("The log has no key.");
    if (memory && memory.key !== first.key)
      throw new Refused(
        `Its first key is not ${memory.key}, which ${memory.given ? "you gave" : "it was before"}.`,
      );
    let known = await firstKey(verifier, first.key);
    for (const { statement } of later) {
      if (statement === null) throw new Refused("A later key comes without the statement of the one before.");
      known = await succeed(verifier, known, statement);
    }
    const told = known.log.every(({ key }, place) => key.text === served[place]?.key);
    if (!told) throw new Refused("The server names other keys than its statements do.");
    keys = known;
    const chain = later.length > 0 ? ` ${later.length + 1} keys, each named by the one before.` : "";
    if (memory?.given) return `The first is the one that you gave.${chain}`;
    if (memory) return `The first is the one that this browser has known since ${memory.since}.${chain}`;
    return `Seen for the first time: give the key that you got elsewhere, to know that it is the right one.${chain}`;
  });
  const signed = await check("The newest checkpoint", async () => {
    const said = saying(newest);
    const opened = await open(verifier, keys, newest.note);
    return `${counted(said.size)}, signed by ${opened.key.text}.`;
  });
  const grown = await check("What this browser saw before", async () => {
    const seen = memory?.seen[0];
    if (!seen) throw new Unable("Nothing yet. It remembers this checkpoint from now on.");
    return continues(verifier, seen, saying(newest), prove);
  });
  const witnesses = await Promise.all(
    newest.witnesses.map((witness) => judgeWitness(verifier, newest.note, witness)),
  );
  const checks = [believed, signed, grown];
  return { keys, newest, served, witnesses, signed: outcome([believed, signed]), checks };
}

async function open(verifier: Verifier, keys: Keys | null, note: string): Promise<Opened> {
  if (!keys) throw new Unable("The log's keys are not verified, so its signatures say nothing.");
  return openCheckpoint(verifier, keys, note);
}

async function judgeWitness(verifier: Verifier, note: string, witness: string): Promise<WitnessLine> {
  let at: number | null = null;
  const checked = await check("The witness", async () => {
    const opened = await openCosignature(verifier, note, witness);
    at = opened.signed.at;
    return "It has signed this checkpoint.";
  });
  return { witness, name: witness.split("+", 1)[0] ?? "", at, check: checked };
}

/** Verifies that one entry is in the log, and that the log is the one that was judged. */
export async function judgeEntry(
  verifier: Verifier,
  log: Pick<Log, "keys" | "newest" | "signed">,
  { entry: shown, bytes: hex, proof: text }: ProvenEntry,
  prove: Prove,
): Promise<Check[]> {
  const bytes = fromHex(hex);
  const written = () => {
    if (!bytes) throw new Refused("The entry's bytes are no hexadecimal digits.");
    return bytes;
  };
  const checks = [
    await check("What is shown is what was hashed", async () => {
      const entry = decodeEntry(written());
      const other = await difference(verifier, entry, shown);
      if (other) throw new Refused(`The entry's bytes have another ${other} than is shown.`);
      return `All of it stands in the entry's ${written().length} bytes.`;
    }),
    await check("Its hash", async () => {
      const leaf = await leafHash(verifier, written());
      if (toBase64(leaf) !== shown.hash) throw new Refused(`Its bytes come to ${toBase64(leaf)}.`);
      return "Its bytes come to the hash under which it stands in the tree.";
    }),
  ];
  if (text === null) return checks;
  let covered: Checkpoint | null = null;
  checks.push(
    await check("Its place in the log", async () => {
      const proof = parseProof(text);
      if (proof.index !== BigInt(shown.index))
        throw new Refused(`The proof is one for entry ${proof.index}.`);
      const { size, root, origin } = parseCheckpoint(parseNote(proof.checkpoint).text);
      const leaf = await leafHash(verifier, written());
      await verifyInclusion(verifier, leaf, proof.index, size, proof.path, root);
      covered = { size, root, origin };
      return `${proof.path.length} hashes lead from it to the root of the checkpoint with ${counted(size)}.`;
    }),
    await check("The checkpoint", async () => {
      const { key } = await open(verifier, log.keys, parseProof(text).checkpoint);
      return `Signed by ${key.text}.`;
    }),
    await check("The log", async () => {
      if (log.signed !== "holds")
        throw new Unable("The log's keys or its newest checkpoint are not verified; see the checkpoints.");
      if (!covered) throw new Unable("The entry was not found in it.");
      const { size, root, at } = log.newest;
      return continues(verifier, { size: String(size), root, at }, covered, prove);
    }),
  );
  return checks;
}

/** Which part of an entry is not what is shown; null where all of it is. */
async function difference(verifier: Verifier, entry: Entry, shown: AuditLogEntry): Promise<string | null> {
  const parts: readonly (readonly [string, unknown, unknown])[] = [
    ["index", entry.index, BigInt(shown.index)],
    ["table", entry.source, shown.source],
    ["id", entry.id, shown.id],
    ["time", entry.at, microsOf(shown.at)],
    ["actor", entry.actor, shown.actor],
    ["request", entry.request, shown.request_id],
    ["action", entry.action, shown.action],
    ["purpose", entry.purpose, shown.purpose],
    ["kind of object", entry.objectKind, shown.object_kind],
    ["object", entry.object, shown.object],
    ["state before", entry.before, shown.before],
    ["state after", entry.after, shown.after],
  ];
  const other = parts.find(([, hashed, told]) => hashed !== told);
  if (other) return other[0];
  return (await hasDetail(verifier, entry, shown.detail)) ? null : "detail";
}

/** A long detail stands in the entry by its length and hash. */
async function hasDetail(verifier: Verifier, entry: Entry, shown: string): Promise<boolean> {
  if (entry.detail === shown) return true;
  if (entry.detail !== "" || !entry.document) return false;
  const bytes = utf8(shown);
  return (
    bytes.length === entry.document.length && toHex(await verifier.sha256(bytes)) === entry.document.hash
  );
}

/** Microseconds after 1970 of an instant as the API writes it; null if it is none. */
export function microsOf(at: string): bigint | null {
  const parts = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?(?:Z|\+00:00)$/.exec(at);
  const seconds = parts ? Date.parse(`${parts[1]}Z`) : Number.NaN;
  if (Number.isNaN(seconds)) return null;
  return BigInt(seconds) * 1_000n + BigInt((parts?.[2] ?? "").padEnd(6, "0"));
}

/** Verifies that one checkpoint continues another. */
export async function judgeContinuation(
  verifier: Verifier,
  keys: Keys | null,
  from: AuditCheckpoint,
  { proof, checkpoint: to }: AuditConsistency,
): Promise<Check[]> {
  const signed = (name: string, checkpoint: AuditCheckpoint) =>
    check(name, async () => {
      const said = saying(checkpoint);
      const { key } = await open(verifier, keys, checkpoint.note);
      return `${counted(said.size)}, signed by ${key.text}.`;
    });
  return [
    await signed("The checkpoint before", from),
    await signed("The checkpoint after", to),
    await check("The continuation", async () => {
      const [older, newer]: [Checkpoint, Checkpoint] = [saying(from), saying(to)];
      const hashes: Bytes[] = parseHashes(proof);
      await verifyConsistency(verifier, older.size, newer.size, hashes, older.root, newer.root);
      return equal(older.root, newer.root)
        ? "Both are the same."
        : `${hashes.length} hashes show that the first ${counted(older.size)} are the same in both.`;
    }),
  ];
}
