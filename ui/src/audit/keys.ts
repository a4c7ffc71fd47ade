import { type Bytes, equal } from "./bytes";
import {
  type Checkpoint,
  type NoteKey,
  parseCheckpoint,
  parseKey,
  parseNote,
  type Signed,
  signedBy,
} from "./note";
import { parseHash, parseSize } from "./tree";
import { Refused, type Verifier } from "./verifier";

/** The first line of a statement by which a key names its successor. */
const SUCCESSION = "tradesense.audit-key/1";

interface LogKey {
  key: NoteKey;
  /** The last checkpoint of the key before it; nothing of the first. */
  after: { size: bigint; root: Bytes } | null;
}

/** Whom somebody believes about a log: its first key and what it and its successors have said of the next. */
export interface Keys {
  origin: string;
  /** In the order in which they took over; each signs from its own place to that of the next. */
  log: readonly LogKey[];
}

/** Believes one key. The log has the key's name. */
export async function firstKey(verifier: Verifier, text: string): Promise<Keys> {
  const key = await parseKey(verifier, text);
  if (key.signs !== "text") throw new Refused("The key is one of a witness, not of a log.");
  return { origin: key.name, log: [{ key, after: null }] };
}

/** Learns the next key from a statement of the one that is valid now. */
export async function succeed(verifier: Verifier, keys: Keys, statement: string): Promise<Keys> {
  const note = parseNote(statement);
  const lines = note.text.slice(0, -1).split("\n");
  const value = (place: number, name: string) => {
    const line = lines[place];
    return line?.startsWith(name) ? line.slice(name.length) : null;
  };
  const [size, root, ...more] = (value(2, "after ") ?? "").split(" ");
  const origin = value(1, "log ");
  const after = { size: parseSize(size ?? ""), root: parseHash(root ?? "") };
  const nextText = value(3, "next ");
  if (
    lines.length !== 4 ||
    lines[0] !== SUCCESSION ||
    origin === null ||
    after.size === null ||
    !after.root ||
    more.length > 0 ||
    nextText === null
  )
    throw new Refused(`The statement of the next key has not the form ${SUCCESSION}.`);
  const next = await parseKey(verifier, nextText);
  if (origin !== keys.origin || next.name !== keys.origin)
    throw new Refused(`The next key is stated for the log ${origin}.`);
  if (next.signs !== "text") throw new Refused("The next key is one of a witness, not of a log.");
  const now = keys.log.at(-1);
  if (!now || (await signedBy(verifier, note, now.key)) === null)
    throw new Refused("The statement of the next key is not signed by the key that is valid now.");
  if (now.after && after.size < now.after.size)
    throw new Refused("The next key would take over before the one in front of it did.");
  if ((await signedBy(verifier, note, next)) === null)
    throw new Refused("The next key has not signed the statement itself.");
  if (keys.log.some(({ key }) => equal(key.key, next.key)))
    throw new Refused("The next key was one of this log's keys before.");
  return {
    origin: keys.origin,
    log: [...keys.log, { key: next, after: { size: after.size, root: after.root } }],
  };
}

/** Whether the key at this place had its time: from where it took over to where it handed over, both included. */
function maySign(keys: Keys, place: number, { size, root }: Checkpoint): boolean {
  const after = keys.log[place]?.after ?? null;
  const until = keys.log[place + 1]?.after ?? null;
  const begun = !after || size > after.size || (size === after.size && equal(root, after.root));
  const notOver = !until || size < until.size || (size === until.size && equal(root, until.root));
  return begun && notOver;
}

/** A checkpoint that is believed, and which of the log's keys has signed it. */
export interface Opened {
  checkpoint: Checkpoint;
  key: NoteKey;
}

/** Reads a signed checkpoint and believes it, or says why not. */
export async function openCheckpoint(verifier: Verifier, keys: Keys, text: string): Promise<Opened> {
  const note = parseNote(text);
  const signers: { place: number; key: NoteKey }[] = [];
  for (const [place, { key }] of keys.log.entries())
    if ((await signedBy(verifier, note, key)) !== null) signers.push({ place, key });
  if (signers.length === 0) throw new Refused("It is signed by none of the log's keys.");
  const checkpoint = parseCheckpoint(note.text);
  if (checkpoint.origin !== keys.origin) throw new Refused(`It is one of the log ${checkpoint.origin}.`);
  const inTime = signers.find(({ place }) => maySign(keys, place, checkpoint));
  if (!inTime) throw new Refused(`Its key was not to sign a log of ${checkpoint.size} entries.`);
  return { checkpoint, key: inTime.key };
}

/** What one witness's line below a checkpoint says. */
export interface Witnessed {
  key: NoteKey;
  signed: Signed;
}

/** Reads the line of a witness below a checkpoint, or says why it is none. */
export async function openCosignature(verifier: Verifier, text: string, witness: string): Promise<Witnessed> {
  const key = await parseKey(verifier, witness);
  if (key.signs !== "witnessed") throw new Refused("The key is none of a witness.");
  const signed = await signedBy(verifier, parseNote(text), key);
  if (!signed) throw new Refused("The key has no line below this checkpoint.");
  return { key, signed };
}
