import { useNotify } from "./notify";

/** A line to be run or kept elsewhere, with a button that copies it. */
export function Copyable({ text, what }: { text: string; what: string }) {
  const notify = useNotify();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      notify(`The ${what} is in the clipboard.`, "good");
    } catch {
      notify(`The browser does not allow copying. Select the ${what} and copy it.`, "bad");
    }
  };
  return (
    <div className="copyable">
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
      <button type="button" className="button small no-print" onClick={copy}>
        Copy {what}
      </button>
    </div>
  );
}
