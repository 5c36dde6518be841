//! `mlx5emu serve`: one card, until it is told to stop or a command has ended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use mlx5emu_config::{Card, dir};
use mlx5emu_guest_tests::{self as guest_tests, CardProcess, Options};
use mlx5emu_server::{Confinement, Running, StartOptions};
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::Serve;
use crate::failure::Failure;
use crate::{large_pages, locate};

/// Serves a card.
pub(crate) fn run(args: &Serve, verbose: u8) -> Result<u8, Failure> {
    if args.command.is_empty() {
        large_pages::ask();
    }
    let card = locate::card(args.card.card.as_deref())?;
    let dir = args.dir.clone().unwrap_or_else(|| dir::default_dir(&card.name));
    let dir = locate::absolute(&dir)?;
    let ready = args.ready_fd.map(Ready::open).transpose()?;
    if args.command.is_empty() { serve(args, &card, dir, ready) } else { serve_command(args, dir, ready, verbose) }
}

/// Serves until a signal comes.
fn serve(args: &Serve, card: &Card, dir: PathBuf, ready: Option<Ready>) -> Result<u8, Failure> {
    if let Some(parent) = args.with_parent {
        guest_tests::end_with_parent(parent).map_err(Failure::failed)?;
    }
    // Before the server starts: a signal that comes while it does must not leave sockets behind.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| Failure::failed(format_args!("no signals: {e}")))?;
    let confinement = if args.no_sandbox { Confinement::Nobody } else { Confinement::Caller };
    let options = StartOptions { confinement, guest_control: args.guest_control, ..StartOptions::default() };
    let mut running = mlx5emu_server::start(card, &dir, options).map_err(Failure::usage)?;
    let shown = show(card, &running).and_then(|()| ready.map_or(Ok(()), Ready::tell));
    if shown.is_ok()
        && let Some(signal) = signals.forever().next()
    {
        log::info!("{} ends: {}", card.name, signal_hook::low_level::signal_name(signal).unwrap_or("signal"));
    }
    running.stop();
    shown.map(|()| 0)
}

fn show(card: &Card, running: &Running) -> Result<(), Failure> {
    let mut text = format!("{}: {} ports, firmware {}\n", card.name, card.ports.len(), card.firmware.version);
    for (function, path) in running.sockets() {
        text += &format!("{function:8} {}\n", path.display());
    }
    for (function, path) in running.shadow_sockets() {
        text += &format!("{function:8} {} (its shadow, for its PF's machine)\n", path.display());
    }
    text += &format!("{:8} {}\n", "control", running.control().display());
    if let Some(guest) = running.guest_control() {
        text += &format!("{:8} {}\n", "guest", guest.display());
    }
    let mut out = std::io::stdout().lock();
    // A reader that went away (`mlx5emu serve | head -1`) has what it wanted; the card serves on.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Serves while a command runs. The card is a process of its own: its confinement must not bind the command.
fn serve_command(args: &Serve, dir: PathBuf, ready: Option<Ready>, verbose: u8) -> Result<u8, Failure> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGCHLD]).map_err(|e| Failure::failed(format_args!("no signals: {e}")))?;
    let options = Options {
        card: args.card.card.as_deref(),
        dir: &dir,
        no_sandbox: args.no_sandbox,
        guest_control: args.guest_control,
        log: None,
        verbose,
    };
    let mut card = CardProcess::start(options).map_err(Failure::not_run)?;
    ready.map_or(Ok(()), Ready::tell)?;
    let name = args.command[0].to_string_lossy();
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]).env(dir::DIR_VARIABLE, card.dir());
    let mut child = command.spawn().map_err(|e| {
        // As the shells do it.
        let code = if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Failure::new(code, format_args!("cannot run {name}: {e}"))
    })?;
    let mut card_lost = None;
    for signal in signals.forever() {
        match signal {
            SIGTERM => guest_tests::signal(&child, Signal::TERM),
            // The terminal sends it to the command too, and what that means is the command's to say.
            SIGINT => {}
            _ => {
                if let Some(status) = child.try_wait().map_err(Failure::not_run)? {
                    return card_lost.map_or(Ok(exit_code(status)), Err);
                }
                if card_lost.is_none()
                    && let Some(status) = card.ended()
                {
                    card_lost = Some(Failure::not_run(format_args!("the card ended while {name} ran ({status})")));
                    guest_tests::signal(&child, Signal::TERM);
                }
            }
        }
    }
    Err(Failure::not_run("no more signals"))
}

/// The exit status that passes another process's on, as shells do it: 128 and the signal's number.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s));
    code.and_then(|c| u8::try_from(c).ok()).unwrap_or(u8::MAX)
}

/// Where to say that the card is ready.
struct Ready(File);

impl Ready {
    /// Opens what an inherited descriptor refers to. Before the server confines itself: afterwards nothing can be opened.
    fn open(fd: u32) -> Result<Ready, Failure> {
        // Appending: a file opened anew would be written from its start.
        let opened = OpenOptions::new().append(true).open(format!("/proc/self/fd/{fd}"));
        let wrong = |e| Failure::usage(format_args!("--ready-fd {fd} is not an open pipe or file: {e}"));
        opened.map(Ready).map_err(wrong)
    }

    fn tell(mut self) -> Result<(), Failure> {
        let told = self.0.write_all(b"ready\n");
        told.map_err(|e| Failure::failed(format_args!("cannot write to --ready-fd: {e}")))
    }
}
