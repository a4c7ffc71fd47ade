import type { DocumentKind, IdentityCheck, IdentityDocument, IdentityStanding } from "../api/types";

const standings: Record<IdentityStanding, { word: string; tone: string; own: string }> = {
  none: {
    word: "Not shown",
    tone: "",
    own: "Nothing was shown yet. A payout waits until it is known who you are.",
  },
  started: {
    word: "Started",
    tone: "expired",
    own: "Add what is missing, then hand everything in.",
  },
  submitted: {
    word: "Handed in",
    tone: "active",
    own: "Somebody looks at it. Nothing more is needed now.",
  },
  verified: { word: "Verified", tone: "passed", own: "It is known who you are." },
  refused: { word: "Refused", tone: "failed", own: "What was shown is not enough. Show it anew." },
  expired: { word: "Expired", tone: "expired", own: "It was known who you are; show it anew." },
};

export function standingWord(standing: IdentityStanding): string {
  return standings[standing].word;
}

export function standingTone(standing: IdentityStanding): string {
  return standings[standing].tone;
}

export function standingText(standing: IdentityStanding): string {
  return standings[standing].own;
}

/** The word of a standing that comes as a text. */
export function isStanding(text: string): text is IdentityStanding {
  return text in standings;
}

const kinds: Record<DocumentKind, string> = {
  passport: "Passport",
  id_card: "Identity card",
  driving_licence: "Driving licence",
  address: "Proof of address",
  selfie: "Picture of yourself",
};

export const documentKinds = Object.keys(kinds) as DocumentKind[];

export function kindWord(kind: DocumentKind): string {
  return kinds[kind];
}

/** Whether a document shows who somebody is; one such is needed. */
export function showsWho(kind: DocumentKind): boolean {
  return kind === "passport" || kind === "id_card" || kind === "driving_licence";
}

/** The limits of the server. */
export const MOST_BYTES = 5 * 1024 * 1024;
export const MOST_DOCUMENTS = 8;

/** Whether more may be shown. */
export function mayShow(check: Pick<IdentityCheck, "standing">): boolean {
  return check.standing !== "submitted" && check.standing !== "verified";
}

/** What stands between what was shown and handing it in; null if nothing does. */
export function missing(check: Pick<IdentityCheck, "standing" | "documents">): string | null {
  const who = "a passport, an identity card or a driving licence";
  if (check.standing === "refused" || check.standing === "expired") return `Show ${who} anew.`;
  return check.documents.some(({ kind }) => showsWho(kind)) ? null : `Show ${who}.`;
}

const beginnings: readonly { type: string; bytes: readonly number[] }[] = [
  { type: "image/jpeg", bytes: [0xff, 0xd8, 0xff] },
  { type: "image/png", bytes: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a] },
  { type: "application/pdf", bytes: [0x25, 0x50, 0x44, 0x46, 0x2d] },
];

/** How many bytes say which file it is. */
export const TELLING_BYTES = 8;

/** What is wrong with a file by its size and its first bytes, whatever its name is; null if nothing. */
export function fileFault(size: number, first: Uint8Array): string | null {
  if (size === 0) return "The file is empty.";
  if (size > MOST_BYTES) return `The file has ${sizeText(size)}; at most 5 MiB are taken.`;
  const known = beginnings.some(({ bytes }) => bytes.every((byte, index) => first[index] === byte));
  return known ? null : "Choose a JPEG, a PNG or a PDF; this file is none of them, whatever its name is.";
}

/** "312 KiB", "4.8 MiB". */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KiB`;
  return `${(bytes / (1024 * 1024)).toFixed(1)} MiB`;
}

const endings: Record<string, string> = {
  "image/jpeg": "jpg",
  "image/png": "png",
  "application/pdf": "pdf",
};

/** Under which name a document is saved: nobody's name is in it. */
export function documentFile(document: Pick<IdentityDocument, "id" | "kind" | "media_type">): string {
  return `${document.kind}-${document.id}.${endings[document.media_type] ?? "bin"}`;
}
