/** How long a reason counts: what is looked up later is other work. */
const LASTS_MS = 3_600_000;

/** The longest reason, in characters, as the server has it. */
const MOST = 500;

/** Why somebody looks at somebody's data: said once for each of them, kept in this page's memory alone. */
export class Reasons {
  private readonly given = new Map<string, { reason: string; until: number }>();

  constructor(private readonly now: () => number = () => Date.now()) {}

  give(asker: string, person: string, reason: string): void {
    this.given.set(`${asker} ${person}`, { reason, until: this.now() + LASTS_MS });
  }

  of(asker: string, person: string): string | null {
    const given = this.given.get(`${asker} ${person}`);
    return given && this.now() < given.until ? given.reason : null;
  }

  forget(asker: string, person: string): void {
    this.given.delete(`${asker} ${person}`);
  }

  forgetAll(): void {
    this.given.clear();
  }
}

export const reasons = new Reasons();

/** What is wrong with a reason; null if nothing is. */
export function reasonProblem(text: string): string | null {
  const length = [...text.trim()].length;
  if (length === 0) return "Say why; it is written down.";
  return length > MOST ? `Say it in at most ${MOST} characters; these are ${length}.` : null;
}

/** A reason as a header carries it: on one line, each byte of its UTF-8 as one character. */
export function headerText(reason: string): string {
  const bytes = new TextEncoder().encode(reason.trim().replace(/\s+/g, " "));
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
