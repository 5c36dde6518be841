//! A guest that a test talks to: commands in, statuses and output out, while it runs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::mlx5emu;

/// What the guest's shell says after each command, before its status.
const DONE: &str = "@@done ";

/// What every session knows: `retry SECONDS COMMAND…`, `find_dev` sets $dev to the interface of an mlx5 function, `net N`
/// prints that of function N, `carrier 0|1` looks at the link of $dev, `complaints` are the kernel's.
const PRELUDE: &str = r#"
retry() {
    tries=$(($1 * 10)); shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1)); [ $tries -gt 0 ] || return 1; sleep 0.1
    done
}
find_dev() { for d in /sys/bus/pci/drivers/mlx5_core/0000:*/net/*; do dev=${d##*/}; [ -e "$d" ] && return 0; done; return 1; }
net() { for d in /sys/bus/pci/devices/0000:01:00.$1/net/*; do [ -e "$d" ] && echo "${d##*/}"; done; }
carrier() { [ "$(cat /sys/class/net/$dev/carrier)" = "$1" ]; }
complaints() {
    dmesg --level emerg,alert,crit,err,warn | grep -E 'mlx5|pci|PCI|vfio|VFIO'
    dmesg | grep -E '\] (RIP|Call Trace): ?|WARNING:|BUG:|FW pages counter is'
    true
}
"#;

/// A guest of `mlx5emu vm` whose command is a shell. Dropping it kills it.
pub struct Session {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Session {
    /// Boots a guest with `functions` of the card that runs in `dir`. Several can boot at a time: the first command waits
    /// until the guest is there.
    pub fn start(home: &Path, kernel: &str, dir: &Path, functions: &str) -> Session {
        let mut command = mlx5emu(home);
        command.args(["vm", "--kernel", kernel, "--mem", "512M", "--functions", functions, "--dir"]).arg(dir);
        command.args(["--", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(PRELUDE.as_bytes()).unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Session { child, input, lines }
    }

    /// Runs `script` in the guest's shell; its exit status and what it wrote. `None`: the guest is gone.
    pub fn run(&mut self, script: &str) -> Option<(i32, String)> {
        self.begin(script);
        self.end()
    }

    /// Starts a script whose end [`Session::end`] waits for.
    pub fn begin(&mut self, script: &str) {
        // A guest that is gone is noticed when its answer is waited for.
        let _ = writeln!(self.input, "{{ {script}\n}} </dev/null 2>&1; status=$?; echo; echo \"{DONE}$status\"");
    }

    /// Waits for what [`Session::begin`] started.
    pub fn end(&mut self) -> Option<(i32, String)> {
        let scale: u32 = std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(120) * scale).ok()?;
            match line.strip_prefix(DONE) {
                Some(status) => return Some((status.parse().unwrap(), said.trim_end().to_string())),
                None => said = said + &line + "\n",
            }
        }
    }

    /// Runs `script`, which must succeed; what it wrote.
    pub fn ok(&mut self, script: &str) -> String {
        match self.run(script) {
            Some((0, said)) => said,
            Some((status, said)) => {
                let log = self.run("dmesg | tail -n 30").map_or(String::new(), |(_, log)| log);
                panic!("{script}\nended with {status}:\n{said}\nthe kernel says:\n{log}")
            }
            None => panic!("{script}\nthe guest is gone, or does not answer"),
        }
    }

    /// Sends `signal` to the guest's QEMU.
    pub fn signal(&self, signal: &str) {
        let found = Command::new("pgrep").args(["-P", &self.child.id().to_string()]).output().unwrap();
        let pid = super::stdout(&found);
        assert_eq!(pid.lines().count(), 1, "one QEMU: {pid}");
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }

    /// The exit status of `mlx5emu vm`, which is ending.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends the shell, and so the guest, in good order.
    pub fn leave(mut self) -> Option<i32> {
        writeln!(self.input, "exit 0").unwrap();
        self.wait()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // QEMU ends with its parent.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
