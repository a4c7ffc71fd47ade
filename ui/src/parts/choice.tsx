import { type ComponentProps, type ReactNode, useId } from "react";

interface ChoiceProps extends ComponentProps<"select"> {
  label: string;
  hint?: ReactNode;
  error?: string | null | undefined;
}

/** A choice with its label, hint and error, tied together for screen readers. */
export function Choice({ label, hint, error, id, children, ...select }: ChoiceProps) {
  const own = useId();
  const selectId = id ?? own;
  const described = [error ? `${selectId}-error` : null, hint ? `${selectId}-hint` : null]
    .filter(Boolean)
    .join(" ");
  return (
    <div className="field">
      <label htmlFor={selectId}>{label}</label>
      <select
        id={selectId}
        aria-invalid={error ? true : undefined}
        aria-describedby={described || undefined}
        {...select}
      >
        {children}
      </select>
      {error && (
        <p className="field-error" id={`${selectId}-error`}>
          {error}
        </p>
      )}
      {hint && (
        <p className="field-hint" id={`${selectId}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}
