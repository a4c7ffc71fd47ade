import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { forecastQuery } from "../api/queries";

/** Prices move several times a second; the forecast follows them at this pace. Fills and verdicts ask for it at once. */
const FOLLOW_MS = 5_000;
/** Even when nothing moves, deadlines come nearer. */
const REFETCH_MS = 30_000;

/** The account's forecast, asked again while the account changes. `seen` names the state that the account is in. */
export function useForecast(id: string, seen: string) {
  const queries = useQueryClient();
  const waiting = useRef<ReturnType<typeof setTimeout> | null>(null);
  const asked = useRef(seen);
  useEffect(() => {
    // One that is already waiting will see this change as well.
    if (asked.current === seen || waiting.current !== null) return;
    waiting.current = setTimeout(() => {
      waiting.current = null;
      asked.current = seen;
      void queries.invalidateQueries({ queryKey: forecastQuery(id).queryKey });
    }, FOLLOW_MS);
  }, [id, seen, queries]);
  useEffect(
    () => () => {
      if (waiting.current !== null) clearTimeout(waiting.current);
      waiting.current = null;
    },
    [],
  );
  return useQuery({ ...forecastQuery(id), refetchInterval: REFETCH_MS });
}
