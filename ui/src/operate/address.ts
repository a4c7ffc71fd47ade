/** What an address says of these names; each only where it is said. */
export function saidIn<Name extends string>(
  address: URLSearchParams,
  names: readonly Name[],
): Partial<Record<Name, string>> {
  const said = names.flatMap((name) => {
    const value = address.get(name)?.trim();
    return value ? [[name, value]] : [];
  });
  return Object.fromEntries(said) as Partial<Record<Name, string>>;
}

/** A path with what is said behind it. An empty text is said as well: only what is not there is left out. */
export function withQuery(path: string, said: Readonly<Record<string, string | undefined>>): string {
  const parts = Object.entries(said).filter((part): part is [string, string] => part[1] !== undefined);
  const text = new URLSearchParams(parts).toString();
  return text === "" ? path : `${path}?${text}`;
}

/** One of the words that there are; nothing for any other. */
export function oneOf<Word extends string>(
  word: string | undefined,
  words: readonly Word[],
): Word | undefined {
  return words.find((known) => known === word);
}
