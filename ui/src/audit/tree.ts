import { type Bytes, concat, equal, fromBase64, toBase64 } from "./bytes";
import { Refused, type Verifier } from "./verifier";

// The tree of RFC 6962, verified as RFC 9162 says in sections 2.1.3.2 and 2.1.4.2: every term of a proof is bound, and one hash
// too few or too many is refused. Sizes are bigint, because a log counts further than a number does.

/** The most entries of a log. */
export const MOST_SIZE = 9_223_372_036_854_775_807n;

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export function leafHash({ sha256 }: Verifier, entry: Uint8Array): Promise<Bytes> {
  return sha256(concat(LEAF, entry));
}

function nodeHash({ sha256 }: Verifier, left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(NODE, left, right));
}

/** Reads the one base64 text of a hash. */
export function parseHash(text: string): Bytes | null {
  const hash = fromBase64(text);
  return hash?.length === 32 ? hash : null;
}

/** Digits without zeros before them, at most `MOST_SIZE`. */
export function parseSize(text: string): bigint | null {
  if (!/^(0|[1-9]\d{0,18})$/.test(text)) return null;
  const size = BigInt(text);
  return size <= MOST_SIZE ? size : null;
}

function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

function ones(value: bigint): number {
  return value.toString(2).replaceAll("0", "").length;
}

/** How many hashes prove the entry `index` of `size`. */
function inclusionLength(index: bigint, size: bigint): number {
  // Where the ways to this entry and to the last one part, every level has a sibling; above, only on the right.
  const apart = bitLength(index ^ (size - 1n));
  return apart + ones(index >> BigInt(apart));
}

function isPowerOfTwo(size: bigint): boolean {
  return size > 0n && (size & (size - 1n)) === 0n;
}

/** How many hashes prove that `size` entries continue `older` ones. */
function consistencyLength(older: bigint, size: bigint): number {
  if (older === 0n || older === size) return 0;
  const level = BigInt(bitLength(older & -older) - 1);
  const above = inclusionLength((older - 1n) >> level, ((size - 1n) >> level) + 1n);
  return above + (isPowerOfTwo(older) ? 0 : 1);
}

function checkLength(proof: readonly Bytes[], wanted: number) {
  if (proof.length !== wanted)
    throw new Refused(`The proof has ${proof.length} hashes, where there must be ${wanted}.`);
}

function checkRoot(found: Bytes, wanted: Bytes) {
  if (!equal(found, wanted))
    throw new Refused(`The proof leads to the root ${toBase64(found)} and not to ${toBase64(wanted)}.`);
}

/** Refuses any proof but the one that the entry with this leaf hash is the one at `index` of this size and root. */
export async function verifyInclusion(
  verifier: Verifier,
  leaf: Bytes,
  index: bigint,
  size: bigint,
  proof: readonly Bytes[],
  root: Bytes,
): Promise<void> {
  if (index < 0n || index >= size)
    throw new Refused(`Entry ${index} is not within the first ${size} entries.`);
  checkLength(proof, inclusionLength(index, size));
  let place = index;
  let last = size - 1n;
  let found = leaf;
  for (const sibling of proof) {
    if ((place & 1n) === 1n || place === last) {
      found = await nodeHash(verifier, sibling, found);
      while ((place & 1n) === 0n && place !== 0n) {
        place >>= 1n;
        last >>= 1n;
      }
    } else {
      found = await nodeHash(verifier, found, sibling);
    }
    place >>= 1n;
    last >>= 1n;
  }
  checkRoot(found, root);
}

/** Refuses any proof but the one that the log of `size` entries begins with the `older` ones and goes on from there. */
export async function verifyConsistency(
  verifier: Verifier,
  older: bigint,
  size: bigint,
  proof: readonly Bytes[],
  olderRoot: Bytes,
  root: Bytes,
): Promise<void> {
  if (older < 0n || older > size)
    throw new Refused(`A log of ${size} entries does not continue one of ${older}.`);
  if (older === 0n && !equal(olderRoot, await verifier.sha256(new Uint8Array())))
    throw new Refused("A log without entries has another root.");
  checkLength(proof, consistencyLength(older, size));
  if (older === size) {
    checkRoot(olderRoot, root);
    return;
  }
  if (older === 0n) return;
  let place = older - 1n;
  let last = size - 1n;
  while ((place & 1n) === 1n) {
    place >>= 1n;
    last >>= 1n;
  }
  // A full older tree is a part of the newer one, and not written into the proof.
  const [first, ...after] = proof;
  const written = !isPowerOfTwo(older) && first !== undefined;
  let foundOlder = written ? first : olderRoot;
  let found = foundOlder;
  for (const part of written ? after : proof) {
    if ((place & 1n) === 1n || place === last) {
      foundOlder = await nodeHash(verifier, part, foundOlder);
      found = await nodeHash(verifier, part, found);
      while ((place & 1n) === 0n && place !== 0n) {
        place >>= 1n;
        last >>= 1n;
      }
    } else {
      found = await nodeHash(verifier, found, part);
    }
    place >>= 1n;
    last >>= 1n;
  }
  if (!equal(foundOlder, olderRoot))
    throw new Refused(
      `The proof starts from the root ${toBase64(foundOlder)} and not from ${toBase64(olderRoot)}.`,
    );
  checkRoot(found, root);
}
