import { describe, expect, it } from "vitest";
import { fromHex, toBase64, toHex, utf8 } from "./bytes";
import { firstKey, openCheckpoint, openCosignature, succeed } from "./keys";
import { parseCheckpoint, parseKey, parseNote, signedBy } from "./note";
import { checkpoint, checkpointText, flipped, mth, ORIGIN, Signer, sha, subtle, succession } from "./testing";
import { Refused, Unable, verifierOf } from "./verifier";

const verifier = verifierOf(subtle);

/** From the tests of Go's package for notes. */
const PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETERS_NOTE =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n" +
  "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/** The Go checksum database: its key, and checkpoints that it has signed. */
const SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const SUMDB_TREES = [
  "go.sum database tree\n6476701\nmb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=\n\n" +
    "\u2014 sum.golang.org Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=\n",
  "go.sum database tree\n3935567\nSapHtgdNCeF00Cx8kqztePV24kgzNg++Xovae42HAMw=\n\n" +
    "\u2014 sum.golang.org Az3grsm7Wm4CVNR1RHq9BFnu9jzcRlU2uw7lr0gfUWgO6+rqPNjT+fUTl9gH0NRTgdwW9nItuQSMbhSaLCsk8YeYSAs=\n",
  "go.sum database tree\n65209736\n5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=\n\n" +
    "\u2014 sum.golang.org Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=\n",
];

/** From C2SP `tlog-cosignature`; its keys are not published. */
const COSIGNED =
  "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n" +
  "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n" +
  "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

const log = Array.from({ length: 30 }, (_, index) => Uint8Array.of(index));
const root = (size: number) => mth(log.slice(0, size));
const [one, two, three] = [new Signer(ORIGIN, 1), new Signer(ORIGIN, 2), new Signer(ORIGIN, 3)];

const refused = async (run: Promise<unknown>) => {
  await expect(run).rejects.toThrow(Refused);
};

describe("a signed note", () => {
  it("is that of Go's package, and holds", async () => {
    const key = await parseKey(verifier, PETER);
    expect(await signedBy(verifier, parseNote(PETERS_NOTE), key)).toEqual({ at: null });
    expect(key.name).toBe("PeterNeumann");
  });

  it("of the Go checksum database holds, and with another size does not", async () => {
    const key = await parseKey(verifier, SUMDB);
    for (const tree of SUMDB_TREES) {
      const note = parseNote(tree);
      expect(await signedBy(verifier, note, key)).toEqual({ at: null });
      expect(parseCheckpoint(note.text).origin).toBe("go.sum database tree");
      await refused(signedBy(verifier, parseNote(tree.replace("tree\n", "tree\n1")), key));
    }
  });

  it("of C2SP has a log's line and a witness's", () => {
    const note = parseNote(COSIGNED);
    expect(note.signatures.map(({ name }) => name)).toEqual([
      "example.com/behind-the-sofa",
      "witness.example.com/w1",
    ]);
    expect(parseCheckpoint(note.text).size).toBe(20_852_163n);
    const witness = note.signatures[1];
    expect(toHex(witness?.signature.slice(0, 8) ?? new Uint8Array())).toBe("00000000641850cb");
  });

  it("is refused where it is none", () => {
    for (const text of [
      "",
      "x",
      "x\n",
      "x\n\n",
      PETERS_NOTE.slice(0, -1),
      PETERS_NOTE.replace("\u2014 Peter", "- Peter"),
      PETERS_NOTE.replace("problem,", "problem,\t"),
      `${PETERS_NOTE}\n`,
      `${PETERS_NOTE}x`,
      PETERS_NOTE + "\u2014 a AAAAAAA=\n".repeat(100),
      `${"x".repeat(131_072)}\n\n\u2014 a AAAAAAA=\n`,
    ])
      expect(() => parseNote(text), JSON.stringify(text.slice(0, 40))).toThrow(Refused);
  });
});

describe("a key", () => {
  it("that is mistyped is refused wherever it is", async () => {
    for (let place = 0; place < PETER.length; place += 1) {
      const other = PETER[place] === "B" ? "C" : "B";
      await refused(parseKey(verifier, PETER.slice(0, place) + other + PETER.slice(place + 1)));
      await refused(parseKey(verifier, PETER.slice(0, place)));
      await refused(parseKey(verifier, PETER.slice(place + 1)));
    }
  });

  it("under which anything would be signed is refused", async () => {
    // Low order by the curve's own arithmetic: eight times the point is the neutral one.
    const p = 2n ** 255n - 19n;
    const mod = (a: bigint) => ((a % p) + p) % p;
    const power = (base: bigint, exponent: bigint) => {
      let [result, square] = [1n, mod(base)];
      for (let left = exponent; left > 0n; left >>= 1n) {
        if (left & 1n) result = mod(result * square);
        square = mod(square * square);
      }
      return result;
    };
    const inverse = (a: bigint) => power(a, p - 2n);
    const d = mod(-121665n * inverse(121666n));
    // The y of 8 P depends on y alone, through x squared.
    const double = ([xx, y]: [bigint, bigint]): [bigint, bigint] => {
      const cross = mod(d * xx * y * y);
      const x2 = mod(4n * xx * y * y * inverse(mod((1n + cross) * (1n + cross))));
      return [x2, mod((y * y + xx) * inverse(mod(1n - cross)))];
    };
    const low = (y: bigint) => {
      const xx = mod((y * y - 1n) * inverse(mod(d * y * y + 1n)));
      const [, end] = double(double(double([xx, y])));
      return end === 1n;
    };
    const little = (bytes: Uint8Array) => BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
    const hex = ["00", "01"]
      .map((first) => first.padEnd(64, "0"))
      .concat([
        `ec${"f".repeat(60)}7f`,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
      ]);
    for (const key of hex) {
      const bytes = fromHex(key) ?? new Uint8Array();
      expect(low(little(bytes)), key).toBe(true);
      for (const end of [bytes[31] ?? 0, (bytes[31] ?? 0) | 0x80]) {
        const typed = Uint8Array.from([1, ...bytes.slice(0, 31), end]);
        const id = toHex(sha(utf8("a\n"), typed).slice(0, 4));
        await refused(parseKey(verifier, `a+${id}+${toBase64(typed)}`));
      }
    }
    expect(low(little(one.public) & (2n ** 255n - 1n))).toBe(false);
  });
});

describe("a checkpoint", () => {
  it("is three lines", () => {
    const good = checkpointText(5, root(5));
    expect(parseCheckpoint(good)).toEqual({ origin: ORIGIN, size: 5n, root: root(5) });
    expect(parseCheckpoint(`${good}extension\n`).size).toBe(5n);
    expect(parseCheckpoint(checkpointText(0, sha())).size).toBe(0n);
    for (const text of [
      good.slice(0, -1),
      `${good}\n`,
      good.replace("\n5\n", "\n05\n"),
      good.replace("\n5\n", "\n\n"),
      good.replace("\n5\n", "\n0\n"),
      `\n${good}`,
      `${ORIGIN}\n5\n${toBase64(root(5)).slice(0, -1)}\n`,
      `${ORIGIN}\n5\n`,
      "",
    ])
      expect(() => parseCheckpoint(text), JSON.stringify(text)).toThrow(Refused);
  });

  it("is believed when the log's key has signed it", async () => {
    const keys = await firstKey(verifier, one.key());
    const opened = await openCheckpoint(verifier, keys, checkpoint(7, root(7), one));
    expect([opened.checkpoint.size, opened.key.text]).toEqual([7n, one.key()]);
    await refused(openCheckpoint(verifier, keys, checkpoint(7, root(7), two)));
    await refused(openCheckpoint(verifier, keys, checkpoint(7, root(7), one, "other.example")));
    await refused(firstKey(verifier, one.key(4)));
    // Unknown signatures beside the known one are none of our business; a known one that does not fit is.
    const good = checkpoint(7, root(7), one);
    await openCheckpoint(verifier, keys, good + new Signer(ORIGIN, 9).line("x\n"));
    await refused(openCheckpoint(verifier, keys, good + one.line("x\n")));
  });

  it("of which any byte was changed is not believed", async () => {
    const keys = await firstKey(verifier, one.key());
    const good = utf8(checkpoint(7, root(7), one));
    for (let place = 0; place < good.length; place += 1)
      for (const bit of [0, 3, 5]) {
        const text = new TextDecoder().decode(flipped(good, place, bit));
        await refused(openCheckpoint(verifier, keys, text));
      }
    for (let length = 0; length < good.length; length += 1)
      await refused(openCheckpoint(verifier, keys, new TextDecoder().decode(good.slice(0, length))));
  });

  it("is not judged where the browser cannot", async () => {
    const without = verifierOf({
      digest: subtle.digest.bind(subtle),
      importKey: async () => {
        throw new DOMException("Unrecognized name.", "NotSupportedError");
      },
    } as unknown as SubtleCrypto);
    const keys = await firstKey(without, one.key());
    await expect(openCheckpoint(without, keys, checkpoint(7, root(7), one))).rejects.toThrow(Unable);
    await expect(firstKey(verifierOf(undefined), one.key())).rejects.toThrow(Unable);
  });
});

describe("keys that follow one another", () => {
  it("sign each for its own stretch", async () => {
    const keys = await succeed(
      verifier,
      await firstKey(verifier, one.key()),
      succession(10, root(10), one, two),
    );
    for (const [size, signer, believed] of [
      [9, one, true],
      [10, one, true],
      [11, one, false],
      [9, two, false],
      [10, two, true],
      [30, two, true],
      [30, three, false],
    ] as const) {
      const opened = openCheckpoint(verifier, keys, checkpoint(size, root(size), signer));
      if (believed) expect((await opened).key.text).toBe(signer.key());
      else await refused(opened);
    }
    for (const signer of [one, two])
      await refused(openCheckpoint(verifier, keys, checkpoint(10, root(9), signer)));
  });

  it("are learned from a good statement only", async () => {
    const first = await firstKey(verifier, one.key());
    const good = succession(10, root(10), one, two);
    const second = await succeed(verifier, first, good);
    const later = (previous: Signer, next: Signer, size = 20) => succession(size, root(size), previous, next);
    await refused(succeed(verifier, second, later(one, three)));
    await refused(succeed(verifier, second, later(new Signer(ORIGIN, 7), three)));
    await refused(succeed(verifier, second, later(two, one)));
    await refused(succeed(verifier, second, later(two, three, 9)));
    await refused(succeed(verifier, first, later(new Signer("other.example", 1), two)));
    await refused(succeed(verifier, first, later(one, new Signer("other.example", 2))));
    await refused(succeed(verifier, first, checkpoint(20, root(20), one)));
    const text = good.slice(0, good.indexOf("\n\n") + 1);
    await refused(succeed(verifier, first, `${text}\n${one.line(text)}`));
    await refused(succeed(verifier, first, `${text}\n${two.line(text)}`));
    const bytes = utf8(good);
    for (let place = 0; place < bytes.length; place += 1)
      await refused(succeed(verifier, first, new TextDecoder().decode(flipped(bytes, place))));
  });
});

describe("a witness", () => {
  it("signs the text with the time", async () => {
    const witness = new Signer("witness.example/w1", 4);
    const text = checkpointText(12, root(12));
    const note = `${text}\n${one.line(text)}${witness.cosign(text, 1_790_000_000)}`;
    const { key, signed } = await openCosignature(verifier, note, witness.key(4));
    expect([key.name, signed.at]).toEqual(["witness.example/w1", 1_790_000_000]);
    await refused(openCosignature(verifier, note, witness.key(1)));
    await refused(openCosignature(verifier, note, new Signer("witness.example/w1", 5).key(4)));
    const other = `${text}\n${one.line(text)}${witness.cosign(`${text}x\n`, 1_790_000_000)}`;
    await refused(openCosignature(verifier, other, witness.key(4)));
    const start = utf8(note).length - utf8(witness.cosign(text, 1_790_000_000)).length;
    const bytes = utf8(note);
    for (let place = start; place < bytes.length; place += 1)
      await refused(
        openCosignature(verifier, new TextDecoder().decode(flipped(bytes, place)), witness.key(4)),
      );
  });
});
