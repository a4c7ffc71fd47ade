import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { analytics, api } from "./client";
import { forgetToken, noticed, withToken } from "./consistency";

const answer = (token: string) => new Headers({ "consistency-token": token });
const sent = () => withToken(new Request("http://localhost/")).headers.get("consistency-token");

beforeEach(forgetToken);
afterEach(() => vi.unstubAllGlobals());

describe("the consistency token", () => {
  it("is not sent before an answer carried one", () => {
    noticed(new Headers());
    expect(sent()).toBeNull();
  });
  it("is the greatest of those seen, whatever their order", () => {
    noticed(answer("00000000014fa0e8"));
    noticed(answer("0000000100000000"));
    noticed(answer("00000000ffffffff"));
    expect(sent()).toBe("0000000100000000");
  });
  it("is ignored where it is none", () => {
    noticed(answer("00000000014fa0e8"));
    for (const text of ["", "f", "fffffffffffffffff", "FFFFFFFFFFFFFFFF", "zzzzzzzzzzzzzzzz"])
      noticed(answer(text));
    expect(sent()).toBe("00000000014fa0e8");
  });
  it("goes from the answers of the API to the requests to analytics, and to no others", async () => {
    const asked: Request[] = [];
    vi.stubGlobal("fetch", async (request: Request) => {
      asked.push(request);
      return Response.json({}, { headers: { "Consistency-Token": "00000000014fa0e8" } });
    });
    const base = { baseUrl: "http://localhost", fetch };
    await analytics.GET("/v1/analytics/business", base);
    await api.POST("/v1/auth/sign-out", { ...base, body: {} });
    await api.GET("/v1/me", base);
    await analytics.GET("/v1/analytics/business", base);
    expect(asked.map((request) => request.headers.get("consistency-token"))).toEqual([
      null,
      null,
      null,
      "00000000014fa0e8",
    ]);
  });
});
