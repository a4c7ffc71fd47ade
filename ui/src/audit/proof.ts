import type { Bytes } from "./bytes";
import { parseHash, parseSize } from "./tree";
import { Refused } from "./verifier";

/** An entry's place, the hashes beside its way to the root, and the checkpoint with that root: C2SP `tlog-proof`. */
export interface Proof {
  index: bigint;
  /** From the leaf's sibling up. */
  path: readonly Bytes[];
  /** The signed checkpoint, letter by letter. */
  checkpoint: string;
}

const FIRST_LINE = "c2sp.org/tlog-proof@v1";

/** The most hashes: the levels of a tree. */
const MOST_HASHES = 63;

export function parseHashes(texts: readonly string[]): Bytes[] {
  if (texts.length > MOST_HASHES) throw new Refused(`A proof has at most ${MOST_HASHES} hashes.`);
  return texts.map((text) => {
    const hash = parseHash(text);
    if (!hash) throw new Refused(`${JSON.stringify(text)} is no hash of the proof.`);
    return hash;
  });
}

/** Reads a proof's text. What the log may have added in the line `extra` is not kept: nobody has signed it. */
export function parseProof(text: string): Proof {
  const end = text.indexOf("\n\n");
  const [first, ...rest] = text.slice(0, Math.max(end, 0)).split("\n");
  const lines = rest[0]?.startsWith("extra ") ? rest.slice(1) : rest;
  const [place, ...hashes] = lines;
  const index = place?.startsWith("index ") ? parseSize(place.slice("index ".length)) : null;
  if (first !== FIRST_LINE || index === null) throw new Refused(`The proof has not the form ${FIRST_LINE}.`);
  return { index, path: parseHashes(hashes), checkpoint: text.slice(end + 2) };
}
