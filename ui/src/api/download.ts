import { ask } from "./client";

export interface NamedFile {
  name: string;
  blob: Blob;
}

/** The name that an answer gives its file. */
export function fileNameOf(disposition: string | null, otherwise: string): string {
  return /filename="([^"\\/]+)"/.exec(disposition ?? "")?.[1] ?? otherwise;
}

/** The file of an answer, or an `ApiError`. */
export async function askFile(
  request: Promise<{ data?: Blob; error?: unknown; response: Response }>,
  otherwise: string,
): Promise<NamedFile> {
  const blob = await ask(request);
  const { response } = await request;
  return { name: fileNameOf(response.headers.get("content-disposition"), otherwise), blob };
}

/** Hands a file to the browser's downloads. */
export function save({ name, blob }: NamedFile): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The browser has begun with it by the next task.
  setTimeout(() => URL.revokeObjectURL(address), 1_000);
}

export function saveText(name: string, text: string): void {
  save({ name, blob: new Blob([text], { type: "text/plain" }) });
}
