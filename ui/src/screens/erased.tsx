import { Link } from "react-router-dom";
import { useTitle } from "../lib/title";

/** What whoever was erased reads last. */
export function ErasedPage() {
  useTitle("You were erased");
  return (
    <div className="page">
      <h1>You were erased</h1>
      <p className="lead">
        Your key is destroyed: nobody reads your name, your e-mail address or what you were told again, in
        backups either. Your sessions have ended. You may register anew with the same address.
      </p>
      <div className="actions">
        <Link className="button" to="/">
          To the programs
        </Link>
      </div>
    </div>
  );
}
