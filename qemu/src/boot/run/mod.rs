//! A started QEMU: serving its streams until it ends, and judging the end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::config::{BootError, Ending, VmConfig};
use super::handle::Handle;
use super::status::Message;
use super::streams::{self, Listening, Sink};
use super::{at, console, terminal};
use crate::host::last_words;
use crate::program::Qemu;

/// How often the loop looks whether QEMU has ended; messages of the guest are seen at once.
const TICK: Duration = Duration::from_millis(20);
/// A guest that has not said anything by then does not boot. A debugging kernel under emulation takes a tenth of it.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// A guest that has reported and not powered off by then hangs.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(30);

/// The sockets that a run serves.
#[derive(Debug)]
pub(crate) struct Ports {
    /// The kernel's serial console.
    pub(crate) console: Listening,
    /// The virtio ports; the status port is the last.
    pub(crate) guest: Vec<(Listening, Kind)>,
}

impl Ports {
    pub(crate) fn listen(config: &VmConfig, dir: &Path) -> Result<Self, BootError> {
        let listen = |name: &str| Listening::new(dir, name).map_err(at("listening on a socket in", dir));
        let mut guest = Vec::new();
        if config.command.is_some() {
            guest.push((listen("mlx5emu.stdout")?, Kind::Stdout));
            guest.push((listen("mlx5emu.stderr")?, Kind::Stderr));
            if config.output.is_none() && !terminal::is_interactive() {
                guest.push((listen("mlx5emu.stdin")?, Kind::Stdin));
            }
        }
        guest.push((listen("mlx5emu.status")?, Kind::Status));
        Ok(Self { console: listen("console")?, guest })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stdin,
    Stdout,
    Stderr,
    Status,
}

/// A started QEMU with its streams.
pub(crate) struct Run {
    child: Child,
    since: Instant,
    messages: Receiver<Message>,
    threads: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
    qemu_log: PathBuf,
    signals: Signals,
    _terminal: terminal::Restore,
}

impl Run {
    pub(crate) fn start(
        config: &VmConfig,
        qemu: &Qemu,
        arguments: &[OsString],
        (dir, console_log): (&Path, &Path),
        ports: Ports,
    ) -> Result<Self, BootError> {
        let qemu_log = dir.join("qemu.log");
        let log = File::create(&qemu_log).map_err(at("creating", &qemu_log))?;
        let mut command: Command = qemu.command();
        command.args(arguments);
        if config.command.is_some() {
            // Ctrl-C is for this process, which then ends QEMU.
            command.stdin(Stdio::null()).process_group(0);
            command.stdout(log.try_clone().map_err(at("opening", &qemu_log))?);
        }
        command.stderr(log);
        let console = File::create(console_log).map_err(at("opening", console_log))?;
        let signals = Signals::catch().map_err(BootError::Qemu)?;
        let terminal = terminal::Restore::remember();
        let (to, messages) = channel();
        let mut sockets = vec![ports.console.path.clone()];
        sockets.extend(ports.guest.iter().map(|(port, _)| port.path.clone()));
        let mut threads = vec![ports.console.serve(Sink::Log(console, config.handle.clone()))];
        let own = |path: &Path| File::options().create(true).append(true).open(path).map_err(at("creating", path));
        let output = config.output.as_deref().map(own).transpose()?;
        for (port, kind) in ports.guest {
            let file = output.as_ref().map(File::try_clone).transpose().map_err(BootError::Qemu)?;
            let thread = port.serve(match (kind, file) {
                (Kind::Stdout | Kind::Stderr, Some(file)) => Sink::Log(file, None),
                (Kind::Stdout, None) => Sink::Copy(Box::new(io::stdout())),
                (Kind::Stderr, None) => Sink::Copy(Box::new(io::stderr())),
                (Kind::Status, _) => Sink::Status(to.clone()),
                (Kind::Stdin, _) => Sink::Feed,
            });
            // The thread that reads our standard input may sit in that read for ever.
            if kind != Kind::Stdin {
                threads.push(thread);
            }
        }
        let child = command.spawn().map_err(BootError::Qemu)?;
        let since = Instant::now();
        Ok(Self { child, since, messages, threads, sockets, qemu_log, signals, _terminal: terminal })
    }

    pub(crate) fn finish(mut self, config: &VmConfig, console_log: &Path) -> (Ending, Option<Duration>) {
        let mut state = State::default();
        let ending = loop {
            if let Some(signal) = self.signals.caught() {
                break Ending::Interrupted(signal);
            }
            match self.messages.recv_timeout(TICK) {
                Ok(message) => state.take(message, self.since.elapsed()),
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                // What was said before the end may still be on its way.
                self.close();
                self.messages.iter().for_each(|message| state.take(message, self.since.elapsed()));
                break state.ended(config, status.success(), &self.qemu_log, console_log);
            }
            if config.handle.as_ref().is_some_and(Handle::stopped) {
                break Ending::Stopped;
            }
            if let Some(ending) = state.overdue(config, self.since.elapsed()) {
                break ending;
            }
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.close();
        (ending, state.ready)
    }

    /// Waits until everything that the guest said has been passed on.
    fn close(&mut self) {
        self.sockets.iter().for_each(|socket| streams::release(socket));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What the guest has said so far.
#[derive(Debug, Default)]
struct State {
    ready: Option<Duration>,
    exit: Option<(u8, Duration)>,
    failure: Option<String>,
}

impl State {
    fn take(&mut self, message: Message, now: Duration) {
        match message {
            Message::Ready => self.ready = self.ready.or(Some(now)),
            // The first word counts: whatever else writes to the port cannot change it.
            Message::Exit(status) => self.exit = self.exit.or(Some((status, now))),
            Message::Fail(why) => self.failure = self.failure.take().or(Some(why)),
        }
    }

    /// QEMU has ended by itself.
    fn ended(&self, config: &VmConfig, success: bool, qemu_log: &Path, console_log: &Path) -> Ending {
        if let Some(why) = &self.failure {
            return Ending::Failed(why.clone());
        }
        if let Some((status, _)) = self.exit {
            return Ending::Exited(status);
        }
        if let Some(panic) = console::panic_line(console_log) {
            return Ending::Failed(format!("the guest's kernel died: {panic}"));
        }
        if !success {
            let words = last_words(&fs::read(qemu_log).unwrap_or_default());
            return Ending::Failed(format!("QEMU failed: {}", mlx5emu_config::printable(&words)));
        }
        match (console::init_line(console_log), self.ready) {
            (Some(line), None) => Ending::Failed(line),
            // Ctrl-A X, or `reboot` in the shell.
            (_, Some(_)) if config.command.is_none() => Ending::Exited(0),
            (_, Some(_)) => Ending::Failed("the guest ended before the command did".to_owned()),
            (None, None) => Ending::Failed("the guest ended while it was booting".to_owned()),
        }
    }

    /// Whether something should have happened by now.
    fn overdue(&self, config: &VmConfig, now: Duration) -> Option<Ending> {
        if let Some((_, at)) = self.exit
            && now > at + scaled(POWER_OFF_LIMIT)
        {
            return Some(Ending::Failed("the guest reported its end and does not power off".to_owned()));
        }
        if self.exit.is_none() && config.timeout.is_some_and(|timeout| now > timeout) {
            return Some(Ending::TimedOut);
        }
        let debugged = config.gdb.is_some();
        if self.ready.is_none() && !debugged && now > scaled(BOOT_LIMIT) {
            return Some(Ending::Failed(format!("the guest has not booted in {} s", scaled(BOOT_LIMIT).as_secs())));
        }
        None
    }
}

/// `limit`, stretched for slow machines by `MLX5EMU_TIMEOUT_SCALE`.
pub fn scaled(limit: Duration) -> Duration {
    let scale = std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|text| text.parse::<f64>().ok());
    limit.mul_f64(scale.filter(|scale| (0.1..=1000.0).contains(scale)).unwrap_or(1.0))
}

/// Remembers a signal that asks this process to end, as long as it lives.
#[derive(Debug)]
struct Signals {
    caught: Arc<AtomicUsize>,
    ids: Vec<signal_hook::SigId>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let caught = Arc::new(AtomicUsize::new(0));
        let register = |signal: i32| {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&caught), number)
        };
        let ids = [SIGINT, SIGTERM, SIGHUP].into_iter().map(register).collect::<io::Result<_>>()?;
        Ok(Self { caught, ids })
    }

    fn caught(&self) -> Option<i32> {
        let signal = self.caught.load(Ordering::Relaxed);
        i32::try_from(signal).ok().filter(|signal| *signal != 0)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests;
