//! The card that a guest gets: one of its own, or one that runs already.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Client, ClientError, Reply, Request};
use mlx5emu_config::{FunctionName, PlacedFunction, Placement, dir};
use mlx5emu_guest_tests::{CardProcess, Options};

use crate::failure::Failure;

/// How long a function may still be taken by a machine that has just ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A card that guests can be attached to for as long as this lives.
#[derive(Debug)]
pub(crate) enum Attached {
    /// Started for this guest; it ends with it.
    Own {
        /// What serves it.
        process: CardProcess,
        /// Its directory, which goes after the process.
        _dir: RunDir,
    },
    /// Somebody else's.
    Running(PathBuf),
}

impl Attached {
    /// Starts the card that `file` describes, called `name`, in a directory of its own.
    pub(crate) fn start(file: Option<&Path>, name: &str, no_sandbox: bool, verbose: u8) -> Result<Attached, Failure> {
        let dir = RunDir::new(name);
        let options = Options { card: file, dir: &dir.0, no_sandbox, guest_control: true, log: None, verbose };
        let process = CardProcess::start(options).map_err(Failure::not_run)?;
        Ok(Attached::Own { process, _dir: dir })
    }

    /// The directory of its sockets.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Attached::Own { process, .. } => process.dir(),
            Attached::Running(dir) => dir,
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// It does not: the guest lost its card.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let how = match self {
            Attached::Own { process, .. } => process.ended().map(|status| format!(" ({status})")),
            Attached::Running(dir) => Client::connect(dir).is_err().then(String::new),
        };
        match how {
            Some(how) => Err(Failure::not_run(format_args!("the card ended while the guest ran{how}"))),
            None => Ok(()),
        }
    }
}

/// Where the functions of the card that runs in `dir` go in a guest; `None` if no card runs there.
///
/// # Errors
/// What answers is no card, or one of another version.
pub(crate) fn running_placement(dir: &Path) -> Result<Option<Placement>, Failure> {
    match Client::connect(dir) {
        Ok(client) => Ok(client.hello().map(|hello| hello.placement.clone())),
        Err(ClientError::NoCard { .. }) => Ok(None),
        Err(error) => Err(Failure::usage(error)),
    }
}

/// The functions of `placement` that were asked for; all if none were.
///
/// # Errors
/// A function that the card does not have.
pub(crate) fn chosen(placement: Placement, functions: &[FunctionName]) -> Result<Placement, Failure> {
    if functions.is_empty() { Ok(placement) } else { placement.only(functions).map_err(Failure::usage) }
}

/// Waits a little for the functions in `placement` to be free: of machines that have just ended the card may not know yet.
///
/// # Errors
/// One is connected to another QEMU.
pub(crate) fn wait_until_free(dir: &Path, placement: &Placement) -> Result<(), Failure> {
    let mut client = Client::connect(dir).map_err(Failure::usage)?;
    let deadline = Instant::now() + PATIENCE;
    for placed in &placement.functions {
        while is_connected(&mut client, placed)? {
            if Instant::now() >= deadline {
                return Err(Failure::usage(format_args!(
                    "{} of the card in {} is connected to another QEMU: end that one, or choose other functions with --functions",
                    placed.function,
                    dir.display()
                )));
            }
            sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn is_connected(client: &mut Client, placed: &PlacedFunction) -> Result<bool, Failure> {
    let path = format!("{}/{}/connected", placed.function, if placed.shadow { "shadow" } else { "connection" });
    match client.call(Request::Inspect { path }).map_err(Failure::usage)? {
        Reply::Inspect { tree } => Ok(tree.as_bool().unwrap_or(false)),
        _ => Ok(false),
    }
}

/// The sockets' directory of one guest's card: not the card's usual one, so that several guests can run the same card. `ctl`
/// finds it there. It is removed in the end.
#[derive(Debug)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    fn new(name: &str) -> RunDir {
        RunDir(dir::base_dir().join(format!("{name}-{}", std::process::id())))
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
