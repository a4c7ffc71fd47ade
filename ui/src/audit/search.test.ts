import { describe, expect, it } from "vitest";
import { addressOf, exportCommand, fieldOf, instantIn, isId, reasonOf, searchOf, wholeIn } from "./search";

describe("a search of the audit log", () => {
  it("is what the address says, and its address is the same again", () => {
    const search = { action: "privacy.", object_kind: "person", since: "2026-09-21T10:00:00Z" };
    const address = addressOf(search);
    expect(address).toBe("/operate/audit?action=privacy.&object_kind=person&since=2026-09-21T10%3A00%3A00Z");
    expect(searchOf(new URLSearchParams(address.split("?")[1]))).toEqual(search);
    expect(searchOf(new URLSearchParams("action=%20&other=1&cursor=7"))).toEqual({});
    expect(addressOf({ action: "" })).toBe("/operate/audit");
  });
  it("has its instants in UTC", () => {
    expect(instantIn("2026-09-21T10:00")).toBe("2026-09-21T10:00:00Z");
    expect(instantIn("2026-09-21T10:00:07")).toBe("2026-09-21T10:00:07Z");
    expect(instantIn("")).toBeUndefined();
    expect(fieldOf("2026-09-21T10:00:07Z")).toBe("2026-09-21T10:00:07");
    expect(fieldOf(undefined)).toBe("");
  });
  it("names people by their id", () => {
    expect(isId("0197b2c4-53a1-7c3e-9c3b-5d2f8a11e0d4")).toBe(true);
    expect(isId("trader@demo.example")).toBe(false);
  });
});

describe("an entry's reason", () => {
  it("is its purpose, or stands in its detail", () => {
    expect(reasonOf({ purpose: "T-1", detail: '{"reason":"T-2"}' })).toBe("T-1");
    expect(reasonOf({ purpose: "", detail: '{"reason":"T-2"}' })).toBe("T-2");
    for (const detail of ["{}", '{"reason":1}', "null", "text", ""])
      expect(reasonOf({ purpose: "", detail })).toBeNull();
  });
});

describe("an export", () => {
  it("is verified with a line that names file, key and what is trusted", () => {
    const wanted = { first: 0, end: 12, key: "a+1+b", trusted: null };
    expect(exportCommand(wanted)).toBe("tradesense audit verify --export audit-0-12.tsaudit --key a+1+b");
    expect(exportCommand({ ...wanted, trusted: "7" })).toBe(
      "tradesense audit verify --export audit-0-12.tsaudit --key a+1+b --trusted checkpoint-7.txt",
    );
  });
  it("has whole numbers for its ends", () => {
    expect(wholeIn(" 1,204 ")).toBe(1204);
    for (const text of ["", "-1", "1.5", "1e3", "x", "9007199254740993"]) expect(wholeIn(text)).toBeNull();
  });
});
