import { describe, expect, test } from "vitest";
import { ask, askOnce } from "./client";
import { ApiError, problem, unreachable } from "./error";
import { Intent } from "./intent";

const refused = {
  type: "/errors/validation_failed",
  title: "Validation failed",
  status: 422,
  detail: "Some values cannot be accepted.",
  code: "validation_failed",
  request_id: "7c0e",
  errors: [{ pointer: "/quantity", code: "too_small", detail: "At least 0.01 lots." }],
};

describe("a problem document", () => {
  test("keeps its code, request id and field errors", () => {
    const error = problem(422, refused);
    expect(error).toMatchObject({ status: 422, code: "validation_failed", requestId: "7c0e" });
    expect(error.field("quantity")).toBe("At least 0.01 lots.");
    expect(error.field("price")).toBeNull();
    expect(error.outcomeUnknown).toBe(false);
  });
  test("may point into the body with a fragment", () => {
    const errors = [{ pointer: "#/price", code: "x", detail: "No." }];
    expect(problem(422, { ...refused, errors }).field("price")).toBe("No.");
  });
  test("that is none still becomes an error with the status", () => {
    expect(problem(502, "<html>bad gateway</html>")).toMatchObject({
      status: 502,
      code: "unexpected_answer",
      fields: [],
    });
    expect(problem(500, null).outcomeUnknown).toBe(true);
    expect(problem(422, { errors: [null, 7, { pointer: "/x" }] }).fields).toEqual([]);
  });
});

const answer = (status: number, body: unknown) =>
  Promise.resolve({
    response: new Response(null, { status }),
    ...(status < 400 ? { data: body } : { error: body }),
  });

describe("asking", () => {
  test("returns the data or throws the problem", async () => {
    expect(await ask(answer(200, { a: 1 }))).toEqual({ a: 1 });
    await expect(ask(answer(422, refused))).rejects.toBeInstanceOf(ApiError);
  });
  test("a request without an answer is told apart from a refusal", async () => {
    await expect(ask(Promise.reject(new TypeError("fetch failed")))).rejects.toMatchObject({
      code: unreachable().code,
    });
  });
});

describe("a thing done at most once", () => {
  const numbered = () => {
    let count = 0;
    return new Intent(() => `key-${++count}`);
  };
  const order = { symbol: "EURUSD", quantity: "0.10" };

  test("repeats its key while the outcome is unknown", async () => {
    const intent = numbered();
    const keys: string[] = [];
    const send = (status: number) => (header: { "Idempotency-Key": string }) => {
      keys.push(header["Idempotency-Key"]);
      return answer(status, status < 400 ? {} : null);
    };
    await expect(askOnce(intent, order, send(503))).rejects.toBeInstanceOf(ApiError);
    await askOnce(intent, order, send(201));
    await askOnce(intent, order, send(201));
    expect(keys).toEqual(["key-1", "key-1", "key-2"]);
  });
  test("takes a new key after a refusal, and for another body", async () => {
    const intent = numbered();
    await expect(askOnce(intent, order, () => answer(422, refused))).rejects.toBeInstanceOf(ApiError);
    expect(intent.keyFor(order)).toBe("key-2");
    expect(intent.keyFor({ ...order, quantity: "0.20" })).toBe("key-3");
  });
});
