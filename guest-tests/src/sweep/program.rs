//! Programs that end, or are given up.

use std::fmt::{self, Display};
use std::io::Read;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What is kept of what a program says, bytes.
const SAID: u64 = 64 << 10;

/// Why a program did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It did not end within so many seconds.
    Hangs(u64),
    /// It ended, but with this.
    Failed(String),
    /// It cannot be run.
    NotRun(String),
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Hangs(limit) => write!(f, "it did not end within {limit} s"),
            Why::Failed(how) => write!(f, "the command failed with {how}"),
            Why::NotRun(why) => f.write_str(why),
        }
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    said: Vec<u8>,
}

impl Ended {
    pub(super) fn success(&self) -> bool {
        self.status.success()
    }

    pub(super) fn code(&self) -> String {
        self.status.code().map_or("a signal".to_string(), |code| code.to_string())
    }

    pub(super) fn succeeded(&self) -> Result<(), Why> {
        if self.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&self.said).into_owned();
        let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_string();
        Err(Why::Failed(format!("{} ({said})", self.code())))
    }
}

/// A line for the shell.
pub(super) fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(text);
    command
}

/// Runs `command`; one that does not end within `limit`, scaled, is given up.
pub(super) fn within(mut command: Command, limit: Duration) -> Result<Ended, Why> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let spawned = command.spawn();
    let mut child = spawned.map_err(|e| Why::NotRun(format!("cannot run {}: {e}", command.get_program().display())))?;
    let limit = mlx5emu_qemu::boot::scaled(limit);
    let until = Instant::now() + limit;
    let stderr = child.stderr.take().map(drain);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() > until => return Err(given_up(child, limit)),
            Ok(None) => thread::sleep(LOOK),
            Err(error) => return Err(Why::NotRun(error.to_string())),
        }
    };
    let said = stderr.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Ended { status, said })
}

/// Reads the first part of what a program says, and throws the rest away.
fn drain(mut from: ChildStderr) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut said = Vec::new();
        let _ = from.by_ref().take(SAID).read_to_end(&mut said);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        said
    })
}

/// A program that waits in the kernel cannot be ended: it is not waited for.
fn given_up(mut child: Child, limit: Duration) -> Why {
    let _ = child.kill();
    Why::Hangs(limit.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_end_or_are_given_up() {
        assert_eq!(within(shell("exit 0"), Duration::from_secs(5)).unwrap().succeeded(), Ok(()));
        let why = within(shell("echo no room >&2; exit 3"), Duration::from_secs(5)).unwrap().succeeded().unwrap_err();
        assert_eq!(why.to_string(), "the command failed with 3 (no room)");
        let why = within(shell("exec sleep 100"), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(why, Why::Hangs(_)), "{why}");
        let why = within(Command::new("/no/such/program"), Duration::from_secs(5)).unwrap_err();
        assert!(matches!(why, Why::NotRun(_)), "{why}");
    }
}
