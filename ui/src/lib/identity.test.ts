import { describe, expect, it } from "vitest";
import type { DocumentKind } from "../api/types";
import {
  documentFile,
  documentKinds,
  fileFault,
  kindWord,
  MOST_BYTES,
  mayShow,
  missing,
  showsWho,
  sizeText,
} from "./identity";

const shown = (...kinds: DocumentKind[]) =>
  kinds.map((kind, index) => ({
    id: String(index),
    kind,
    media_type: "image/png",
    size: 10,
    uploaded_at: "2026-11-29T10:00:00Z",
  }));

describe("what is missing", () => {
  it("is a document that shows who somebody is", () => {
    expect(missing({ standing: "none", documents: [] })).toContain("passport");
    expect(missing({ standing: "started", documents: shown("address", "selfie") })).toContain("passport");
    expect(missing({ standing: "started", documents: shown("selfie", "id_card") })).toBeNull();
  });
  it("is everything anew after a refusal and when it has run out", () => {
    expect(missing({ standing: "refused", documents: shown("passport") })).toMatch(/anew/);
    expect(missing({ standing: "expired", documents: shown("passport") })).toMatch(/anew/);
  });
  it("is nothing while somebody looks, and once it is known", () => {
    expect(mayShow({ standing: "submitted" })).toBe(false);
    expect(mayShow({ standing: "verified" })).toBe(false);
    expect(mayShow({ standing: "refused" })).toBe(true);
  });
});

describe("a file", () => {
  const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  it("is known by its bytes", () => {
    expect(fileFault(100, png)).toBeNull();
    expect(fileFault(100, new TextEncoder().encode("%PDF-1.7"))).toBeNull();
    expect(fileFault(100, Uint8Array.of(0xff, 0xd8, 0xff, 0xe0))).toBeNull();
    expect(fileFault(100, new TextEncoder().encode("<html>"))).toContain("JPEG");
    expect(fileFault(2, Uint8Array.of(0xff, 0xd8))).toContain("JPEG");
  });
  it("has a size", () => {
    expect(fileFault(0, new Uint8Array())).toContain("empty");
    expect(fileFault(MOST_BYTES, png)).toBeNull();
    expect(fileFault(MOST_BYTES + 1, png)).toContain("5.0 MiB");
    expect(sizeText(512)).toBe("512 B");
    expect(sizeText(200_000)).toBe("195 KiB");
  });
  it("is saved under a name that says nobody's", () => {
    expect(documentFile({ id: "d1", kind: "passport", media_type: "application/pdf" })).toBe(
      "passport-d1.pdf",
    );
    expect(documentFile({ id: "d1", kind: "selfie", media_type: "what" })).toBe("selfie-d1.bin");
  });
  it("is of a kind that is said in words", () => {
    expect(documentKinds.filter(showsWho)).toHaveLength(3);
    for (const kind of documentKinds) expect(kindWord(kind)).not.toBe("");
  });
});
