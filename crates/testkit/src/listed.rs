//! Programs that others made, which tests start or compare with.

use std::path::{Path, PathBuf};

/// Where the programs are that `xtask/LIST.txt` names, and the Python that has its libraries: in cargo's target directory, where
/// `cargo xtask test` puts them.
pub fn listed(list: &str) -> PathBuf {
    let ourselves = std::env::current_exe().expect("a test is a program");
    let of_target = |directory: &Path| directory.join("tools").join(list);
    let mut environments = ourselves.ancestors().map(of_target);
    // The list is copied beside them once all of it is there.
    let found = environments.find(|environment| environment.join("installed.txt").exists());
    found.expect("what xtask lists is installed: `cargo xtask test` does it").join("bin")
}
