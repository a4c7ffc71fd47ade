import { useEffect, useState } from "react";
import { ageWords, lateness, utcSeconds } from "../lib/time";

/** Younger than this is as good as now. */
const WORTH_SAYING = 5;

/** How current an answer is: everything written before that moment is in it. */
export function Freshness({ asOf, failing = false }: { asOf: string; failing?: boolean }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const behind = (now - Date.parse(asOf)) / 1000;
  return (
    <span className={`as-of tab ${behind < WORTH_SAYING ? "fine" : lateness(behind)}`}>
      As of <time dateTime={asOf}>{utcSeconds(asOf)}</time> UTC
      {behind >= WORTH_SAYING && ` · ${ageWords(behind)} ago`}
      {failing && " · cannot be read anew, trying again"}
    </span>
  );
}
