//! A card in a process of its own: if it crashes, whoever started it lives on and can say so.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::own_program;

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The system refuses.
    #[error("cannot start the card's process: {0}")]
    System(std::io::Error),
    /// It ended before it served; it has said why on standard error.
    #[error("the card did not start{}", .0.map(|status| format!(" ({status})")).unwrap_or_default())]
    DidNotStart(Option<ExitStatus>),
    /// The process that it was started for has gone.
    #[error("the process that started this card has ended")]
    NoParent,
}

/// How long a card may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to serve.
#[derive(Debug)]
pub struct Options<'a> {
    /// The card file; `None` for the default card.
    pub card: Option<&'a Path>,
    /// Where the sockets go.
    pub dir: &'a Path,
    /// Leave the server unconfined.
    pub no_sandbox: bool,
    /// Offer guests a control port.
    pub guest_control: bool,
    /// Where it writes what it has to say; standard error when not given.
    pub log: Option<fs::File>,
    /// How much it says.
    pub verbose: u8,
}

/// A running `mlx5emu serve`. Dropping it ends it.
#[derive(Debug)]
pub struct CardProcess {
    child: Child,
    dir: PathBuf,
}

impl CardProcess {
    /// Starts a card and waits until its sockets listen.
    ///
    /// # Errors
    /// It did not start; it has said why on standard error.
    pub fn start(options: Options<'_>) -> Result<CardProcess, CardError> {
        let (ready, theirs) = rustix::pipe::pipe().map_err(|e| CardError::System(e.into()))?;
        fcntl_setfd(&ready, FdFlags::CLOEXEC).map_err(|e| CardError::System(e.into()))?;
        let mut command = Command::new(own_program());
        command.arg0("mlx5emu").arg("serve").arg("--dir").arg(options.dir);
        command.arg("--ready-fd").arg(theirs.as_raw_fd().to_string());
        command.arg("--with-parent").arg(std::process::id().to_string());
        command.args(options.no_sandbox.then_some("--no-sandbox"));
        command.args(options.guest_control.then_some("--guest-control"));
        command.args((0..options.verbose).map(|_| "-v"));
        command.args(options.card);
        if let Some(log) = options.log {
            command.stderr(log);
        }
        // A process group of its own: Ctrl-C on the terminal must reach the guest first, and the card must outlive it.
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn().map_err(CardError::System)?;
        let mut card = CardProcess { child, dir: options.dir.to_owned() };
        drop(theirs);
        let mut line = String::new();
        let read = BufReader::new(fs::File::from(ready).take(64)).read_line(&mut line);
        if read.is_ok() && line == "ready\n" {
            return Ok(card);
        }
        Err(CardError::DidNotStart(card.end()))
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of its sockets.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, and makes it end.
    fn end(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        signal(&self.child, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            sleep(Duration::from_millis(5));
        }
        log::warn!("the card's process did not end within {} s: it is killed", PATIENCE.as_secs());
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for CardProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends `signal` to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && let Err(e) = kill_process(pid, signal)
    {
        log::debug!("process {} is gone: {e}", child.id());
    }
}

/// Makes this process end when `parent` does, however that ends.
///
/// # Errors
/// The parent has ended already.
pub fn end_with_parent(parent: u32) -> Result<(), CardError> {
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(|_| CardError::NoParent)?;
    // Only now: before, the parent could have ended between the look and the request.
    match getppid().map(|pid| pid.as_raw_nonzero().get()) {
        Some(pid) if u32::try_from(pid) == Ok(parent) => Ok(()),
        _ => Err(CardError::NoParent),
    }
}
