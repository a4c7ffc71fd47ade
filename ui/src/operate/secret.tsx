import { Dialog } from "../parts/dialog";
import { useNotify } from "../parts/notify";

/** A secret, shown once. */
export function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  const notify = useNotify();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(secret);
      notify("The secret was copied.", "good");
    } catch {
      notify("The browser does not let pages copy; select the text yourself.", "bad");
    }
  };
  return (
    <Dialog title="The secret of this webhook" onClose={onClose}>
      <p>Your system checks signatures with it. It is shown this once and cannot be read again.</p>
      <p>
        <code className="secret">{secret}</code>
      </p>
      <div className="actions">
        <button type="button" className="button primary" onClick={copy}>
          Copy
        </button>
        <button type="button" className="button" onClick={onClose}>
          I have kept it
        </button>
      </div>
    </Dialog>
  );
}
