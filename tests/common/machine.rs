//! A whole machine that a test drives: QEMU by its monitor, the guest by a shell on its second serial port.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::guest::Guest;
use super::{eventually, mlx5emu, stderr, stdout};

/// What the guest says when it is up, and after each command, before its status.
const UP: &str = "@@up";
const DONE: &str = "@@done ";

/// The first process: a shell on the second serial port, with the scenarios' library.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run; mount -t debugfs debugfs /sys/kernel/debug
ip link set lo up
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
busybox stty -F /dev/ttyS1 raw -echo
. /tap.sh >/dev/null
exec </dev/ttyS1 >/dev/ttyS1
echo @@up
while read -r line; do
    { eval "$line"; } >/run/said 2>&1 </dev/null
    status=$?
    cat /run/said
    echo
    echo "@@done $status"
done
"#;

/// A machine. Dropping it ends QEMU.
pub struct Machine {
    qemu: Child,
    monitor: UnixStream,
    replies: Receiver<Value>,
    /// Events of the monitor that nobody has asked for yet.
    events: VecDeque<Value>,
    shell: UnixStream,
    lines: Receiver<String>,
    console: PathBuf,
    /// QEMU's standard error.
    errors: PathBuf,
}

/// What machines are started from. They can mount the directory that it lies in, read-only, with the tag `k`: kernel and
/// initial file system are `vmlinuz` and `initrd` in it.
pub struct Boot {
    guest: Guest,
    home: PathBuf,
}

impl Boot {
    /// A guest with this kernel, below `home`.
    pub fn new(home: &Path, kernel: &str) -> Boot {
        let library = include_str!("../../guest-tests/scenarios/lib/tap.sh");
        let mut guest = Guest::with(home, kernel, INIT, &[("tap.sh", library)]);
        // These machines are rebooted.
        guest.qemu.retain(|word| word != "-no-reboot" && word != "-serial" && word != "stdio");
        std::fs::copy(&guest.image, home.join("vmlinuz")).unwrap();
        Boot { guest, home: home.to_path_buf() }
    }

    /// Starts a machine with the card that is served from `dir`.
    pub fn start(&self, dir: &Path) -> Machine {
        self.start_with(card_args(&self.home, dir))
    }

    /// Starts a machine that has a place for the functions of this card, but not them.
    pub fn start_without(&self, dir: &Path) -> Machine {
        let mut words = card_args(&self.home, dir);
        while let Some(at) = words.iter().position(|word| word.starts_with('{')) {
            words.drain(at - 1..=at);
        }
        self.start_with(words)
    }

    fn start_with(&self, card: Vec<String>) -> Machine {
        let at = |name: &str| self.home.join(name);
        let socket = |name: &str| format!("unix:{},server=on,wait=off", at(name).display());
        let console = at("console");
        let mut command = Command::new(&self.guest.qemu[0]);
        command.args(&self.guest.qemu[1..]).args(card);
        command.args(["-serial", &format!("file:{}", console.display()), "-serial", &socket("shell")]);
        command.args(["-qmp", &socket("monitor")]);
        // The kernel and the initial file system, for kexec.
        let share = format!("local,id=k,path={},security_model=none,readonly=on", self.home.display());
        command.args(["-fsdev", &share, "-device", "virtio-9p-pci,fsdev=k,mount_tag=k"]);
        let errors = at("qemu.err");
        let stderr = File::create(&errors).unwrap();
        let qemu = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let shell = connect(&at("shell"));
        let lines = lines_of(&shell, Some);
        let monitor = connect(&at("monitor"));
        let replies = lines_of(&monitor, |line| serde_json::from_str(&line).ok());
        let mut machine = Machine { qemu, monitor, replies, events: VecDeque::new(), shell, lines, console, errors };
        machine.monitor("qmp_capabilities", json!({}));
        machine.up();
        machine
    }
}

/// The words for QEMU that attach the card.
fn card_args(home: &Path, dir: &Path) -> Vec<String> {
    let output =
        mlx5emu(home).args(["qemu-args", "--mem", "1G", "--format", "json", "--dir"]).arg(dir).output().unwrap();
    serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)))
}

fn connect(path: &Path) -> UnixStream {
    let mut stream = None;
    eventually("QEMU's socket", || {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    stream.unwrap()
}

fn lines_of<T: Send + 'static>(stream: &UnixStream, parse: fn(String) -> Option<T>) -> Receiver<T> {
    let (to, lines) = channel();
    let stream = BufReader::new(stream.try_clone().unwrap());
    std::thread::spawn(move || {
        // A guest may write anything: what is not text is no line of ours.
        for line in stream.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            if parse(line).is_some_and(|line| to.send(line).is_err()) {
                return;
            }
        }
    });
    lines
}

fn limit() -> Duration {
    let scale: u32 = std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    Duration::from_secs(120) * scale
}

impl Machine {
    /// Waits until the guest has booted.
    pub fn up(&mut self) {
        while self.line("the guest boots") != UP {}
    }

    fn line(&mut self, what: &str) -> String {
        self.lines.recv_timeout(limit()).unwrap_or_else(|_| panic!("still waiting: {what}\n{}", self.console()))
    }

    /// Whether QEMU ends within `limit` and says `why`.
    pub fn aborted(&mut self, why: &str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if self.qemu.try_wait().unwrap().is_some() {
                let said = String::from_utf8_lossy(&std::fs::read(&self.errors).unwrap()).to_string();
                assert!(said.contains(why), "{}", self.console());
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// What the kernel wrote to its console last, and QEMU to its standard error.
    pub fn console(&self) -> String {
        let last = |path: &Path, n: usize| {
            let said = String::from_utf8_lossy(&std::fs::read(path).unwrap()).to_string();
            let lines: Vec<&str> = said.lines().collect();
            lines[lines.len().saturating_sub(n)..].join("\n")
        };
        format!("the kernel says:\n{}\nQEMU says:\n{}", last(&self.console, 40), last(&self.errors, 10))
    }

    /// Has the guest run `script`, a single line, without waiting for its end.
    pub fn send(&mut self, script: &str) {
        assert!(!script.contains('\n'));
        writeln!(self.shell, "{script}").unwrap();
    }

    /// Runs `script` in the guest; its exit status and what it wrote.
    pub fn run(&mut self, script: &str) -> (i32, String) {
        self.send(script);
        let mut said = String::new();
        loop {
            let line = self.line(script);
            if let Some(status) = line.strip_prefix(DONE) {
                return (status.parse().unwrap(), said.trim_end().to_string());
            }
            said = said + &line + "\n";
        }
    }

    /// Runs `script`, which must succeed; what it wrote.
    pub fn ok(&mut self, script: &str) -> String {
        let (status, said) = self.run(script);
        if status != 0 {
            let (_, log) = self.run("dmesg | tail -n 40");
            panic!("{script}\nended with {status}:\n{said}\nthe kernel says:\n{log}");
        }
        said
    }

    /// Gives QEMU a command; its answer.
    pub fn monitor(&mut self, command: &str, arguments: Value) -> Value {
        let call = json!({ "execute": command, "arguments": arguments });
        writeln!(self.monitor, "{call}").unwrap();
        loop {
            match self.replies.recv_timeout(limit()) {
                Ok(reply) if reply.get("event").is_some() => self.events.push_back(reply),
                Ok(mut reply) if reply.get("return").is_some() => return reply["return"].take(),
                Ok(reply) if reply.get("error").is_some() => panic!("{call}: {reply}"),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("QEMU does not answer {call}"),
                Err(RecvTimeoutError::Disconnected) => panic!("QEMU has ended: {call}\n{}", self.console()),
            }
        }
    }

    /// Waits until device `id` is gone; false if QEMU has ended.
    pub fn deleted(&mut self, id: &str) -> bool {
        let is = |event: &Value| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == id;
        if let Some(at) = self.events.iter().position(is) {
            self.events.remove(at);
            return true;
        }
        loop {
            match self.replies.recv_timeout(limit()) {
                Ok(event) if is(&event) => return true,
                Ok(event) => self.events.push_back(event),
                Err(RecvTimeoutError::Disconnected) => return self.qemu.wait().unwrap().success(),
                Err(RecvTimeoutError::Timeout) => panic!("{id} is not unplugged\n{}", self.console()),
            }
        }
    }

    /// Ends QEMU by its monitor; its exit status.
    pub fn quit(mut self) -> Option<i32> {
        self.monitor("quit", json!({}));
        self.qemu.wait().unwrap().code()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The card's functions as QEMU's `device_add` takes them, function 0 last: a guest looks at the slot when that comes.
pub fn devices(home: &Path, dir: &Path) -> Vec<Value> {
    let words = card_args(home, dir);
    let mut devices: Vec<Value> = words.iter().filter_map(|word| serde_json::from_str(word).ok()).collect();
    devices.retain(|device| device["driver"] == "vfio-user-pci");
    devices.reverse();
    devices
}
