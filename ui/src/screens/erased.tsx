import { Link } from "react-router-dom";
import { useTitle } from "../lib/title";
import { Empty } from "../parts/states";

/** What whoever was erased reads last. */
export function ErasedPage() {
  useTitle("You were erased");
  return (
    <div className="page">
      <Empty title="You were erased">
        <p>
          Your key is destroyed: nobody reads your name, your e-mail address or what you were told again, in
          backups either. Your sessions have ended. You may register anew with the same address.
        </p>
        <Link className="button" to="/">
          To the programs
        </Link>
      </Empty>
    </div>
  );
}
