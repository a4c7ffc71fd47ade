import { describe, expect, it } from "vitest";
import { askFile, fileNameOf } from "./download";
import { ApiError } from "./error";

describe("a file of the API", () => {
  it("has the name that the answer gives it", () => {
    expect(fileNameOf('attachment; filename="export-1.zip"', "x")).toBe("export-1.zip");
    for (const none of [null, "attachment", 'attachment; filename=""', 'attachment; filename="../x"'])
      expect(fileNameOf(none, "archive.zip")).toBe("archive.zip");
  });
  it("comes with its bytes, or with the refusal", async () => {
    const headers = { "content-disposition": 'attachment; filename="a.zip"' };
    const blob = new Blob(["zip"]);
    const good = { data: blob, response: new Response(null, { headers }) };
    expect(await askFile(Promise.resolve(good), "x")).toEqual({ name: "a.zip", blob });
    const error = { code: "reason_missing", title: "A reason is needed." };
    const refused = askFile(Promise.resolve({ error, response: new Response(null, { status: 400 }) }), "x");
    await expect(refused).rejects.toThrow(ApiError);
    await expect(refused).rejects.toMatchObject({ code: "reason_missing", status: 400 });
  });
});
