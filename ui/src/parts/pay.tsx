import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { methodName, type PaymentMethod, paymentMethodsQuery } from "../api/payment";
import { Failure } from "./states";

/** The way to pay that is chosen: the first one until somebody chooses; null while there is none. */
export function usePaymentMethod() {
  const methods = useQuery(paymentMethodsQuery);
  const [chosen, choose] = useState<PaymentMethod | null>(null);
  const all = methods.data ?? [];
  const method = chosen !== null && all.includes(chosen) ? chosen : (all[0] ?? null);
  return { all, method, choose, ready: !methods.isPending, error: methods.error, retry: methods.refetch };
}

/** Which provider is to take the payment; nothing is asked where there is one. */
export function PaymentMethods({
  all,
  method,
  choose,
  ready,
  error,
  retry,
}: ReturnType<typeof usePaymentMethod>) {
  if (error) return <Failure error={error} retry={retry} />;
  if (ready && all.length === 0) return <p className="muted">Payments are not taken here at the moment.</p>;
  if (all.length < 2) return null;
  return (
    <fieldset className="choices">
      <legend>Pay with</legend>
      {all.map((name) => (
        <label key={name} className="check">
          <input
            type="radio"
            name="payment-method"
            value={name}
            checked={name === method}
            onChange={() => choose(name)}
          />
          {methodName(name)}
        </label>
      ))}
    </fieldset>
  );
}
