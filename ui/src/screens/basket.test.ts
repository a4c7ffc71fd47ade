import { describe, expect, it } from "vitest";
import { problem } from "../api/error";
import { couponProblem, emptyBasket, fieldOf, lineText, orderOf, toggled } from "./basket";

const goods = { slug: "two-step", version: "abc", resetOf: null };

describe("the order of a basket", () => {
  it("says only what was chosen", () => {
    expect(orderOf(goods, emptyBasket)).toEqual({ program: "two-step", version: "abc" });
    const full = { addons: ["split", "again"], coupons: ["TEN"], country: "DE", currency: "EUR" };
    expect(orderOf({ ...goods, resetOf: "c1" }, full)).toEqual({
      program: "two-step",
      version: "abc",
      addons: ["again", "split"],
      coupons: ["TEN"],
      country: "DE",
      currency: "EUR",
      reset_of: "c1",
    });
  });
  it("is the same however the add-ons were ticked", () => {
    const one = toggled(toggled(emptyBasket, "a"), "b");
    const other = toggled(toggled(emptyBasket, "b"), "a");
    expect(orderOf(goods, one)).toEqual(orderOf(goods, other));
    expect(toggled(toggled(one, "a"), "b")).toEqual(emptyBasket);
  });
});

describe("a coupon that is typed", () => {
  it("is judged before it is sent", () => {
    expect(couponProblem(" ", [])).toMatch(/Type/);
    expect(couponProblem("ten percent", [])).toMatch(/letters/);
    expect(couponProblem(" ten ", ["TEN"])).toMatch(/already/);
    expect(couponProblem("spring-10", ["TEN"])).toBeNull();
  });
});

describe("a refusal", () => {
  const refusal = (code: string, errors: unknown[]) =>
    problem(422, { code, title: "Refused", detail: "As the server says.", errors });
  it("stands at the field that it is about", () => {
    const coupon = [
      { pointer: "/coupons/1", code: "coupon_refused", detail: "The coupon VIP is not valid yet." },
    ];
    expect(fieldOf(refusal("coupon_refused", coupon))).toEqual({
      field: "coupon",
      say: "The coupon VIP is not valid yet.",
    });
    const currency = [
      { pointer: "/currency", code: "validation_failed", detail: "There is no price in CHF." },
    ];
    expect(fieldOf(refusal("validation_failed", currency))?.field).toBe("currency");
  });
  it("of a coupon without a place is still the coupon's", () => {
    expect(fieldOf(refusal("coupon_used_up", []))).toEqual({ field: "coupon", say: "As the server says." });
  });
  it("of something else is nobody's", () => {
    expect(fieldOf(refusal("program_changed", []))).toBeNull();
  });
});

describe("a line of a price", () => {
  it("says what it is", () => {
    expect(lineText({ what: "reset", name: "Two steps" }, true)).toBe("Reset of Two steps");
    expect(lineText({ what: "tax", name: "19%" }, true)).toBe("Tax of 19%, included");
    expect(lineText({ what: "tax", name: "19%" }, false)).toBe("Tax of 19%");
    expect(lineText({ what: "coupon", name: "TEN" }, false)).toBe("Coupon TEN");
  });
});
