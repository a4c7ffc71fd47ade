import type { Bytes } from "./bytes";

/** What was shown is not what was signed, and why. */
export class Refused extends Error {
  override name = "Refused";
}

/** Whether it holds cannot be told here, and why. */
export class Unable extends Error {
  override name = "Unable";
}

/** What every check needs. */
export interface Verifier {
  sha256(bytes: Bytes): Promise<Bytes>;
  /** Whether the Ed25519 signature is that of the key over these bytes. */
  signed(key: Bytes, message: Bytes, signature: Bytes): Promise<boolean>;
}

const INSECURE =
  "This page was not opened over HTTPS, and browsers neither hash nor verify on such pages. Open it over HTTPS, or use the command.";
const NO_ED25519 =
  "This browser cannot verify Ed25519 signatures. Use one that can (Chrome 137, Firefox 129, Safari 17 and later), or the command.";

/** Over the browser's own cryptography; nothing here computes a hash or a signature itself. */
export function verifierOf(subtle: SubtleCrypto | undefined): Verifier {
  return {
    async sha256(bytes) {
      if (!subtle) throw new Unable(INSECURE);
      return new Uint8Array(await subtle.digest("SHA-256", bytes));
    },
    async signed(key, message, signature) {
      if (!subtle) throw new Unable(INSECURE);
      let imported: CryptoKey;
      try {
        imported = await subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
      } catch (thrown) {
        if (thrown instanceof DOMException && thrown.name === "DataError") return false;
        throw new Unable(NO_ED25519);
      }
      return subtle.verify({ name: "Ed25519" }, imported, signature, message);
    },
  };
}

/** That of this page. */
export const browserVerifier = verifierOf(globalThis.crypto?.subtle);
