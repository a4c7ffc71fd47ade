//! A disk that can be full.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A disk of a bounded size, in memory.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// An empty one; none where nobody may mount, as only the superuser may.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|mounted| mounted.status.success());
        mounted.then_some(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Nothing more can be written on it.
    pub fn fill(&self) {
        let mut rubbish = File::create(self.rubbish()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0; size];
            while rubbish.write_all(&piece).is_ok() {}
        }
    }

    /// Something can again.
    pub fn free(&self) {
        std::fs::remove_file(self.rubbish()).unwrap();
    }

    fn rubbish(&self) -> std::path::PathBuf {
        self.directory.path().join("rubbish")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Somebody may still have a file open there, and ends later.
        drop(Command::new("umount").arg("-l").arg(self.directory.path()).output());
    }
}
