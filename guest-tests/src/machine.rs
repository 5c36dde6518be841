//! A guest that carries out one command after the other.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mlx5emu_qemu::boot::{BootError, Ending, GuestFile, Handle, Outcome, Port, Vm, VmConfig};
use mlx5emu_qemu::setup::{Installed, Setup};

/// The guest's side.
const AGENT: &str = include_str!("../init/agent");
const AGENT_PATH: &str = "/mlx5emu/agent";
const AGENT_PORT: &str = "mlx5emu.agent";
/// What it says when it can be told what to do.
const GREETING: &[u8] = b"agent ready";

/// What a command may print; the rest is dropped, and said to be.
const MAX_OUTPUT: usize = 4 << 20;
/// How often a wait looks at what else may have happened.
const GLANCE: Duration = Duration::from_millis(200);
/// Pieces of output that wait to be taken; then the guest waits.
const PIECES: usize = 64;
/// How long a kernel takes to carry out a SysRq and print what it has to say.
const SYSRQ: Duration = Duration::from_secs(2);

/// What is common to all guests of a run.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) setup: Arc<Setup>,
    pub(crate) installed: Arc<Installed>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With this status.
    Exited(u8),
    /// Not within its time: it goes on, and the guest is good for nothing else.
    TimedOut,
    /// The guest has gone, and why.
    Gone(String),
    /// The caller's `lost` said so.
    Lost(String),
    /// A signal asks this process to end.
    Interrupted(i32),
}

/// A command's end and what it printed.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) end: End,
    pub(crate) output: Vec<u8>,
}

impl Done {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

/// A running guest.
pub(crate) struct Machine {
    handle: Handle,
    runs: Option<JoinHandle<Result<Outcome, BootError>>>,
    port: UnixStream,
    pieces: Receiver<Vec<u8>>,
    console: PathBuf,
    /// How it ended, once it has.
    ended: Option<End>,
    tokens: u64,
}

impl Machine {
    /// Boots a guest with `config` and waits until it can be told what to do. Logs are kept in `dir`; `socket` is where it
    /// is reached, a short path.
    ///
    /// # Errors
    /// Why it did not boot, in a sentence.
    pub(crate) fn boot(
        host: &Host,
        mut config: VmConfig,
        dir: &Path,
        socket: &Path,
        lost: &mut dyn FnMut() -> Option<String>,
    ) -> Result<Machine, End> {
        let gone = |error: io::Error| End::Gone(format!("the guest can't be reached: {error}"));
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).map_err(gone)?;
        let handle = config.handle.clone().unwrap_or_default();
        let console = dir.join("console.log");
        config.ports.push(Port { name: AGENT_PORT.to_string(), socket: socket.to_owned() });
        config.files.push(GuestFile { path: AGENT_PATH.to_string(), mode: 0o755, data: AGENT.as_bytes().to_vec() });
        config.command = Some(vec!["/bin/sh".to_string(), AGENT_PATH.to_string()]);
        config.output = Some(dir.join("agent.log"));
        config.console_log = Some(console.clone());
        config.handle = Some(handle.clone());
        let Host { setup, installed } = host.clone();
        // QEMU ends with the thread that started it.
        let runs = std::thread::spawn(move || Vm::run(&setup, &installed, &config));
        let (to, pieces) = sync_channel(PIECES);
        let port = match connected(&listener, &runs, lost) {
            Ok(port) => port,
            Err(end) => {
                handle.stop();
                return Err(end.unwrap_or_else(|| ending(runs.join())));
            }
        };
        let reader = port.try_clone().map_err(gone)?;
        std::thread::spawn(move || read(reader, &to));
        let mut machine = Machine { handle, runs: Some(runs), port, pieces, console, ended: None, tokens: 0 };
        // Booting has its own limit, in Vm::run.
        let greeted = machine.wait_for(None, lost, &mut |line| (line == GREETING).then_some(0));
        match greeted.end {
            End::Exited(_) => Ok(machine),
            other => Err(other),
        }
    }

    /// Runs a command of the guest's shell.
    pub(crate) fn run(&mut self, command: &str, limit: Duration, lost: &mut dyn FnMut() -> Option<String>) -> Done {
        if let Some(end) = &self.ended {
            return Done { end: end.clone(), output: Vec::new() };
        }
        self.tokens += 1;
        // Not to be guessed by accident, nor the last one's.
        let token = format!("mlx5emu-{}-{}", std::process::id(), self.tokens);
        let line = format!("{token} {}\n", command.replace('\n', " "));
        if let Err(error) = self.port.write_all(line.as_bytes()) {
            let end = self.gone(format!("the guest can't be told what to do: {error}"));
            return Done { end, output: Vec::new() };
        }
        let end_of = |line: &[u8]| {
            let rest = line.strip_prefix(token.as_bytes())?.strip_prefix(b" ")?;
            str::from_utf8(rest).ok()?.parse().ok()
        };
        let mut done = self.wait_for(Some(limit), lost, &mut |line| end_of(line));
        // The line break with which the agent begins its line.
        if matches!(done.end, End::Exited(_)) && done.output.last() == Some(&b'\n') {
            done.output.pop();
        }
        done
    }

    /// The token of the last command.
    pub(crate) fn token(&self) -> String {
        format!("mlx5emu-{}-{}", std::process::id(), self.tokens)
    }

    /// Takes what the guest prints until `end` knows a line, or something else happens.
    fn wait_for(
        &mut self,
        limit: Option<Duration>,
        lost: &mut dyn FnMut() -> Option<String>,
        end: &mut dyn FnMut(&[u8]) -> Option<u8>,
    ) -> Done {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut output = Output::default();
        let mut line = Vec::new();
        let end = loop {
            match self.pieces.recv_timeout(GLANCE) {
                Ok(piece) => {
                    if let Some(status) = output.take(&piece, &mut line, end) {
                        break End::Exited(status);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break self.gone("the guest hung up".to_string()),
                Err(RecvTimeoutError::Timeout) => {
                    if self.runs.as_ref().is_some_and(JoinHandle::is_finished) {
                        break self.gone("the guest ended".to_string());
                    }
                }
            }
            if let Some(why) = lost() {
                break End::Lost(why);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                break End::TimedOut;
            }
        };
        // Half a line is output too.
        if !matches!(end, End::Exited(_)) {
            output.add(&line);
        }
        Done { end, output: output.bytes }
    }

    /// The machine has ended by itself, or is as good as ended: why.
    fn gone(&mut self, else_: String) -> End {
        // Its last words come first.
        let until = Instant::now() + mlx5emu_qemu::boot::scaled(Duration::from_secs(20));
        while self.runs.as_ref().is_some_and(|runs| !runs.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let end = match self.stop() {
            Some(End::Gone(why)) if why == STOPPED => End::Gone(else_),
            Some(end) => end,
            None => End::Gone(else_),
        };
        self.ended = Some(end.clone());
        end
    }

    /// Has a guest that hangs say where.
    pub(crate) fn explain_hang(&self) {
        explain_hang(&self.handle);
    }

    /// The kernel console's log.
    pub(crate) fn console(&self) -> &Path {
        &self.console
    }

    /// Ends it, at once.
    pub(crate) fn stop(&mut self) -> Option<End> {
        self.handle.stop();
        self.runs.take().map(|runs| ending(runs.join()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Has a guest that hangs say where: tasks that wait (w), all CPUs (l), all tasks (t). It is in the console's log.
pub(crate) fn explain_hang(handle: &Handle) {
    for key in *b"wlt" {
        if let Err(error) = handle.sysrq(key) {
            log::debug!("SysRq {}: {error}", char::from(key));
            return;
        }
        std::thread::sleep(mlx5emu_qemu::boot::scaled(SYSRQ));
    }
}

/// Waits for QEMU to connect. `Err(None)`: it has ended.
fn connected(
    listener: &UnixListener,
    runs: &JoinHandle<Result<Outcome, BootError>>,
    lost: &mut dyn FnMut() -> Option<String>,
) -> Result<UnixStream, Option<End>> {
    let failed = |error: io::Error| Some(End::Gone(format!("the guest can't be reached: {error}")));
    listener.set_nonblocking(true).map_err(failed)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error)),
        }
        if runs.is_finished() {
            return Err(None);
        }
        if let Some(why) = lost() {
            return Err(Some(End::Lost(why)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read(mut from: UnixStream, to: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if to.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

const STOPPED: &str = "the guest was ended";

fn ending(run: std::thread::Result<Result<Outcome, BootError>>) -> End {
    match run {
        Ok(Ok(outcome)) => match outcome.ending {
            Ending::Failed(why) => End::Gone(why),
            Ending::Interrupted(signal) => End::Interrupted(signal),
            Ending::Exited(_) => End::Gone("the guest powered off".into()),
            Ending::TimedOut | Ending::Stopped => End::Gone(STOPPED.into()),
        },
        Ok(Err(error)) => End::Gone(error.to_string()),
        Err(_) => End::Gone("the thread of the guest ended with a panic".into()),
    }
}

/// What a command printed, bounded.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    full: bool,
}

impl Output {
    /// Adds the whole lines of `piece`; what `end` knows is the last one. The rest stays in `line`.
    fn take(&mut self, piece: &[u8], line: &mut Vec<u8>, end: &mut dyn FnMut(&[u8]) -> Option<u8>) -> Option<u8> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") {
                if let Some(status) = end(line.trim_ascii_end()) {
                    line.clear();
                    return Some(status);
                }
                self.add(line);
                line.clear();
            } else if line.len() > MAX_OUTPUT {
                self.add(line);
                line.clear();
            }
        }
        None
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() <= MAX_OUTPUT {
            self.bytes.extend_from_slice(bytes);
        } else if !self.full {
            self.full = true;
            self.bytes.extend_from_slice(b"\n# the rest of the output is dropped: it is too long\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_a_script_that_a_posix_shell_accepts() {
        assert!(std::process::Command::new("sh").args(["-n", "init/agent"]).status().unwrap().success());
        assert!(AGENT.contains("agent ready") && AGENT.contains(AGENT_PORT));
    }

    #[test]
    fn output_ends_with_the_line_that_is_known_however_it_arrives() {
        let stream = b"ok 1\nhalf\n\ntoken 3\nmore";
        for size in 1..stream.len() {
            let (mut output, mut line, mut status) = (Output::default(), Vec::new(), None);
            for piece in stream.chunks(size) {
                let mut end = |line: &[u8]| (line == b"token 3").then_some(3);
                status = status.or(output.take(piece, &mut line, &mut end));
                if status.is_some() {
                    break;
                }
            }
            assert_eq!((status, output.bytes.as_slice()), (Some(3), &b"ok 1\nhalf\n\n"[..]), "{size}");
        }
    }

    #[test]
    fn endless_output_is_bounded() {
        let (mut output, mut line) = (Output::default(), Vec::new());
        for _ in 0..2000 {
            output.take(&[b'x'; 10_000], &mut line, &mut |_| None);
        }
        assert!(output.bytes.len() + line.len() < 3 * MAX_OUTPUT);
    }
}
