//! Booting a guest: one call that starts QEMU, serves the guest's streams, and says how it ended.

mod accel;
mod args;
mod config;
mod console;
mod image;
mod status;
mod streams;
mod terminal;

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

pub use config::{AccelChoice, BootError, Ending, GuestFile, Outcome, Port, Share, VmConfig};

use crate::host::last_words;
use crate::program::Qemu;
use crate::setup::{Installed, Setup};
use accel::Probe;
use status::Message;
use streams::{Listening, Sink};

/// How often the loop looks whether QEMU has ended; messages of the guest are seen at once.
const TICK: Duration = Duration::from_millis(20);
/// A guest that has not said anything by then does not boot. A debugging kernel under emulation takes a tenth of it.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// A guest that has reported and not powered off by then hangs.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(30);
/// The oldest QEMU that can be told to end with its parent.
const ENDS_WITH_PARENT: [u32; 2] = [11, 0];

/// A virtual machine.
#[derive(Debug)]
pub struct Vm;

impl Vm {
    /// Boots `config`, waits for its end, and cleans up. A command's output goes to this process's standard output and
    /// error, and its input comes from standard input unless that is a terminal; without a command, the terminal is the
    /// guest's.
    ///
    /// The console's log is removed after a good end, unless the caller chose its place.
    pub fn run(setup: &Setup, installed: &Installed, config: &VmConfig) -> Result<Outcome, BootError> {
        check(config)?;
        let qemu = installed.qemu.as_ref().ok_or(BootError::NotInstalled("QEMU"))?;
        let userland = installed.userland.as_ref().ok_or(BootError::NotInstalled("the guest's userland"))?;
        let dir = run_dir()?;
        let console_log = console_log(config)?;
        let userland_archive = userland.archive();
        let parts: Vec<&Path> = [Some(&userland_archive), config.kernel.modules.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        enough_memory(config.mem_mib, image::mib(&parts))?;
        let initramfs = dir.path().join("initramfs");
        image::write(config, terminal::size(), &parts, &initramfs).map_err(at("writing", &initramfs))?;

        let probe = Probe { qemu, userland, kernel: &config.kernel.image, cache: setup.cache() };
        let accel = accel::decide(config.accel, &probe);
        let ports = listen(config, dir.path())?;
        let files = args::Files {
            initramfs,
            console_log: console_log.clone(),
            ports: ports.iter().map(|(port, _)| (port.name.clone(), port.path.clone())).collect(),
        };
        let arguments = args::arguments(config, &files, accel, qemu.at_least(&ENDS_WITH_PARENT));
        log::debug!("{:?} {arguments:?}", qemu.argv());
        let run = Run::start(config, qemu, &arguments, dir.path(), ports)?;
        let (ending, boot) = run.finish(config, &console_log);
        if matches!(ending, Ending::Exited(_)) && config.console_log.is_none() {
            let _ = fs::remove_file(&console_log);
        }
        Ok(Outcome { ending, console_log, boot })
    }
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BootError {
    let path = path.to_owned();
    move |source| BootError::Io { what, path, source }
}

/// What the user got wrong is said before anything starts.
fn check(config: &VmConfig) -> Result<(), BootError> {
    if config.shares.len() > args::MAX_SHARES {
        return Err(BootError::TooManyShares(config.shares.len()));
    }
    if let Some(share) = config.shares.iter().find(|share| !share.host.is_dir()) {
        return Err(BootError::NoShare(share.host.clone()));
    }
    if config.command.is_none() && !terminal::is_interactive() {
        return Err(BootError::NoTerminal);
    }
    Ok(())
}

/// The image is in memory twice while it is unpacked; the kernel and what runs need some too.
fn enough_memory(mem_mib: u32, image_mib: u64) -> Result<(), BootError> {
    let needed_mib = image_mib * 2 + 128;
    if u64::from(mem_mib) >= needed_mib { Ok(()) } else { Err(BootError::TooLittleMemory { mem_mib, needed_mib }) }
}

/// A socket's path has room for about a hundred bytes; a long temporary directory does not leave enough.
const LONGEST_TEMP_DIR: usize = 60;

fn run_dir() -> Result<tempfile::TempDir, BootError> {
    let usual = std::env::temp_dir();
    let dir = if usual.as_os_str().len() > LONGEST_TEMP_DIR { PathBuf::from("/tmp") } else { usual };
    tempfile::Builder::new().prefix("mlx5emu-vm-").tempdir_in(&dir).map_err(at("creating a directory in", &dir))
}

fn console_log(config: &VmConfig) -> Result<PathBuf, BootError> {
    if let Some(path) = &config.console_log {
        return File::create(path).map(|_| path.clone()).map_err(at("creating", path));
    }
    let dir = std::env::temp_dir();
    let file = tempfile::Builder::new().prefix("mlx5emu-console-").suffix(".log").tempfile_in(&dir);
    let kept = file.and_then(|file| file.keep().map_err(|error| error.error));
    kept.map(|(_, path)| path).map_err(at("creating a file in", &dir))
}

/// The ports that this run serves. The status port is the last.
fn listen(config: &VmConfig, dir: &Path) -> Result<Vec<(Listening, Kind)>, BootError> {
    let mut wanted = Vec::new();
    if config.command.is_some() {
        wanted.extend([("mlx5emu.stdout", Kind::Stdout), ("mlx5emu.stderr", Kind::Stderr)]);
        if !terminal::is_interactive() {
            wanted.push(("mlx5emu.stdin", Kind::Stdin));
        }
    }
    wanted.push(("mlx5emu.status", Kind::Status));
    wanted
        .into_iter()
        .map(|(name, kind)| Ok((Listening::new(dir, name).map_err(at("listening on a socket in", dir))?, kind)))
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdin,
    Stdout,
    Stderr,
    Status,
}

/// A started QEMU with its streams.
struct Run {
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
    fn start(
        config: &VmConfig,
        qemu: &Qemu,
        arguments: &[std::ffi::OsString],
        dir: &Path,
        ports: Vec<(Listening, Kind)>,
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
        let signals = Signals::catch().map_err(BootError::Qemu)?;
        let terminal = terminal::Restore::remember();
        let (to, messages) = channel();
        let sockets = ports.iter().map(|(port, _)| port.path.clone()).collect();
        let mut threads = Vec::new();
        for (port, kind) in ports {
            let thread = port.serve(match kind {
                Kind::Stdout => Sink::Copy(Box::new(io::stdout())),
                Kind::Stderr => Sink::Copy(Box::new(io::stderr())),
                Kind::Status => Sink::Status(to.clone()),
                Kind::Stdin => Sink::Feed,
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

    fn finish(mut self, config: &VmConfig, console_log: &Path) -> (Ending, Option<Duration>) {
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
            return Ending::Failed(format!("QEMU failed: {}", status::printable(&words)));
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

/// Our own limits, stretched for slow machines by `MLX5EMU_TIMEOUT_SCALE`.
fn scaled(limit: Duration) -> Duration {
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
