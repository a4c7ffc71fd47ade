import type { ApiError } from "../api/error";
import type { NewPurchase, PriceLine } from "../api/types";

/** What the buyer has chosen. Everything is named, nothing is priced. */
export interface Basket {
  addons: readonly string[];
  coupons: readonly string[];
  /** Two capital letters, or empty. */
  country: string;
  /** Empty for the program's own. */
  currency: string;
}

export const emptyBasket: Basket = { addons: [], coupons: [], country: "", currency: "" };

/** What is bought: a program in the version that was read, or a failed challenge once more. */
export interface Goods {
  slug: string;
  version: string;
  resetOf: string | null;
}

/** The request of a basket. What is not said is left out, so that the same basket is the same request. */
export function orderOf(goods: Goods, basket: Basket): NewPurchase {
  return {
    program: goods.slug,
    version: goods.version,
    ...(basket.addons.length > 0 && { addons: [...basket.addons].sort() }),
    ...(basket.coupons.length > 0 && { coupons: [...basket.coupons] }),
    ...(basket.country && { country: basket.country }),
    ...(basket.currency && { currency: basket.currency }),
    ...(goods.resetOf && { reset_of: goods.resetOf }),
  };
}

/** With an add-on, or without it if it was there. */
export function toggled(basket: Basket, code: string): Basket {
  const without = basket.addons.filter((held) => held !== code);
  return { ...basket, addons: without.length < basket.addons.length ? without : [...basket.addons, code] };
}

/** Why a coupon cannot be added to those that are there, if that is known without asking. */
export function couponProblem(typed: string, held: readonly string[]): string | null {
  const code = couponCode(typed);
  if (code === "") return "Type the code of your coupon.";
  if (!/^[A-Z0-9_-]{1,32}$/.test(code)) return "A code has letters, digits, hyphens and underscores only.";
  return held.includes(code) ? "This coupon is there already." : null;
}

export function couponCode(typed: string): string {
  return typed.trim().toUpperCase();
}

/** The field of the checkout that a refusal is about. */
export type CheckoutField = "coupon" | "addons" | "country" | "currency";

export function fieldOf(refused: ApiError): { field: CheckoutField; say: string } | null {
  for (const { pointer, detail } of refused.fields) {
    const [name = ""] = pointer.replace(/^[#/]+/, "").split("/");
    if (name === "coupons") return { field: "coupon", say: detail };
    if (name === "addons" || name === "country" || name === "currency") return { field: name, say: detail };
  }
  // A coupon may be lost to somebody else between the price and the purchase; then no place is known.
  if (refused.code === "coupon_refused" || refused.code === "coupon_used_up")
    return { field: "coupon", say: refused.detail };
  return null;
}

/** A line of a price in words. */
export function lineText({ what, name }: Pick<PriceLine, "what" | "name">, taxIncluded: boolean): string {
  switch (what) {
    case "program":
      return name;
    case "reset":
      return `Reset of ${name}`;
    case "addon":
      return name;
    case "coupon":
      return `Coupon ${name}`;
    case "tax":
      return taxIncluded ? `Tax of ${name}, included` : `Tax of ${name}`;
  }
}
