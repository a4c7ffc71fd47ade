import { queryOptions } from "@tanstack/react-query";
import { ask } from "./client";
import { ApiError } from "./error";
import type { Purchase } from "./types";

/** With whom a purchase can be paid. */
export type PaymentMethod = string;

const names: Record<string, string> = { stripe: "Card", paypal: "PayPal", sandbox: "Sandbox" };

/** How a way to pay is called; the provider of a firm's own keeps its name. */
export function methodName(method: PaymentMethod): string {
  return names[method] ?? method.charAt(0).toUpperCase() + method.slice(1);
}

/** An answer of an operation that a server of an earlier release does not have. */
async function answered<T>(
  path: string,
  init: RequestInit = {},
): Promise<{ data: T; error?: unknown; response: Response }> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (init.body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { ...init, headers, credentials: "same-origin" });
  const body: unknown = await response.json().catch(() => undefined);
  return { data: body as T, error: body, response };
}

async function orNull<T>(request: Promise<T>): Promise<T | null> {
  try {
    return await request;
  } catch (thrown) {
    if (thrown instanceof ApiError && thrown.status === 404) return null;
    throw thrown;
  }
}

/** The ways to pay here, or null where the server offers its own page only. */
export const paymentMethodsQuery = queryOptions({
  queryKey: ["payment-methods"],
  queryFn: async (): Promise<readonly PaymentMethod[] | null> => {
    const found = await orNull(ask(answered<{ methods: PaymentMethod[] }>("/v1/payment-methods")));
    return found?.methods ?? null;
  },
  staleTime: 60_000,
});

/** Where a purchase is paid with a provider. */
export async function paymentPage(
  purchase: Pick<Purchase, "id" | "checkout_url">,
  method: PaymentMethod | null,
): Promise<string> {
  if (method === null) return purchase.checkout_url;
  const path = `/v1/purchases/${encodeURIComponent(purchase.id)}/checkout`;
  const body = JSON.stringify({ provider: method });
  const found = await orNull(ask(answered<{ page: string }>(path, { method: "POST", body })));
  return found?.page ?? purchase.checkout_url;
}
