/** What signs a receipt: the short name of the key and the signature, as its document carries them. */
export interface Signature {
  key: string;
  signature: string;
  format: string;
}

/** Reads the signature of a receipt's document; null when the document carries none. */
export function signatureOf(document: unknown): Signature | null {
  if (typeof document !== "object" || document === null) return null;
  const { key, signature, format } = document as Record<string, unknown>;
  if (typeof key !== "string" || typeof signature !== "string") return null;
  return { key, signature, format: typeof format === "string" ? format : "" };
}

/** The line that checks a downloaded receipt without the platform. */
export function verifyCommand(file: string, key: string): string {
  return `tradesense receipt verify ${file} --key ${key}`;
}

/** The line that checks a downloaded archive of somebody's data. */
export function archiveCommand(file: string, key: string): string {
  return `tradesense privacy verify ${file} --key ${key}`;
}
