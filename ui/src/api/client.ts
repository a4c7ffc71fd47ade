import createClient from "openapi-fetch";
import type { paths as AnalyticsPaths } from "./analytics-schema";
import { noticed, withToken } from "./consistency";
import { ApiError, problem, unreachable } from "./error";
import { Intent } from "./intent";
import type { paths } from "./schema";

const sameOrigin = {
  baseUrl: "",
  credentials: "same-origin",
  headers: { Accept: "application/json" },
} as const;

/** The typed client. Every path, parameter and body comes from api/openapi.json through `npm run codegen`. */
export const api = createClient<paths>(sameOrigin);
api.use({ onResponse: ({ response }) => noticed(response.headers) });

/** That of the analytics role, from api/analytics.openapi.json: it is told what this page has written. */
export const analytics = createClient<AnalyticsPaths>(sameOrigin);
analytics.use({ onRequest: ({ request }) => withToken(request) });

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer, or an `ApiError`. */
export async function ask<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await request;
  } catch (thrown) {
    // fetch rejects with a TypeError when there was no answer; an abort is the caller's own doing.
    if (thrown instanceof DOMException && thrown.name === "AbortError") throw thrown;
    throw unreachable();
  }
  if (!answer.response.ok) throw problem(answer.response.status, answer.error);
  return answer.data as T;
}

/** Sends a request that must take effect at most once. The intent lives as long as the form or button that asks. */
export async function askOnce<T>(
  intent: Intent,
  body: unknown,
  send: (header: { "Idempotency-Key": string }) => Promise<Answer<T>>,
): Promise<T> {
  try {
    const data = await ask(send({ "Idempotency-Key": intent.keyFor(body) }));
    intent.settled();
    return data;
  } catch (thrown) {
    if (!(thrown instanceof ApiError && thrown.outcomeUnknown)) intent.settled();
    throw thrown;
  }
}

export { Intent };
