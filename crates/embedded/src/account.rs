//! The unprivileged user that runs a server when we are root.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, io};

/// Whom the server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunAs {
    /// Ourselves, an ordinary user.
    Ourselves,
    /// This user, since we are root and PostgreSQL refuses root.
    Other {
        /// Its number.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
}

impl RunAs {
    /// Ourselves, or the system user `postgres` when we are root.
    pub(crate) fn choose() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(io("read /etc/passwd"))?;
        ids_of("postgres", &passwd).map(|(uid, gid)| Self::Other { uid, gid }).ok_or(Error::NoServerUser)
    }

    /// Makes the command run as this user. As root, the standard library also drops supplementary groups.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or directory of ours to this user.
    pub(crate) fn give(self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .map_err(io(format!("give {} to the server's user", path.display()))),
        }
    }

    /// Whether this user can reach what lies in `dir`: search permission on it and on all above it.
    pub(crate) fn reaches(self, dir: &Path) -> bool {
        match self {
            Self::Ourselves => true,
            Self::Other { uid, gid } => dir
                .ancestors()
                .filter(|above| !above.as_os_str().is_empty())
                .all(|above| fs::metadata(above).is_ok_and(|found| may_search(&found, uid, gid))),
        }
    }
}

/// The kernel's rule: exactly one of the three permission groups counts.
fn may_search(found: &Metadata, uid: u32, gid: u32) -> bool {
    let bit = if found.uid() == uid {
        0o100
    } else if found.gid() == gid {
        0o010
    } else {
        0o001
    };
    found.mode() & bit != 0
}

fn ids_of(name: &str, passwd: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn ids_come_from_the_line_of_that_very_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:P,,,:/v:/bin/bash\n";
        assert_eq!(ids_of("postgres", passwd), Some((101, 104)));
        assert_eq!(ids_of("nobody", passwd), None);
    }

    #[test]
    fn a_private_directory_above_keeps_another_user_out() {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = top.path().join("closed");
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let someone = RunAs::Other { uid: 4_000_000, gid: 4_000_000 };
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!someone.reaches(&inner));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert!(someone.reaches(&inner));
    }
}
