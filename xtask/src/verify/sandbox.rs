//! A program in a box, as a container engine would run it: mounts, processes and network of its own, a user without rights, a root that
//! it cannot write, secrets as files, nothing in its environment but what is said. The programs inside are this machine's, or those of
//! an unpacked image.
//!
//! Not kept: limits of memory and CPU, the filter of system calls, the bounding set (a user other than root with `no_new_privs` gains
//! nothing from it).

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::tools::{Said, ask, installed, path};
use crate::process::{interrupted, poll, run};
use crate::{Failure, Outcome};

/// A network of its own on this machine, whose host has the first address.
pub(crate) struct Network {
    bridge: String,
    prefix: String,
}

impl Network {
    /// `number` is 0 to 255 and makes the addresses 10.77.NUMBER.0/24, unless `subnet` says `A.B.C.0/24`.
    pub(crate) fn new(name: &str, number: u8, subnet: Option<&str>) -> Outcome<Self> {
        let prefix = match subnet {
            Some(subnet) => subnet.trim_end_matches(".0/24").to_owned(),
            None => format!("10.77.{number}"),
        };
        let short: String = name.chars().take(6).collect();
        let bridge = format!("tsv{number}{short}");
        let _left = ask(Command::new("ip").args(["link", "del", &bridge]))?;
        run(Command::new("ip").args(["link", "add", &bridge, "type", "bridge"]))?;
        let network = Self { bridge, prefix };
        network.add_host(&format!("{}.1/24", network.prefix))?;
        run(Command::new("ip").args(["link", "set", &network.bridge, "up"]))?;
        Ok(network)
    }

    /// One more address of this machine on the network.
    pub(crate) fn add_host(&self, address: &str) -> Outcome {
        run(Command::new("ip").args(["addr", "add", address, "dev", &self.bridge]))
    }

    /// An address on it.
    pub(crate) fn address(&self, last: u8) -> String {
        format!("{}.{last}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["link", "del", &self.bridge]).status());
    }
}

/// What is to run.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// The unpacked image; this machine's programs if there is none.
    pub(crate) image: Option<PathBuf>,
    /// What lies over this machine's `/usr`.
    pub(crate) over_usr: Option<PathBuf>,
    pub(crate) program: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) user: (u32, u32),
    /// The name that goes with the user, where a program asks for it.
    pub(crate) user_name: String,
    pub(crate) read_only: bool,
    pub(crate) no_new_privileges: bool,
    /// Outside, inside, whether it may be written.
    pub(crate) binds: Vec<(PathBuf, String, bool)>,
    /// Inside and options.
    pub(crate) tmpfs: Vec<(String, String)>,
    /// Bridge and address.
    pub(crate) networks: Vec<(String, String)>,
    /// Names and addresses of others.
    pub(crate) hosts: Vec<(String, String)>,
}

impl Plan {
    /// On this network, under this address.
    pub(crate) fn attach(&mut self, network: &Network, address: &str) {
        self.networks.push((network.bridge.clone(), address.to_owned()));
    }
}

/// A box that runs.
pub(crate) struct Sandbox {
    plan: Plan,
    child: Child,
    space: String,
    log: PathBuf,
}

impl Sandbox {
    /// Starts it; what it says goes to `DIR/NAME.log`.
    pub(crate) fn start(dir: &Path, plan: Plan) -> Outcome<Self> {
        if interrupted() {
            return Err(Failure::new("stopped"));
        }
        let space = format!("tsv-{}-{}", std::process::id(), plan.name);
        run(Command::new("ip").args(["netns", "add", &space]))?;
        let log = dir.join(format!("{}.log", plan.name));
        let started = Self::started(dir, &plan, &space, &log);
        match started {
            Ok(child) => Ok(Self { plan, child, space, log }),
            Err(failure) => {
                drop(Command::new("ip").args(["netns", "del", &space]).status());
                Err(failure)
            }
        }
    }

    fn started(dir: &Path, plan: &Plan, space: &str, log: &Path) -> Outcome<Child> {
        run(Command::new("ip").args(["-n", space, "link", "set", "lo", "up"]))?;
        for (number, (bridge, address)) in plan.networks.iter().enumerate() {
            let inside = format!("eth{number}");
            let outside = link(space, number);
            run(Command::new("ip")
                .args(["link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", space]))?;
            run(Command::new("ip").args(["link", "set", &outside, "master", bridge, "up"]))?;
            run(Command::new("ip").args([
                "-n",
                space,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                &inside,
            ]))?;
            run(Command::new("ip").args(["-n", space, "link", "set", &inside, "up"]))?;
            if number == 0 {
                let host = address.rsplit_once('.').map_or_else(String::new, |(net, _)| format!("{net}.1"));
                run(Command::new("ip").args(["-n", space, "route", "add", "default", "via", &host]))?;
            }
        }
        let setup = dir.join(format!("{}.sh", plan.name));
        fs::write(&setup, script(dir, plan)?).map_err(Failure::of(format!("write {}", setup.display())))?;
        let file = fs::File::create(log).map_err(Failure::of(format!("write {}", log.display())))?;
        // The program opens its own standard output anew, under its own user.
        file.set_permissions(fs::Permissions::from_mode(0o666))
            .map_err(Failure::of("open the log to its writer"))?;
        let again = file.try_clone().map_err(Failure::of("open the log twice"))?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space]);
        if plan.no_new_privileges {
            command.args(["setpriv", "--no-new-privs"]);
        }
        command
            .args(["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-eu"])
            .arg(&setup);
        command.stdin(Stdio::null()).stdout(file).stderr(again).current_dir("/");
        command.spawn().map_err(Failure::of(format!("start {}", plan.name)))
    }

    /// The program's own number on this machine, once it has become it.
    pub(crate) fn pid(&self) -> Option<u32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).ok()?;
        let pid: u32 = children.split_whitespace().next()?.parse().ok()?;
        // Until the root is the box's, this is still the shell that builds it.
        let root = fs::read_link(format!("/proc/{pid}/root")).ok()?;
        (root != Path::new("/")).then_some(pid)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its last words.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n    ")
    }

    /// How it ended, if it has: whether well.
    pub(crate) fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().ok().flatten().map(|status| status.success())
    }

    /// The words before a program that is to run in the box, as the same user.
    pub(crate) fn entering(&self) -> Outcome<Vec<String>> {
        let pid = self.pid().ok_or_else(|| Failure::new(format!("{} does not run", self.plan.name)))?;
        let (user, group) = self.plan.user;
        let (pid, user, group) = (pid.to_string(), user.to_string(), group.to_string());
        let mut words: Vec<String> =
            ["timeout", "20", "env", "-i", &format!("PATH={}", path())].map(str::to_owned).into();
        words.extend(self.plan.env.iter().map(|(name, value)| format!("{name}={value}")));
        let enter = ["/usr/bin/nsenter", "--target", &pid, "--mount", "--pid", "--net", "--root", "--wd"];
        words.extend(enter.map(str::to_owned));
        words.extend(["--setuid", &user, "--setgid", &group, "--"].map(str::to_owned));
        Ok(words)
    }

    /// Runs another program in the box, as the same user.
    pub(crate) fn run_inside(&self, program: &[String]) -> Outcome<Said> {
        let words = self.entering()?;
        let (first, rest) = words.split_first().ok_or_else(|| Failure::new("nothing is to run"))?;
        ask(Command::new(first).args(rest).args(program))
    }

    /// A file of `/proc` about the program.
    pub(crate) fn proc(&self, file: &str) -> String {
        let read =
            self.pid().and_then(|pid| fs::read(format!("/proc/{pid}/{file}")).ok()).unwrap_or_default();
        String::from_utf8_lossy(&read).replace('\0', "\n")
    }

    /// Asks it to stop, waits, and says how long it took, or that it had to be killed.
    pub(crate) fn stop(mut self, signal: Signal, at_most: Duration) -> Result<Duration, String> {
        let began = crate::process::now();
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _gone = kill_process(pid, signal);
        }
        if poll(at_most, || self.ended()).is_some() {
            return Ok(began.elapsed());
        }
        Err(format!("{} did not stop within {} s of {signal:?}", self.plan.name, at_most.as_secs()))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.ended().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        // The space lives for as long as a process of it; its links need not.
        for number in 0..self.plan.networks.len() {
            drop(
                Command::new("ip")
                    .args(["link", "del", &link(&self.space, number)])
                    .stderr(Stdio::null())
                    .status(),
            );
        }
        drop(Command::new("ip").args(["netns", "del", &self.space]).status());
    }
}

/// This machine's end of a link; fifteen letters are the longest name.
fn link(space: &str, number: usize) -> String {
    let sum = space.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("tv{number}x{}", sum & 0x00ff_ffff)
}

/// What makes the box and becomes the program.
fn script(dir: &Path, plan: &Plan) -> Outcome<String> {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{words}");
    };
    let root = dir.join(format!("{}.root", plan.name));
    fs::create_dir_all(&root).map_err(Failure::of(format!("create {}", root.display())))?;
    let root = root.display();
    // What is bound below /usr needs a place there before it is closed.
    for (outside, inside, _) in &plan.binds {
        if let Some((over, place)) = plan.over_usr.as_ref().zip(inside.strip_prefix("/usr/")) {
            let place = over.join(place);
            let is_folder = outside.is_dir();
            let folder = if is_folder { &place } else { place.parent().unwrap_or(over) };
            fs::create_dir_all(folder).map_err(Failure::of(format!("create {}", folder.display())))?;
            if !is_folder {
                fs::write(&place, "").map_err(Failure::of(format!("write {}", place.display())))?;
            }
        }
    }
    line(format_args!("mount --make-rprivate /"));
    line(format_args!("hostname {}", plan.name));
    if let Some(image) = &plan.image {
        line(format_args!("mount --bind {} {root}", image.display()));
        line(format_args!("mkdir -p {root}/proc {root}/dev {root}/run/secrets {root}/etc"));
    } else {
        line(format_args!("mount -t tmpfs -o mode=0755 none {root}"));
        line(format_args!(
            "mkdir -p {root}/usr {root}/etc {root}/proc {root}/dev {root}/run/secrets {root}/var/lib {root}/var/log"
        ));
        line(format_args!("ln -s /run {root}/var/run"));
        match &plan.over_usr {
            Some(over) => {
                line(format_args!("mount -t overlay -o ro,lowerdir={}:/usr none {root}/usr", over.display()));
            }
            None => {
                line(format_args!("mount -o bind,ro /usr {root}/usr"));
            }
        }
        line(format_args!("for link in bin sbin lib lib64; do ln -s usr/$link {root}/$link; done"));
        line(format_args!(
            "for part in ssl ca-certificates alternatives ld.so.cache ld.so.conf ld.so.conf.d nsswitch.conf localtime mime.types; do if [ -e /etc/$part ]; then cp -a /etc/$part {root}/etc/; fi; done"
        ));
        line(format_args!(
            "printf 'root:x:0:0::/:/bin/sh\\n{0}:x:{1}:{2}::/tmp:/bin/sh\\n' >{root}/etc/passwd",
            plan.user_name, plan.user.0, plan.user.1
        ));
        line(format_args!("printf 'root:x:0:\\n{}:x:{}:\\n' >{root}/etc/group", plan.user_name, plan.user.1));
        let hosts: Vec<String> =
            plan.hosts.iter().map(|(name, address)| format!("{address} {name}\\n")).collect();
        line(format_args!("printf '127.0.0.1 localhost\\n{}' >{root}/etc/hosts", hosts.concat()));
    }
    line(format_args!("mount -t proc proc {root}/proc"));
    line(format_args!("mount -t tmpfs -o mode=0755 none {root}/dev"));
    line(format_args!(
        "for file in null zero full random urandom; do touch {root}/dev/$file; mount --bind /dev/$file {root}/dev/$file; done"
    ));
    line(format_args!("mkdir -m 1777 {root}/dev/shm; mount -t tmpfs -o mode=1777 none {root}/dev/shm"));
    line(format_args!(
        "ln -s /proc/self/fd {root}/dev/fd; ln -s /proc/self/fd/1 {root}/dev/stdout; ln -s /proc/self/fd/2 {root}/dev/stderr"
    ));
    for (inside, options) in &plan.tmpfs {
        let inside = inside.replace("/var/run/", "/run/");
        line(format_args!("mkdir -p {root}{inside}; mount -t tmpfs -o {options} none {root}{inside}"));
    }
    for (outside, inside, writable) in &plan.binds {
        let how = if *writable { "rw" } else { "ro" };
        let outside = outside.display();
        line(format_args!(
            "if [ -d {outside} ]; then mkdir -p {root}{inside}; else mkdir -p $(dirname {root}{inside}); [ -e {root}{inside} ] || touch {root}{inside}; fi"
        ));
        line(format_args!(
            "mount --bind {outside} {root}{inside}; mount -o remount,bind,{how} {root}{inside}"
        ));
    }
    if plan.read_only {
        line(format_args!("mount -o remount,bind,ro {root}"));
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let env: Vec<String> = plan.env.iter().map(|(name, value)| quoted(&format!("{name}={value}"))).collect();
    let program: Vec<String> = plan.program.iter().map(|word| quoted(word)).collect();
    let chroot = installed("chroot", "coreutils")?;
    let (user, group) = plan.user;
    line(format_args!(
        "exec env -i PATH={} HOME=/tmp {} {} --userspec={user}:{group} --groups= {root} {}",
        path(),
        env.join(" "),
        chroot.display(),
        program.join(" ")
    ));
    Ok(text)
}
