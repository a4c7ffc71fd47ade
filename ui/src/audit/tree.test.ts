import { describe, expect, it } from "vitest";
import { type Bytes, equal, fromHex, toHex } from "./bytes";
import { changed, flipped, mth, path, proof, sha, subtle, verifier } from "./testing";
import { leafHash, parseSize, verifyConsistency, verifyInclusion } from "./tree";
import { Refused, verifierOf } from "./verifier";

/** The leaves, roots and proofs with which implementations of RFC 6962 test themselves; so do those of the server. */
const LEAVES = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
];
const ROOTS = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const IN_96 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const IN_5F = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const IN_6B = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const IN_BC = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const IN_CA = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const IN_0E = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
const root = (size: number) => ROOTS[size] ?? "";
const INCLUSION: [number, number, string[]][] = [
  [0, 1, []],
  [0, 2, [IN_96]],
  [2, 3, [root(2)]],
  [1, 5, [root(1), IN_5F, IN_BC]],
  [0, 8, [IN_96, IN_5F, IN_6B]],
  [5, 8, [IN_BC, IN_CA, root(4)]],
];
const CONSISTENCY: [number, number, string[]][] = [
  [1, 1, []],
  [1, 8, [IN_96, IN_5F, IN_6B]],
  [2, 5, [IN_5F, IN_BC]],
  [6, 8, [IN_0E, IN_CA, root(4)]],
];

const bytes = (hex: string) => fromHex(hex) as Bytes;
const published = LEAVES.map(bytes);

/** A log of our own, with entries of different lengths. */
const log = Array.from({ length: 40 }, (_, index) => new Uint8Array(index * 3).fill(index));
const leaf = (entry: Uint8Array | undefined) => leafHash(verifier, entry as Uint8Array);

async function holds(run: Promise<void>): Promise<boolean> {
  try {
    await run;
    return true;
  } catch (thrown) {
    if (thrown instanceof Refused) return false;
    throw thrown;
  }
}

/** Every way to alter a proof by one step: a byte, a hash too few, too many, doubled or out of its place. */
function forgeries(good: readonly Bytes[]): Bytes[][] {
  const forged: Bytes[][] = [
    [...good, sha()],
    [sha(), ...good],
  ];
  good.forEach((hash, place) => {
    const [before, after] = [good.slice(0, place), good.slice(place + 1)];
    forged.push([...before, ...after], [...before, hash, hash, ...after]);
    for (let at = 0; at < 32; at += 1) forged.push(changed(good, place, flipped(hash, at, at % 8)));
    const last = before.pop();
    if (last) forged.push([...before, hash, last, ...after]);
  });
  const same = (one: readonly Bytes[]) =>
    one.length === good.length && one.every((hash, place) => equal(hash, good[place] as Bytes));
  return forged.filter((one) => !same(one));
}

describe("the tree of RFC 6962", () => {
  it("has the published roots and proofs, hashed by the browser's own cryptography", async () => {
    const own = verifierOf(subtle);
    ROOTS.forEach((wanted, size) => {
      expect(toHex(mth(published.slice(0, size)))).toBe(wanted);
    });
    for (const [index, size, hashes] of INCLUSION) {
      expect(path(index, published.slice(0, size)).map(toHex)).toEqual(hashes);
      const hash = await leafHash(own, published[index] as Bytes);
      await verifyInclusion(own, hash, BigInt(index), BigInt(size), hashes.map(bytes), bytes(root(size)));
    }
    for (const [older, size, hashes] of CONSISTENCY) {
      expect(proof(older, published.slice(0, size)).map(toHex)).toEqual(hashes);
      const ends = [bytes(root(older)), bytes(root(size))] as const;
      await verifyConsistency(own, BigInt(older), BigInt(size), hashes.map(bytes), ...ends);
    }
  });

  it("proves every entry of every small log at its own place and at no other", async () => {
    for (let size = 1; size <= log.length; size += 1) {
      const entries = log.slice(0, size);
      const end = mth(entries);
      for (let index = 0; index < size; index += 1) {
        const good = path(index, entries);
        const hash = await leaf(log[index]);
        for (let other = 0; other <= size; other += 1)
          expect(await holds(verifyInclusion(verifier, hash, BigInt(other), BigInt(size), good, end))).toBe(
            other === index,
          );
      }
    }
  });

  it("proves that every small log continues every smaller one, and no other", async () => {
    for (let size = 0; size <= log.length; size += 1) {
      const end = mth(log.slice(0, size));
      for (let older = 0; older <= size; older += 1) {
        const good = proof(older, log.slice(0, size));
        const start = mth(log.slice(0, older));
        for (let claimed = 0; claimed <= size + 1; claimed += 1)
          expect(
            await holds(verifyConsistency(verifier, BigInt(claimed), BigInt(size), good, start, end)),
            `${older} as ${claimed} to ${size}`,
          ).toBe(claimed === older);
      }
    }
  });

  it("refuses an inclusion of which any byte was altered", async () => {
    for (const [index, size] of [
      [0, 1],
      [2, 3],
      [5, 8],
      [20, 21],
      [17, 40],
      [39, 40],
    ] as const) {
      const entries = log.slice(0, size);
      const good = path(index, entries);
      const [hash, end] = [await leaf(log[index]), mth(entries)];
      const verified = (of: Bytes, size: number, by: readonly Bytes[], at: Bytes) =>
        holds(verifyInclusion(verifier, of, BigInt(index), BigInt(size), by, at));
      expect(await verified(hash, size, good, end)).toBe(true);
      for (const forged of forgeries(good)) expect(await verified(hash, size, forged, end)).toBe(false);
      for (let at = 0; at < 32; at += 1) {
        expect(await verified(flipped(hash, at), size, good, end)).toBe(false);
        expect(await verified(hash, size, good, flipped(end, at))).toBe(false);
      }
      for (let other = 1; other <= log.length; other += 1)
        expect(await verified(hash, other, good, mth(log.slice(0, other)))).toBe(other === size);
    }
  });

  it("refuses a consistency of which any byte was altered", async () => {
    for (const [older, size] of [
      [1, 2],
      [3, 7],
      [6, 8],
      [16, 40],
      [21, 40],
      [39, 40],
    ] as const) {
      const good = proof(older, log.slice(0, size));
      const [start, end] = [mth(log.slice(0, older)), mth(log.slice(0, size))];
      const verified = (by: readonly Bytes[], from: Bytes, to: Bytes, length: number = size) =>
        holds(verifyConsistency(verifier, BigInt(older), BigInt(length), by, from, to));
      expect(await verified(good, start, end)).toBe(true);
      for (const forged of forgeries(good)) expect(await verified(forged, start, end)).toBe(false);
      for (let at = 0; at < 32; at += 1) {
        expect(await verified(good, flipped(start, at), end)).toBe(false);
        expect(await verified(good, start, flipped(end, at))).toBe(false);
      }
      for (let other = older + 1; other <= log.length; other += 1)
        expect(await verified(good, start, mth(log.slice(0, other)), other)).toBe(other === size);
    }
  });

  it("knows that an empty log has one root, and that one size has one", async () => {
    expect(await holds(verifyConsistency(verifier, 0n, 5n, [], sha(), mth(log.slice(0, 5))))).toBe(true);
    expect(await holds(verifyConsistency(verifier, 0n, 5n, [], mth(log), mth(log.slice(0, 5))))).toBe(false);
    expect(await holds(verifyConsistency(verifier, 5n, 5n, [], mth(log.slice(0, 5)), mth(log)))).toBe(false);
    expect(await holds(verifyInclusion(verifier, sha(), 0n, 0n, [], sha()))).toBe(false);
  });

  it("reads sizes in one way only", () => {
    expect(parseSize("0")).toBe(0n);
    expect(parseSize("9223372036854775807")).toBe(9_223_372_036_854_775_807n);
    for (const text of [
      "",
      "+7",
      "007",
      "-1",
      "1.0",
      "1e3",
      " 1",
      "9223372036854775808",
      "99999999999999999999",
    ])
      expect(parseSize(text)).toBeNull();
  });
});
