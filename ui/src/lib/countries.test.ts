import { expect, it } from "vitest";
import { countries, countryName } from "./countries";

it("knows every country once, by name", () => {
  expect(new Set(countries.map(({ code }) => code)).size).toBe(249);
  expect(countryName("DE")).toBe("Germany");
  expect(countryName("??")).toBe("??");
  const names = countries.map(({ name }) => name);
  expect(names.indexOf("Germany")).toBeLessThan(names.indexOf("Zimbabwe"));
});
