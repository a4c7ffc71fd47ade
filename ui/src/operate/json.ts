/** A JSON object without broken numbers, or a sentence that says what to change. */
export type Read = { value: Record<string, unknown> } | { error: string };

/**
 * Reads JSON that a person wrote. Amounts and shares are text there: a number with a fraction would pass through binary
 * floating point, so it is refused and not rounded.
 */
export function readJson(text: string): Read {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    return { error: thrown instanceof Error ? `This is not JSON: ${thrown.message}` : "This is not JSON." };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { error: "This must be a JSON object, in braces." };
  const broken = fraction(value, "");
  if (broken !== null) return { error: `Write the number at ${broken} in quotes, so that it stays exact.` };
  return { value: value as Record<string, unknown> };
}

/** Where the first number stands that is no exact whole number; null if there is none. */
function fraction(value: unknown, path: string): string | null {
  if (typeof value === "number") return Number.isSafeInteger(value) ? null : path;
  if (typeof value !== "object" || value === null) return null;
  for (const [name, part] of Object.entries(value)) {
    const found = fraction(part, Array.isArray(value) ? `${path}[${name}]` : path ? `${path}.${name}` : name);
    if (found !== null) return found;
  }
  return null;
}

/** Whether a text is meant as JSON; programs come as TOML otherwise. */
export function looksLikeJson(text: string): boolean {
  return text.trimStart().startsWith("{");
}
