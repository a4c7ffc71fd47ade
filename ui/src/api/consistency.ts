// The API answers a write with a token: how far the database was when the write was done. Analytics, which reads copies of the
// database, is given the newest one seen, and answers nothing that is older than what this page has written.

const NAME = "Consistency-Token";
const TOKEN = /^[0-9a-f]{16}$/;

let newest: string | null = null;

/** Keeps the token of an answer, if it is the greatest so far. All are of one length, so the order of the texts is theirs. */
export function noticed(headers: Headers): void {
  const token = headers.get(NAME);
  if (token === null || !TOKEN.test(token)) return;
  if (newest === null || token > newest) newest = token;
}

/** The request with the newest token; as it was where nothing has been written yet. */
export function withToken(request: Request): Request {
  if (newest !== null) request.headers.set(NAME, newest);
  return request;
}

/** As before the first answer; for tests. */
export function forgetToken(): void {
  newest = null;
}
