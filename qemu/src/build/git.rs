//! Running git on repositories of our own in the cache, and reading those of the user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::SetupError;
use crate::host;

/// Settings of the user that must not reach our repositories: hooks, signatures, line endings, watchers.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.autocrlf=false",
    "core.fsmonitor=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    // Folders are copied with hard links, which leaves sizes and times alone and nothing else.
    "core.trustctime=false",
    "core.checkStat=minimal",
];
/// Variables that would lead git to another repository, as they are set within hooks and `rebase --exec`.
const VARIABLES: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
];

/// A git command in `dir`.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    for name in VARIABLES {
        command.env_remove(name);
    }
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "mlx5emu").env(format!("GIT_{who}_EMAIL"), "mlx5emu@localhost");
    }
    command.arg("-C").arg(dir).stdin(Stdio::null());
    command
}

/// Runs git in `dir`; its standard output without the last newline.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Result<String, SetupError> {
    let verb = args.first().copied().unwrap_or_default();
    let output = host::run(&format!("git {verb}"), command(dir).args(args))?;
    Ok(output.trim_end_matches('\n').to_owned())
}

/// Runs git in `dir`, whatever its status.
pub(crate) fn output(dir: &Path, args: &[&str]) -> Result<Output, SetupError> {
    host::output(command(dir).args(args))
}

/// The folder that holds the objects of the repository at `dir`, or git's reason why it is none.
pub(crate) fn repository(dir: &Path) -> Result<Result<PathBuf, String>, SetupError> {
    let output = output(dir, &["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
    if output.status.success() {
        return Ok(Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())));
    }
    Ok(Err(host::last_words(&output.stderr)))
}

/// The commit that `reference` names, or git's reason why there is none.
pub(crate) fn commit(dir: &Path, reference: &str) -> Result<Result<String, String>, SetupError> {
    let output = output(dir, &["rev-parse", "--verify", "--end-of-options", &format!("{reference}^{{commit}}")])?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()));
    }
    Ok(Err(host::last_words(&output.stderr)))
}

/// The identity of a commit's content: the same for the same files, whatever the history.
pub(crate) fn tree_of(dir: &Path, commit: &str) -> Result<String, SetupError> {
    run(dir, &["rev-parse", "--verify", &format!("{commit}^{{tree}}")])
}
