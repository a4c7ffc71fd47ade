/** A day and a time as the browser's fields give them, in UTC; null unless both are there. */
export function instantOf(day: string, time: string): string | null {
  if (!/^\d{4,}-\d{2}-\d{2}$/.test(day)) return null;
  const clock = /^(\d{2}:\d{2})(:\d{2})?$/.exec(time);
  return clock ? `${day}T${clock[1]}${clock[2] ?? ":00"}Z` : null;
}

/** What stands between commas or blanks, in capitals. */
export function words(text: string): string[] {
  return text
    .toUpperCase()
    .split(/[\s,;]+/)
    .filter(Boolean);
}
