import type { Person } from "../api/types";

type Role = Person["roles"][number];

// Who may what, as the server decides it; here it only spares people screens that would refuse them.
const grants = {
  judge: ["risk", "admin", "auditor"],
  edit: ["risk", "admin"],
  operate: ["admin"],
  webhooks: ["admin"],
  business: ["risk", "finance", "admin", "auditor"],
} as const satisfies Record<string, readonly Role[]>;

export type Grant = keyof typeof grants;

export function may(person: Pick<Person, "roles"> | null | undefined, grant: Grant): boolean {
  const roles: readonly Role[] = grants[grant];
  return person?.roles.some((role) => roles.includes(role)) ?? false;
}
