export interface FieldProblem {
  /** JSON pointer into the request's body, such as "/quantity". */
  pointer: string;
  code: string;
  detail: string;
}

/** A refusal or failure of the API. `code` is stable and documented; `detail` is written for the person. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly requestId: string | null,
    readonly fields: readonly FieldProblem[],
  ) {
    super(detail || title);
    this.name = "ApiError";
  }

  /** What is wrong with one field of the body, if the server said so. */
  field(name: string): string | null {
    return this.fields.find((problem) => problem.pointer.replace(/^[#/]+/, "") === name)?.detail ?? null;
  }

  /** True when the request may have taken effect all the same, so that a retry must carry the same key. */
  get outcomeUnknown(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

function text(source: Record<string, unknown>, key: string): string | null {
  const value = source[key];
  return typeof value === "string" ? value : null;
}

function fieldProblems(value: unknown): FieldProblem[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown) => {
    if (typeof item !== "object" || item === null) return [];
    const entry = item as Record<string, unknown>;
    const pointer = text(entry, "pointer");
    const detail = text(entry, "detail");
    return pointer === null || detail === null ? [] : [{ pointer, code: text(entry, "code") ?? "", detail }];
  });
}

/** Maps an answer's body to an error. An answer that is no problem document (a proxy's page, say) keeps its status. */
export function problem(status: number, body: unknown): ApiError {
  const source = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const title = text(source, "title") ?? `The server answered with status ${status}`;
  return new ApiError(
    status,
    text(source, "code") ?? "unexpected_answer",
    title,
    text(source, "detail") ?? title,
    text(source, "request_id"),
    fieldProblems(source.errors),
  );
}

/** The request got no answer: no network, or the connection broke. */
export function unreachable(): ApiError {
  const detail = "The server could not be reached. Check your connection and try again.";
  return new ApiError(0, "unreachable", "No connection", detail, null, []);
}

/** Anything thrown, as an `ApiError`; used at the edge of a screen. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const detail = thrown instanceof Error ? thrown.message : "Something went wrong on this page.";
  return new ApiError(-1, "page_error", "This page failed", detail, null, []);
}
