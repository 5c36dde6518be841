//! Booting a guest: one call that starts QEMU, serves the guest's streams, and says how it ended.

mod accel;
mod args;
mod config;
mod console;
mod handle;
mod image;
mod run;
mod status;
mod streams;
mod terminal;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use config::{AccelChoice, BootError, Ending, GuestFile, Outcome, Port, Share, VmConfig};
pub use handle::Handle;
pub use run::scaled;

use crate::setup::{Installed, Setup};
use accel::Probe;
use run::{Ports, Run};

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
    /// QEMU ends with the thread that calls this: call it from one that lives as long as the guest shall.
    ///
    /// The console's log is removed after a good end, unless the caller chose its place.
    pub fn run(setup: &Setup, installed: &Installed, config: &VmConfig) -> Result<Outcome, BootError> {
        check(config)?;
        let qemu = installed.qemu.as_ref().ok_or(BootError::NotInstalled("QEMU"))?;
        let userland = installed.userland.as_ref().ok_or(BootError::NotInstalled("the guest's userland"))?;
        let dir = run_dir()?;
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
        let ports = Ports::listen(config, dir.path())?;
        let monitor = config.handle.as_ref().map(|handle| {
            let path = dir.path().join("monitor");
            handle.set_monitor(&path);
            path
        });
        let files = args::Files {
            initramfs,
            monitor,
            console: ports.console.path.clone(),
            ports: ports.guest.iter().map(|(port, _)| (port.name.clone(), port.path.clone())).collect(),
        };
        let arguments = args::arguments(config, &files, accel, qemu.at_least(&ENDS_WITH_PARENT));
        log::debug!("{:?} {arguments:?}", qemu.argv());
        let console_log = console_log(config)?;
        let run = Run::start(config, qemu, &arguments, (dir.path(), &console_log), ports)?;
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
    if config.command.is_none() && config.output.is_none() && !terminal::is_interactive() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;

    #[test]
    fn wrong_words_are_refused_before_anything_starts() {
        let kernel = Kernel { name: "k".into(), release: "7.2".into(), image: "/k".into(), modules: None };
        let mut config = VmConfig::new(kernel, "");
        config.command = Some(vec!["true".into()]);
        config.shares = vec!["/no/such/folder:/mnt".parse().unwrap()];
        assert!(check(&config).unwrap_err().to_string().contains("/no/such/folder does not exist"));
        assert!(enough_memory(256, 120).unwrap_err().to_string().contains("256 MiB of memory are too little"));
        assert!(enough_memory(512, 120).is_ok());
    }
}
