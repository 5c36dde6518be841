//! Which card, and where it serves.

use std::path::{Path, PathBuf};

use mlx5emu_config::{Card, dir};

use crate::failure::Failure;

/// The card that a file describes, or the default one.
pub(crate) fn card(file: Option<&Path>) -> Result<Card, Failure> {
    file.map_or_else(|| Ok(Card::default()), |file| Card::load(file).map_err(Failure::usage))
}

/// `dir` as an absolute path: it is handed to other processes.
pub(crate) fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(dir).map_err(|e| Failure::usage(format_args!("'{}' is not a directory: {e}", dir.display())))
}

/// The directory that the environment names.
pub(crate) fn from_environment() -> Option<PathBuf> {
    std::env::var_os(dir::DIR_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The directory of the running card that a `ctl` means.
pub(crate) fn running(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = given.map(Path::to_owned).or_else(from_environment) {
        return absolute(&dir);
    }
    let mut dirs = dir::running();
    match (dirs.pop(), dirs.is_empty()) {
        (Some(dir), true) => Ok(dir),
        (Some(last), false) => {
            let shown: Vec<String> = dirs.iter().chain([&last]).map(|d| d.display().to_string()).collect();
            Err(Failure::usage(format_args!("several cards are running: choose one with --dir: {}", shown.join(", "))))
        }
        (None, _) => Err(Failure::usage(format_args!(
            "no card is running below {}: start one with 'mlx5emu serve' or 'mlx5emu vm', or name its --dir",
            dir::base_dir().display()
        ))),
    }
}
