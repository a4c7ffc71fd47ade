/** Topics that a person wrote, one a line or with commas and spaces between. */
export function topicsOf(text: string): string[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== "");
  return [...new Set(words)];
}
