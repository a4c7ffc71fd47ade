/**
 * Whether a phase is left on request, read from the version's own text: the account keeps that version, whatever is on
 * sale now.
 */
export function promotedOnRequest(canonicalJson: string, phase: number): boolean {
  const program: unknown = JSON.parse(canonicalJson);
  if (typeof program !== "object" || program === null) return false;
  const { phases } = program as { phases?: unknown };
  if (!Array.isArray(phases)) return false;
  const found: unknown = phases[phase];
  return (
    typeof found === "object" &&
    found !== null &&
    (found as { promotion?: unknown }).promotion === "on_request"
  );
}
