import { queryOptions } from "@tanstack/react-query";
import { api, ask } from "./client";
import type { components } from "./schema";

/** With whom a purchase can be paid. */
export type PaymentMethod = components["schemas"]["PaymentMethod"];

const names: Record<PaymentMethod, string> = { stripe: "Card", paypal: "PayPal", sandbox: "Sandbox" };

/** How a way to pay is called. */
export const methodName = (method: PaymentMethod): string => names[method];

/** The ways to pay here. */
export const paymentMethodsQuery = queryOptions({
  queryKey: ["payment-methods"],
  queryFn: async () => (await ask(api.GET("/v1/payment-methods"))).methods,
  staleTime: 60_000,
});

/** The page of a provider on which a purchase is paid. */
export async function paymentPage(id: string, provider: PaymentMethod): Promise<string> {
  const path = { id };
  return (await ask(api.POST("/v1/purchases/{id}/checkout", { params: { path }, body: { provider } }))).page;
}
