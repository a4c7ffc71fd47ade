import { describe, expect, it } from "vitest";
import { archiveCommand, signatureOf, verifyCommand } from "./signature";

describe("the signature of a receipt", () => {
  it("is read from its document", () => {
    const document = { format: "tradesense.receipt/1", key: "b2173b4a", signature: "34db", evidence: {} };
    expect(signatureOf(document)).toEqual({
      format: "tradesense.receipt/1",
      key: "b2173b4a",
      signature: "34db",
    });
  });
  it("is missing where a part of it is", () => {
    expect(signatureOf({ key: "b2173b4a" })).toBeNull();
    expect(signatureOf(null)).toBeNull();
    expect(signatureOf("text")).toBeNull();
  });
  it("is checked with a command that names file and key", () => {
    expect(verifyCommand("receipt-A-1-2.json", "1b7e")).toBe(
      "tradesense receipt verify receipt-A-1-2.json --key 1b7e",
    );
  });
  it("of an archive is checked likewise", () => {
    expect(archiveCommand("export-7.zip", "1b7e")).toBe("tradesense privacy verify export-7.zip --key 1b7e");
  });
});
