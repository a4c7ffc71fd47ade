import type { ApiError } from "../api/error";
import type { AddonChange, Coupon, NewAddon, NewCoupon, Portion } from "../api/types";
import { readDecimal } from "../lib/decimal";
import { moneyIn } from "../lib/format";
import { instantOf } from "./calendar";

/** Faults of a form by the names of its fields; `all` is about none of them. */
export type Faults<Field extends string> = Partial<Record<Field | "all", string>>;

/**
 * Where a refusal belongs: at the fields that it points to. `places` says which field of the form shows what a field of the body
 * is about, where the two have other names; a pointer into a list or a group is about the whole of it.
 */
export function faultsOf<Field extends string>(
  refused: ApiError,
  fields: readonly Field[],
  places: Readonly<Record<string, Field>> = {},
): Faults<Field> {
  const found: Faults<Field> = {};
  for (const { pointer, detail } of refused.fields) {
    const name = pointer.replace(/^[#/]+/, "").split("/")[0] ?? "";
    const field = places[name] ?? fields.find((known) => known === name);
    if (field === undefined) found.all ??= detail;
    else found[field] ??= detail;
  }
  if (Object.keys(found).length === 0) found.all = refused.detail;
  return found;
}

/** A portion in words. */
export function portionText(portion: Portion): string {
  return portion.kind === "percent" ? `${portion.percent}%` : moneyIn(portion.amount, portion.currency);
}

/** The units in which a portion is typed: "%" or a currency. */
export const PERCENT = "%";

/** Slugs between commas or blanks. */
export function slugsOf(typed: string): string[] {
  return typed
    .toLowerCase()
    .split(/[\s,;]+/)
    .filter(Boolean);
}

/** What was typed as a portion; null if it is no number. The server judges the rest. */
export function portionOf(typed: string, unit: string): Portion | null {
  const value = readDecimal(typed);
  if (value === null) return null;
  return unit === PERCENT
    ? { kind: "percent", percent: value }
    : { kind: "amount", amount: value, currency: unit.trim().toUpperCase() };
}

/** A whole number that was typed; none if nothing was, null if it is something else. */
export function countOf(typed: string): number | undefined | null {
  const text = typed.trim();
  if (text === "") return undefined;
  return /^\d{1,9}$/.test(text) ? Number.parseInt(text, 10) : null;
}

export type ChangeKind = AddonChange["kind"];

/** What an add-on may change, with the numbers that each asks for. */
export const changeKinds: readonly { kind: ChangeKind; name: string; first: string; second?: string }[] = [
  { kind: "split", name: "Share of payouts", first: "At least, %" },
  { kind: "resets", name: "Resets included", first: "How many" },
  { kind: "payout_days", name: "Days to payouts", first: "First, days", second: "Others, days" },
  { kind: "trading_days", name: "Fewer trading days", first: "At most, days" },
  { kind: "more_days", name: "A longer time limit", first: "More days" },
];

/** The change of a form; null if a number is missing or is none. */
export function changeOf(kind: ChangeKind, first: string, second: string): AddonChange | null {
  if (kind === "split") {
    const at_least = readDecimal(first);
    return at_least === null ? null : { kind, at_least };
  }
  const one = countOf(first);
  if (typeof one !== "number") return null;
  switch (kind) {
    case "resets":
      return { kind, included: one };
    case "payout_days": {
      const next = countOf(second);
      return typeof next === "number" ? { kind, first: one, next } : null;
    }
    case "trading_days":
      return { kind, at_most: one };
    case "more_days":
      return { kind, more: one };
  }
}

/** The numbers of a change, as they are typed. */
export function numbersOf(change: AddonChange): [first: string, second: string] {
  switch (change.kind) {
    case "split":
      return [change.at_least, ""];
    case "resets":
      return [String(change.included), ""];
    case "payout_days":
      return [String(change.first), String(change.next)];
    case "trading_days":
      return [String(change.at_most), ""];
    case "more_days":
      return [String(change.more), ""];
  }
}

export interface AddonDraft {
  code: string;
  name: string;
  price: string;
  unit: string;
  kind: ChangeKind;
  first: string;
  second: string;
}

export const newAddon: AddonDraft = {
  code: "",
  name: "",
  price: "",
  unit: PERCENT,
  kind: "split",
  first: "",
  second: "",
};

/** The add-on of a form, or what is wrong with it. */
export function addonOf(draft: AddonDraft): NewAddon | Faults<keyof AddonDraft> {
  const price = portionOf(draft.price, draft.unit);
  const change = changeOf(draft.kind, draft.first, draft.second);
  const faults: Faults<keyof AddonDraft> = {
    ...(draft.code.trim() === "" && { code: "Give it a code." }),
    ...(draft.name.trim() === "" && { name: "Give it a name." }),
    ...(price === null && { price: "Give a number." }),
    ...(change === null && { first: "Give the numbers of what it changes." }),
  };
  if (price === null || change === null || Object.keys(faults).length > 0) return faults;
  return { name: draft.name.trim(), price, change, on_sale: true };
}

export interface CouponDraft {
  code: string;
  off: string;
  unit: string;
  programs: string;
  startDay: string;
  startTime: string;
  endDay: string;
  endTime: string;
  most_uses: string;
  most_per_person: string;
  only_person: string;
  least: string;
  leastUnit: string;
  stackable: boolean;
}

export const newCoupon: CouponDraft = {
  code: "",
  off: "",
  unit: PERCENT,
  programs: "",
  startDay: "",
  startTime: "00:00",
  endDay: "",
  endTime: "00:00",
  most_uses: "",
  most_per_person: "1",
  only_person: "",
  least: "",
  leastUnit: "",
  stackable: false,
};

/** The coupon of a form, or what is wrong with it. */
export function couponOf(draft: CouponDraft): NewCoupon | Faults<keyof CouponDraft> {
  const off = portionOf(draft.off, draft.unit);
  const [uses, each] = [countOf(draft.most_uses), countOf(draft.most_per_person)];
  const start = draft.startDay ? instantOf(draft.startDay, draft.startTime) : undefined;
  const end = draft.endDay ? instantOf(draft.endDay, draft.endTime) : undefined;
  const least = draft.least.trim() === "" ? undefined : readDecimal(draft.least);
  const faults: Faults<keyof CouponDraft> = {
    ...(draft.code.trim() === "" && { code: "Give it a code." }),
    ...(off === null && { off: "Give a number." }),
    ...(uses === null && { most_uses: "Give a whole number, or nothing." }),
    ...(each === null && { most_per_person: "Give a whole number, or nothing." }),
    ...(start === null && { startDay: "Give a day and a time, both in UTC." }),
    ...(end === null && { endDay: "Give a day and a time, both in UTC." }),
    ...(least === null && { least: "Give a number, or nothing." }),
  };
  if (off === null || Object.keys(faults).length > 0) return faults;
  const currency = off.kind === "amount" ? off.currency : draft.leastUnit;
  const only = draft.only_person.trim();
  return {
    code: draft.code.trim().toUpperCase(),
    off,
    programs: slugsOf(draft.programs),
    stackable: draft.stackable,
    ...(typeof uses === "number" && { most_uses: uses }),
    ...(typeof each === "number" && { most_per_person: each }),
    ...(start && { starts_at: start }),
    ...(end && { ends_at: end }),
    ...(least && { least: { amount: least, currency } }),
    ...(only && { only_person: only }),
  };
}

/** Whether a form was read, or is faulty. */
export function isRead<Body extends object>(read: Body | Faults<string>, key: keyof Body): read is Body {
  return typeof (read as Body)[key] === "object";
}

/** How a coupon stands at a moment. */
export function couponState(
  coupon: Pick<Coupon, "disabled" | "starts_at" | "ends_at" | "most_uses" | "used">,
  now: string,
): "Disabled" | "Over" | "Used up" | "Not yet" | "Valid" {
  if (coupon.disabled) return "Disabled";
  const at = Date.parse(now);
  if (coupon.ends_at !== null && Date.parse(coupon.ends_at) <= at) return "Over";
  if (coupon.most_uses !== null && coupon.used >= coupon.most_uses) return "Used up";
  if (coupon.starts_at !== null && at < Date.parse(coupon.starts_at)) return "Not yet";
  return "Valid";
}

/** What a coupon asks for, in short. */
export function couponLimits(coupon: Coupon): string {
  const said = [
    coupon.programs.length > 0 && `for ${coupon.programs.join(", ")}`,
    coupon.least && `from ${moneyIn(coupon.least.amount, coupon.least.currency)}`,
    coupon.most_per_person !== null && `${coupon.most_per_person} per person`,
    coupon.only_person !== null && "for one person",
    coupon.stackable ? "with others" : "alone",
  ];
  return said.filter(Boolean).join(", ");
}
