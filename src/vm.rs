//! `mlx5emu vm`: a card, a kernel, a guest, a shell or a command.

use std::fs;
use std::path::{Path, PathBuf};

use mlx5emu_config::{device_args, dir};
use mlx5emu_qemu::boot::{Share, Vm as Guest, VmConfig};
use mlx5emu_qemu::setup::{Needs, Setup};
use mlx5emu_qemu::{SetupError, progress};

use crate::card_process::{CardProcess, Options};
use crate::cli::Vm;
use crate::failure::{Failure, NOT_RUN};
use crate::locate;

/// Boots a guest with a card and passes on its exit status.
pub(crate) fn run(args: &Vm, verbose: u8) -> Result<u8, Failure> {
    let card = locate::card(args.card.as_deref())?;
    let shares = args.share.iter().map(|text| share(text)).collect::<Result<Vec<_>, _>>()?;
    let setup = Setup::from_env().map_err(Failure::not_run)?;
    let mut progress = progress::for_terminal();
    // The kernel first: a wrong name should not wait for a download to be told.
    let kernel = setup.resolve_kernel(&args.kernel, &mut *progress).map_err(not_ready)?;
    let needs = Needs { qemu: true, userland: true, kernels: Vec::new() };
    let installed = setup.ensure(&needs, &mut *progress).map_err(not_ready)?;
    drop(progress);

    let dir = RunDir::new(&card.name);
    let options = Options { card: args.card.as_deref(), dir: dir.path(), no_sandbox: args.no_sandbox, verbose };
    let mut card_process = CardProcess::start(&options)?;
    log::info!("the card serves from {}", card_process.dir().display());

    let mut config = VmConfig::new(kernel, mlx5emu_guest_tests::INIT);
    config.append.clone_from(&args.append);
    config.mem_mib = u32::try_from(args.mem.mib()).map_err(Failure::usage)?;
    config.smp = args.smp;
    config.qemu_args = device_args(&card, dir.path()).map_err(Failure::usage)?;
    config.shares = shares;
    config.gdb = args.gdb;
    config.gdb_wait = args.gdb.is_some();
    config.command = (!args.command.is_empty()).then(|| args.command.clone());
    config.timeout = args.timeout;
    let outcome = Guest::run(&setup, &installed, &config).map_err(Failure::not_run)?;

    if let Some(text) = outcome.explain() {
        eprintln!("mlx5emu: {}", text.trim_end());
    }
    if let Some(status) = card_process.ended() {
        return Err(Failure::not_run(format_args!("the card ended while the guest ran ({status})")));
    }
    Ok(u8::try_from(outcome.exit_code()).unwrap_or(NOT_RUN))
}

/// The sockets' directory of one guest's card: not the card's usual one, so that several guests can run the same card. `ctl`
/// finds it there. It is removed in the end.
struct RunDir(PathBuf);

impl RunDir {
    fn new(name: &str) -> RunDir {
        RunDir(dir::base_dir().join(format!("{name}-{}", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {e}", self.0.display());
        }
    }
}

/// A folder to show, checked before anything is started.
fn share(text: &str) -> Result<Share, Failure> {
    let wrong = |why: &str| Failure::usage(format_args!("--share {text}: {why}"));
    let mut share: Share =
        text.parse().map_err(|_| wrong("write HOST:GUEST or HOST:GUEST:ro, GUEST an absolute path"))?;
    if share.guest == "/" {
        return Err(wrong("the guest's folder must lie below /"));
    }
    share.host =
        fs::canonicalize(&share.host).map_err(|e| wrong(&format!("no folder {}: {e}", share.host.display())))?;
    if share.host.is_dir() { Ok(share) } else { Err(wrong("the host's folder is not a directory")) }
}

/// A kernel that is none is the user's slip; everything else that keeps a guest from running is not.
fn not_ready(error: SetupError) -> Failure {
    match error {
        SetupError::Kernel(error) => Failure::usage(error),
        error => Failure::not_run(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let host = fs::canonicalize("/").unwrap();
        for (text, guest, read_only) in [("/:/t", "/t", false), ("/:/t:ro", "/t", true)] {
            let share = share(text).unwrap();
            assert_eq!(
                (share.host.as_path(), share.guest.as_str(), share.read_only),
                (host.as_path(), guest, read_only)
            );
        }
        for text in ["", "/", "/:", "/:t", "/:/", "/nonexistent:/t", "/dev/null:/t", "/:ro"] {
            assert!(share(text).is_err(), "{text:?} was taken");
        }
    }
}
