//! `mlx5emu vm`: a card, a kernel, a guest, a shell or a command.

use std::fs;

use mlx5emu_config::{Placement, device_args};
use mlx5emu_guest_tests::emu;
use mlx5emu_qemu::boot::{Share, Vm as Guest, VmConfig};
use mlx5emu_qemu::setup::{Needs, Setup};
use mlx5emu_qemu::{SetupError, progress};

use crate::attached::{self, Attached};
use crate::cli::Vm;
use crate::failure::{Failure, NOT_RUN};
use crate::locate;

/// Boots a guest with a card and passes on its exit status.
pub(crate) fn run(args: &Vm, verbose: u8) -> Result<u8, Failure> {
    let placement = placement(args)?;
    let shares = args.share.iter().map(|text| share(text)).collect::<Result<Vec<_>, _>>()?;
    let setup = Setup::from_env().map_err(Failure::not_run)?;
    let mut progress = progress::for_terminal();
    // The kernel first: a wrong name should not wait for a download to be told.
    let kernel = setup.resolve_kernel(&args.kernel, &mut *progress).map_err(not_ready)?;
    let needs = Needs { qemu: true, userland: true, kernels: Vec::new() };
    let installed = setup.ensure(&needs, &mut *progress).map_err(not_ready)?;
    drop(progress);

    let mut card = match &args.dir {
        Some(dir) => Attached::Running(locate::absolute(dir)?),
        None => Attached::start(args.card.as_deref(), &placement.card, args.no_sandbox, verbose)?,
    };
    log::info!("the card serves from {}", card.dir().display());

    let mut config = VmConfig::new(kernel, mlx5emu_guest_tests::INIT);
    config.append.clone_from(&args.append);
    config.mem_mib = u32::try_from(args.mem.mib()).map_err(Failure::usage)?;
    config.smp = args.smp;
    config.qemu_args = device_args(&placement, card.dir()).map_err(Failure::usage)?;
    config.shares = shares;
    config.gdb = args.gdb;
    config.gdb_wait = args.gdb.is_some();
    config.command = (!args.command.is_empty()).then(|| args.command.clone());
    config.timeout = args.timeout;
    emu::equip(&mut config, card.dir()).map_err(Failure::not_run)?;
    let outcome = Guest::run(&setup, &installed, &config).map_err(Failure::not_run)?;

    if let Some(text) = outcome.explain() {
        eprintln!("mlx5emu: {}", text.trim_end());
    }
    card.check()?;
    Ok(u8::try_from(outcome.exit_code()).unwrap_or(NOT_RUN))
}

/// Which functions the guest gets, and where: of a card to be started, or of one that runs and has them free.
fn placement(args: &Vm) -> Result<Placement, Failure> {
    let Some(dir) = &args.dir else {
        return attached::chosen(Placement::of(&locate::card(args.card.as_deref())?), &args.functions);
    };
    let dir = locate::absolute(dir)?;
    let Some(placement) = attached::running_placement(&dir)? else {
        return Err(Failure::usage(format_args!(
            "no card runs in {}: start one with 'mlx5emu serve --dir {}', or leave --dir out to have one started",
            dir.display(),
            dir.display()
        )));
    };
    let placement = attached::chosen(placement, &args.functions)?;
    attached::wait_until_free(&dir, &placement)?;
    Ok(placement)
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
pub(crate) fn not_ready(error: SetupError) -> Failure {
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
