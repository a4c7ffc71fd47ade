import { describe, expect, it } from "vitest";
import { type Bytes, concat, fromHex, utf8 } from "./bytes";
import { decodeEntry } from "./entry";
import { Refused } from "./verifier";

const STATE = "6ab3b6b8e2f4a3a1c2f1b5d4e7c8a9b0112233445566778899aabbccddeeff00";

/** Field by field as the table of the crate `audit` has it, put together by hand; the same as in its own test. */
const FORM = [
  "01",
  "0000000000000102",
  "03",
  "00000000000000000000000000000011",
  "fffffffffffffffe",
  "01",
  "00000000000000000000000000000022",
  "00",
  "000139",
  "00026162",
  "0000",
  "000163",
  "0002c3a9",
  "00027b7d",
  "00",
  `01${STATE}`,
  `0100000003${STATE}`,
  `0100000000000000000000000000000022${STATE}`,
].join("");

const form = fromHex(FORM) as Bytes;

describe("an entry's bytes", () => {
  it("are read field by field", () => {
    expect(decodeEntry(form)).toEqual({
      index: 258n,
      source: "verdict",
      firm: "00000000-0000-0000-0000-000000000011",
      at: -2n,
      actor: "00000000-0000-0000-0000-000000000022",
      request: null,
      id: "9",
      action: "ab",
      purpose: "",
      objectKind: "c",
      object: "é",
      detail: "{}",
      before: null,
      after: STATE,
      document: { length: 3, hash: STATE },
      personal: { person: "00000000-0000-0000-0000-000000000022", hash: STATE },
    });
  });
  it("that are cut or longer are none", () => {
    for (let length = 0; length < form.length; length += 1)
      expect(() => decodeEntry(form.slice(0, length))).toThrow(Refused);
    expect(() => decodeEntry(concat(form, Uint8Array.of(0)))).toThrow("1 bytes follow");
    expect(() => decodeEntry(new Uint8Array(65_536).fill(1))).toThrow("at most");
  });
  it("with another version, table, mark or no text are none", () => {
    const refused = (place: number, value: number) => {
      const other = new Uint8Array(form);
      other[place] = value;
      expect(() => decodeEntry(other)).toThrow(Refused);
    };
    refused(0, 2);
    refused(9, 0);
    refused(9, 4);
    refused(34, 2);
    refused(51, 2);
    // The text of the id.
    refused(54, 0xff);
  });
  it("keep a mark at the beginning of a text", () => {
    const text = utf8("\ufeffab");
    const marked = concat(form.slice(0, 55), Uint8Array.of(0, text.length), text, form.slice(59));
    expect(decodeEntry(marked).action).toBe("\ufeffab");
  });
});
