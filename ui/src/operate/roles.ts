import type { Person } from "../api/types";

type Role = Person["roles"][number];

// Who may what, as the server decides it; here it only spares people screens that would refuse them.
const grants = {
  judge: ["risk", "admin", "auditor"],
  edit: ["risk", "admin"],
  operate: ["admin"],
  webhooks: ["admin"],
  business: ["risk", "finance", "admin", "auditor"],
  payouts: ["risk", "finance", "admin"],
  money: ["finance", "admin"],
  audit: ["admin", "auditor"],
  people: ["support", "admin", "auditor"],
  privacy: ["admin"],
} as const satisfies Record<string, readonly Role[]>;

export type Grant = keyof typeof grants;

export function may(person: Pick<Person, "roles"> | null | undefined, grant: Grant): boolean {
  const roles: readonly Role[] = grants[grant];
  return person?.roles.some((role) => roles.includes(role)) ?? false;
}

/** The screens of the firm's people, in the order of their links. */
const screens = [
  { path: "/operate", name: "What if", grant: "judge" },
  { path: "/operate/releases", name: "Releases", grant: "judge" },
  { path: "/operate/accounts", name: "Overrides", grant: "judge" },
  { path: "/operate/operations", name: "Operations", grant: "judge" },
  { path: "/operate/shelf", name: "Shelf", grant: "edit" },
  { path: "/operate/coupons", name: "Coupons", grant: "edit" },
  { path: "/operate/business", name: "Business", grant: "business" },
  { path: "/operate/payouts", name: "Payouts", grant: "payouts" },
  { path: "/operate/identity", name: "Identity", grant: "payouts" },
  { path: "/operate/finance", name: "Finance", grant: "business" },
  { path: "/operate/reconciliation", name: "Reconciliation", grant: "business" },
  { path: "/operate/refunds", name: "Refunds", grant: "business" },
  { path: "/operate/disputes", name: "Disputes", grant: "business" },
  { path: "/operate/people", name: "People", grant: "people" },
  { path: "/operate/audit", name: "Audit log", grant: "audit" },
  { path: "/operate/webhooks", name: "Webhooks", grant: "webhooks" },
] as const satisfies readonly { path: string; name: string; grant: Grant }[];

export type Screen = (typeof screens)[number];

export function screensOf(person: Pick<Person, "roles"> | null | undefined): Screen[] {
  return screens.filter(({ grant }) => may(person, grant));
}

/** The screen that an address belongs to. */
export function screenAt(pathname: string): Screen | null {
  const within = screens.filter(({ path }) => pathname === path || pathname.startsWith(`${path}/`));
  // The longest path is the nearest one.
  return within.sort((one, other) => other.path.length - one.path.length)[0] ?? null;
}
