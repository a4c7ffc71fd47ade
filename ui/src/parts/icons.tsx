// Drawn here, so that no icon font or package is loaded. All are decoration: the control that holds one has a text name.
interface IconProps {
  size?: number;
}

function Icon({ path, size = 16 }: IconProps & { path: string }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={path} />
    </svg>
  );
}

export const SunIcon = (props: IconProps) => (
  <Icon
    {...props}
    path="M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.2M8 13.8V15M1 8h1.2M13.8 8H15M3 3l.9.9M12.1 12.1l.9.9M13 3l-.9.9M3.9 12.1 3 13"
  />
);
export const MoonIcon = (props: IconProps) => (
  <Icon {...props} path="M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1Z" />
);
export const KeyboardIcon = (props: IconProps) => (
  <Icon {...props} path="M1.5 4h13v8h-13zM4 6.7h.01M6.7 6.7h.01M9.3 6.7h.01M12 6.7h.01M4.5 9.5h7" />
);
export const CloseIcon = (props: IconProps) => <Icon {...props} path="m4 4 8 8M12 4l-8 8" />;
export const CheckIcon = (props: IconProps) => <Icon {...props} path="m3 8.5 3.2 3.2L13 4.8" />;
export const ArrowIcon = (props: IconProps) => <Icon {...props} path="M3 8h10M9 4l4 4-4 4" />;
export const PencilIcon = (props: IconProps) => (
  <Icon {...props} path="M10.5 3.2 12.8 5.5 6 12.3l-3 .7.7-3z" />
);
export const DownIcon = (props: IconProps) => <Icon {...props} path="m4 6 4 4 4-4" />;
export const BellIcon = (props: IconProps) => (
  <Icon
    {...props}
    path="M3 11.5h10c-1-.8-1.5-2-1.5-4.5a3.5 3.5 0 0 0-7 0c0 2.5-.5 3.7-1.5 4.5ZM6.7 13.8c.7.5 1.9.5 2.6 0"
  />
);
export const ExitIcon = (props: IconProps) => (
  <Icon {...props} path="M6.5 14H3V2h3.5M10.5 11l3-3-3-3M13 8H6.5" />
);

export function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#2f6bff" />
      <path
        d="M7 21.5 13 14l4.5 4.5L25 9.5"
        fill="none"
        stroke="#fff"
        strokeWidth="3"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
