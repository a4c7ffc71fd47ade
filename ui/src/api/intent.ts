/**
 * Gives one idempotency key to one thing a person wants done. While the outcome is unknown (no answer, a server failure), asking for the same body
 * again yields the same key, so a retry cannot place the order twice. Once the outcome is known the next request is a new one.
 */
export class Intent {
  private body: string | null = null;
  private key = "";

  constructor(private readonly newKey: () => string = () => crypto.randomUUID()) {}

  keyFor(body: unknown): string {
    const text = JSON.stringify(body);
    if (text !== this.body) {
      this.body = text;
      this.key = this.newKey();
    }
    return this.key;
  }

  settled(): void {
    this.body = null;
  }
}
