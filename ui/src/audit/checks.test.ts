import { describe, expect, it } from "vitest";
import type { AuditCheckpoint, AuditConsistency, AuditKey, ProvenEntry } from "../api/types";
import { toBase64, toHex } from "./bytes";
import {
  type Check,
  judgeContinuation,
  judgeEntry,
  judgeLog,
  type Log,
  microsOf,
  outcome,
  type Prove,
} from "./checks";
import type { Memory } from "./memory";
import {
  act,
  checkpoint,
  checkpointText,
  mth,
  ORIGIN,
  path,
  proof,
  Signer,
  sha,
  succession,
  verifier,
} from "./testing";
import { Unable } from "./verifier";

const signer = new Signer(ORIGIN, 1);
const next = new Signer(ORIGIN, 2);
const witness = new Signer("witness.example/w1", 4);
const LONG = "x".repeat(20_000);
const entries = Array.from({ length: 24 }, (_, index) => act(index, index === 5 ? LONG : "{}", index === 5));
/** The same log with one entry rewritten. */
const rewritten = entries.map((entry, index) => (index === 3 ? act(3, '{"other":1}') : entry));

function shownCheckpoint(size: number, of = entries, by = signer): AuditCheckpoint {
  const root = mth(of.slice(0, size));
  const text = checkpointText(size, root);
  return {
    size,
    at: "2026-09-21T14:13:20.000000Z",
    root: toBase64(root),
    note: checkpoint(size, root, by) + witness.cosign(text, 1_790_000_100),
    witnesses: [witness.key(4)],
  };
}

const keys: AuditKey[] = [{ number: 1, key: signer.key(), after_size: 0, statement: null }];

/** The server, with its log. */
const proving =
  (of = entries): Prove =>
  async (from, to) => ({
    from: Number(from),
    to: Number(to),
    proof: proof(Number(from), of.slice(0, Number(to))).map(toBase64),
    checkpoint: shownCheckpoint(Number(to), of),
  });

function knowing(size: number, of = entries): Memory {
  const root = toBase64(mth(of.slice(0, size)));
  const at = "2026-09-21T13:00:00.000000Z";
  return { key: signer.key(), given: true, since: at, seen: [{ size: String(size), root, at }] };
}

const judged = (memory: Memory | null, of = entries, size = 24) =>
  judgeLog(verifier, memory, keys, shownCheckpoint(size, of), proving(of));
const states = (checks: readonly Check[]) => checks.map(({ state }) => state);

describe("the log", () => {
  it("holds where it continues what this browser saw", async () => {
    const log = await judged(knowing(10));
    expect(states(log.checks)).toEqual(["holds", "holds", "holds"]);
    expect(outcome(log.checks)).toBe("holds");
    expect(log.checks[0]?.said).toContain("the one that you gave");
    expect(log.witnesses.map(({ name, at, check }) => [name, at, check.state])).toEqual([
      ["witness.example/w1", 1_790_000_100, "holds"],
    ]);
    expect(outcome((await judged(knowing(24))).checks)).toBe("holds");
  });

  it("seen for the first time is said to be so", async () => {
    const log = await judged(null);
    expect(states(log.checks)).toEqual(["holds", "holds", "unchecked"]);
    expect(log.checks[0]?.said).toContain("for the first time");
  });

  it("that was rewritten, cut or forked between two visits is refused", async () => {
    expect(states((await judged(knowing(10), rewritten)).checks)).toEqual(["holds", "holds", "refused"]);
    expect(states((await judged(knowing(24), rewritten)).checks)).toEqual(["holds", "holds", "refused"]);
    const cut = await judged(knowing(20), entries, 19);
    expect(states(cut.checks)).toEqual(["holds", "holds", "refused"]);
    expect(cut.checks[2]?.said).toContain("20 entries");
    // A proof for the log as it was does not help a log that is another one.
    const lying = judgeLog(verifier, knowing(10), keys, shownCheckpoint(24, rewritten), proving(entries));
    expect(states((await lying).checks)).toEqual(["holds", "holds", "refused"]);
  });

  it("under another key than the known one is refused", async () => {
    const other: AuditKey[] = [{ number: 1, key: next.key(), after_size: 0, statement: null }];
    const log = await judgeLog(verifier, knowing(10), other, shownCheckpoint(24, entries, next), proving());
    expect(states(log.checks)).toEqual(["refused", "unchecked", "holds"]);
    expect(log.keys).toBeNull();
  });

  it("goes on under the next key by a statement of the one before", async () => {
    const statement = succession(12, mth(entries.slice(0, 12)), signer, next);
    const two: AuditKey[] = [...keys, { number: 2, key: next.key(), after_size: 12, statement }];
    const judge = (served: AuditKey[], by: Signer) =>
      judgeLog(verifier, knowing(10), served, shownCheckpoint(24, entries, by), proving());
    expect(outcome((await judge(two, next)).checks)).toBe("holds");
    expect(states((await judge(two, signer)).checks)).toEqual(["holds", "refused", "holds"]);
    const unsaid = two.map((key) => ({ ...key, statement: null }));
    expect((await judge(unsaid, next)).checks[0]?.state).toBe("refused");
    const renamed = two.map((key) => ({ ...key, key: signer.key() }));
    expect((await judge(renamed, next)).checks[0]?.state).toBe("refused");
  });

  it("that says another size or root than its note is refused", async () => {
    for (const lie of [{ size: 25 }, { root: toBase64(sha()) }]) {
      const newest = { ...shownCheckpoint(24), ...lie };
      const log = await judgeLog(verifier, knowing(10), keys, newest, proving());
      expect(states(log.checks)).toEqual(["holds", "refused", "refused"]);
    }
  });

  it("shows a forged cosignature as what it is", async () => {
    const newest = shownCheckpoint(24);
    const moved = { ...newest, note: checkpoint(24, mth(entries), signer) + witness.cosign("other\n", 1) };
    const log = await judgeLog(verifier, knowing(10), keys, moved, proving());
    expect(log.witnesses.map(({ at, check }) => [at, check.state])).toEqual([[null, "refused"]]);
  });

  it("is not judged where the browser cannot hash or verify", async () => {
    const without = {
      sha256: verifier.sha256,
      signed: async () => {
        throw new Unable("not here");
      },
    };
    const log = await judgeLog(without, knowing(10), keys, shownCheckpoint(24), proving());
    expect(states(log.checks)).toEqual(["holds", "unchecked", "holds"]);
    expect(outcome(log.checks)).toBe("unchecked");
    const nothing = { sha256: without.signed, signed: without.signed };
    const blind = await judgeLog(nothing, knowing(10), keys, shownCheckpoint(24), proving());
    expect(states(blind.checks)).toEqual(["unchecked", "unchecked", "unchecked"]);
  });
});

function proven(index: number, size = 24, of = entries): ProvenEntry {
  const bytes = of[index] as Uint8Array;
  const hashes = path(index, of.slice(0, size)).map((hash) => `${toBase64(hash)}\n`);
  return {
    entry: {
      index,
      source: "act",
      id: String(index),
      at: `2026-09-21T14:13:20.0000${String(index).padStart(2, "0")}Z`,
      actor: "07070707-0707-0707-0707-070707070707",
      request_id: null,
      action: "privacy.read",
      purpose: "",
      object_kind: "person",
      object: "p",
      detail: index === 5 ? LONG : "{}",
      before: null,
      after: null,
      hash: toBase64(sha(Uint8Array.of(0), bytes)),
    },
    bytes: toHex(bytes),
    proof: `c2sp.org/tlog-proof@v1\nindex ${index}\n${hashes.join("")}\n${shownCheckpoint(size, of).note}`,
  };
}

describe("an entry", () => {
  const judge = async (entry: ProvenEntry, log?: Log, prove = proving()) =>
    judgeEntry(verifier, log ?? (await judged(knowing(10), entries, 20)), entry, prove);

  it("is in the log", async () => {
    for (const index of [0, 5, 23]) {
      const checks = await judge(proven(index));
      expect(states(checks), JSON.stringify(checks)).toEqual(["holds", "holds", "holds", "holds", "holds"]);
    }
  });

  it("that no checkpoint covers yet has its bytes and hash alone", async () => {
    expect(states(await judge({ ...proven(4), proof: null }))).toEqual(["holds", "holds"]);
  });

  it("of which anything is shown differently is refused, with its name", async () => {
    const good = proven(4);
    const named = async (lie: Partial<ProvenEntry["entry"]>, named: string) => {
      const [first] = await judge({ ...good, entry: { ...good.entry, ...lie } });
      expect([first?.state, first?.said]).toEqual([
        "refused",
        `The entry's bytes have another ${named} than is shown.`,
      ]);
    };
    await named({ index: 6 }, "index");
    await named({ source: "command" }, "table");
    await named({ id: "5" }, "id");
    await named({ at: "2026-09-21T14:13:20.000005Z" }, "time");
    await named({ at: "yesterday" }, "time");
    await named({ actor: null }, "actor");
    await named({ request_id: "x" }, "request");
    await named({ action: "privacy.export" }, "action");
    await named({ purpose: "x" }, "purpose");
    await named({ object_kind: "account" }, "kind of object");
    await named({ object: "q" }, "object");
    await named({ before: "00" }, "state before");
    await named({ after: "00" }, "state after");
    await named({ detail: "{ }" }, "detail");
    const long = proven(5);
    const [first] = await judge({ ...long, entry: { ...long.entry, detail: LONG.replace("x", "y") } });
    expect(first?.state).toBe("refused");
  });

  it("of which any byte was changed is refused", async () => {
    const good = proven(4);
    for (let place = 0; place < good.bytes.length; place += 2) {
      const digit = good.bytes[place] === "1" ? "2" : "1";
      const bytes = good.bytes.slice(0, place) + digit + good.bytes.slice(place + 1);
      const [, hash, way] = await judge({ ...good, bytes });
      expect([hash?.state, way?.state]).toEqual(["refused", "refused"]);
    }
    expect(states(await judge({ ...good, bytes: "XY" }))[0]).toBe("refused");
  });

  it("with a proof that is cut, longer, of another place or altered is refused", async () => {
    const good = proven(4);
    const text = good.proof ?? "";
    const lines = text.split("\n");
    const refused = async (proof: string) => {
      expect(outcome(await judge({ ...good, proof })), proof).toBe("refused");
    };
    for (let length = 0; length < text.length; length += 7) await refused(text.slice(0, length));
    for (let place = 0; place < 2 + 5; place += 1)
      await refused(lines.filter((_, at) => at !== place).join("\n"));
    for (let place = 2; place < 2 + 5; place += 1)
      await refused(lines.map((line, at) => (at === place ? toBase64(sha()) : line)).join("\n"));
    await refused(text.replace("index 4", "index 5"));
    await refused(text.replace("index 4", `index 4\n${toBase64(sha())}`));
    await refused(text.replace("index 4", `index 4${`\n${toBase64(sha())}`.repeat(64)}`));
    const line = text.replace("index 4", "extra YWJj\nindex 4");
    expect(outcome(await judge({ ...good, proof: line }))).toBe("holds");
  });

  it("of a log that is another one is refused", async () => {
    const forked = proven(4, 24, rewritten);
    const checks = await judge(forked, undefined, proving(rewritten));
    expect(states(checks)).toEqual(["holds", "holds", "holds", "holds", "refused"]);
    const stranger = { ...proven(4), proof: (proven(4).proof ?? "").replace(/\n\n[\s\S]*$/, "\n\n") };
    stranger.proof += checkpoint(24, mth(entries), next);
    expect(states(await judge(stranger))).toEqual(["holds", "holds", "holds", "refused", "holds"]);
  });

  it("says nothing of a log that is not believed", async () => {
    const log = await judged({ ...knowing(10), key: next.key() });
    expect(states(await judge(proven(4), log))).toEqual([
      "holds",
      "holds",
      "holds",
      "unchecked",
      "unchecked",
    ]);
  });
});

describe("one checkpoint after another", () => {
  it("holds, and nothing else does", async () => {
    const { keys: known } = await judged(knowing(10));
    const answer = (from: number, to: number, of = entries): Promise<AuditConsistency> =>
      proving(of)(BigInt(from), BigInt(to));
    const judge = async (from: AuditCheckpoint, to: AuditConsistency) =>
      states(await judgeContinuation(verifier, known, from, to));
    expect(await judge(shownCheckpoint(7), await answer(7, 24))).toEqual(["holds", "holds", "holds"]);
    expect(await judge(shownCheckpoint(24), await answer(24, 24))).toEqual(["holds", "holds", "holds"]);
    expect(await judge(shownCheckpoint(7), await answer(7, 24, rewritten))).toEqual([
      "holds",
      "holds",
      "refused",
    ]);
    expect(await judge(shownCheckpoint(7, entries, next), await answer(7, 24))).toEqual([
      "refused",
      "holds",
      "holds",
    ]);
    const good = await answer(7, 24);
    expect(await judge(shownCheckpoint(7), { ...good, proof: good.proof.slice(1) })).toEqual([
      "holds",
      "holds",
      "refused",
    ]);
    expect(await judge(shownCheckpoint(7), { ...good, proof: ["no hash"] })).toEqual([
      "holds",
      "holds",
      "refused",
    ]);
  });
});

describe("the outcome", () => {
  it("is what the worst of the checks says", () => {
    const of = (...list: Check["state"][]) => outcome(list.map((state) => ({ name: "", state, said: "" })));
    expect(of("holds", "holds")).toBe("holds");
    expect(of("holds", "unchecked")).toBe("unchecked");
    expect(of("unchecked", "refused", "holds")).toBe("refused");
    expect(of()).toBe("unchecked");
  });
});

describe("an instant", () => {
  it("is read to the microsecond", () => {
    expect(microsOf("2026-09-21T14:13:20Z")).toBe(1_790_000_000_000_000n);
    expect(microsOf("2026-09-21T14:13:20.5Z")).toBe(1_790_000_000_500_000n);
    expect(microsOf("2026-09-21T14:13:20.000001+00:00")).toBe(1_790_000_000_000_001n);
    expect(microsOf("2026-09-21T14:13:20.0000001Z")).toBeNull();
    expect(microsOf("2026-09-21 14:13:20Z")).toBeNull();
  });
});
