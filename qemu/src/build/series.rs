//! From a base to the commit that is built: a series applied with `git am -3`, then our semantic patches.
//!
//! Both happen in a scratch worktree without files, where git fetches only those that a patch touches. The folder that is
//! built moves to the finished commit in one step, so that a file which ends as it was is never written, nor compiled again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{BuildError, Edit, git};
use crate::error::{IoContext, SetupError};
use crate::host;
use crate::progress::Progress;

/// Places of a patch that does not apply: more are counted, not named.
const NAMED: usize = 8;

/// What to do, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    /// A repository that has the base.
    pub(crate) repository: &'a Path,
    /// A folder that may be removed.
    pub(crate) scratch: &'a Path,
    /// The commit to start from.
    pub(crate) base: &'a str,
    /// What people call it.
    pub(crate) base_name: &'a str,
    pub(crate) series: Option<&'a Path>,
    pub(crate) edits: &'a [Edit],
}

/// The commit with the series and the edits.
pub(crate) fn commit(work: &Work<'_>, progress: &mut dyn Progress) -> Result<String, BuildError> {
    if work.series.is_none() && work.edits.is_empty() {
        return Ok(work.base.to_owned());
    }
    clear(work)?;
    let scratch = work.scratch.to_string_lossy().into_owned();
    git::run(work.repository, &["worktree", "add", "--quiet", "--no-checkout", "--detach", &scratch, work.base])?;
    git::run(work.scratch, &["read-tree", "HEAD"])?;
    let result = apply(work, progress);
    clear(work)?;
    result
}

/// Removes the scratch worktree, of this run or of one that was killed.
fn clear(work: &Work<'_>) -> Result<(), SetupError> {
    if work.scratch.exists() {
        fs::remove_dir_all(work.scratch).at("removing", work.scratch)?;
    }
    git::run(work.repository, &["worktree", "prune"]).map(drop)
}

fn apply(work: &Work<'_>, progress: &mut dyn Progress) -> Result<String, BuildError> {
    if let Some(series) = work.series {
        progress.step(&format!("applying {}", series.display()));
        apply_series(work, series)?;
    }
    for edit in work.edits {
        progress.step(&format!("applying {}", edit.name));
        apply_edit(work.scratch, edit)?;
    }
    Ok(git::run(work.scratch, &["rev-parse", "HEAD"])?)
}

fn apply_series(work: &Work<'_>, series: &Path) -> Result<(), BuildError> {
    let files = files(series)?;
    // Mail without a patch (cover letters, replies) is passed over. 8-bit file names and carriage returns are left alone.
    let mut command = git::command(work.scratch);
    command.args(["am", "-3", "--empty=drop", "--no-gpg-sign", "--keep-cr", "--"]).args(&files);
    let output = host::output(&mut command)?;
    if !output.status.success() {
        return Err(not_applied(work, series, &output)?);
    }
    if git::run(work.scratch, &["rev-parse", "HEAD"])? == work.base {
        return Err(wrong(
            series,
            "it has no patch: give a mailbox (b4 am, git format-patch --stdout) or a folder of patches",
        ));
    }
    Ok(())
}

fn wrong(series: &Path, why: impl Into<String>) -> BuildError {
    BuildError::Series { series: series.to_owned(), why: why.into() }
}

/// Whether there is something to apply, before anything is fetched for it.
pub(crate) fn check(series: &Path) -> Result<(), BuildError> {
    files(series).map(drop)
}

/// A mailbox is itself; a folder is its `series` file, or a Maildir, or its patches by name.
fn files(series: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let path = series
        .canonicalize()
        .map_err(|error| wrong(series, format!("{error}: give a mailbox or a folder of patches")))?;
    if !path.is_dir() || path.join("cur").is_dir() {
        return Ok(vec![path]);
    }
    let listed = fs::read_to_string(path.join("series"));
    let mut files: Vec<PathBuf> = match &listed {
        Ok(text) => {
            let names = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
            names.map(|name| path.join(name)).collect()
        }
        Err(_) => {
            let entries = fs::read_dir(&path).map_err(|error| wrong(series, error.to_string()))?;
            let paths = entries.flatten().map(|entry| entry.path());
            paths
                .filter(|path| path.extension().is_some_and(|end| end == "patch" || end == "mbox" || end == "eml"))
                .collect()
        }
    };
    if listed.is_err() {
        files.sort();
    }
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(wrong(series, format!("its series file names {}, which is not there", missing.display()))),
        None if files.is_empty() => {
            Err(wrong(series, "the folder has no *.patch: give a mailbox or a folder of patches"))
        }
        None => Ok(files),
    }
}

/// Which patch it was, and where it does not fit.
fn not_applied(work: &Work<'_>, series: &Path, output: &Output) -> Result<BuildError, SetupError> {
    let state =
        PathBuf::from(git::run(work.scratch, &["rev-parse", "--path-format=absolute", "--git-path", "rebase-apply"])?);
    let number = |name: &str| fs::read_to_string(state.join(name)).ok().and_then(|text| text.trim().parse().ok());
    let (Some(next), Some(last)) = (number("next"), number("last")) else {
        let said = host::last_words(&output.stderr);
        return Ok(wrong(
            series,
            format!("git cannot read it as mail with patches ({said}): give a mailbox (b4 am, git format-patch)"),
        ));
    };
    let subject = fs::read_to_string(state.join("final-commit")).or_else(|_| fs::read_to_string(state.join("msg")));
    let subject = subject.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default();
    let mut places = conflicts(output);
    places.extend(misfits(work.scratch, &state.join("patch"))?);
    if places.is_empty() {
        places.push(host::last_words(&output.stderr));
    }
    let more = places.len().saturating_sub(NAMED);
    places.truncate(NAMED);
    if more > 0 {
        places.push(format!("and {more} more places"));
    }
    Ok(BuildError::NotApplied {
        series: series.to_owned(),
        number: next,
        total: last,
        subject,
        base: work.base_name.to_owned(),
        places,
    })
}

/// What the three-way merge says of files that it could not merge.
fn conflicts(output: &Output) -> Vec<String> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter(|line| line.starts_with("CONFLICT")).map(str::to_owned).collect()
}

/// The hunks that do not fit, with file and line: `git am -3` itself keeps them to itself.
fn misfits(scratch: &Path, patch: &Path) -> Result<Vec<String>, SetupError> {
    // A three-way merge that failed left its half-done result in the index.
    git::run(scratch, &["read-tree", "HEAD"])?;
    let patch = patch.to_string_lossy();
    let output = git::output(scratch, &["apply", "--cached", "--check", "--", &patch])?;
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text.lines().filter_map(|line| line.strip_prefix("error: "));
    let place = |error: &str| match error.strip_prefix("patch failed: ") {
        Some(place) => Some(format!("{place}: the lines there are not those that the patch changes")),
        // Follows each of the above.
        None if error.ends_with(": patch does not apply") => None,
        None => Some(error.to_owned()),
    };
    Ok(errors.filter_map(place).collect())
}

/// Where a semantic patch says which files it is for.
const FILES: &str = "// files: ";

/// Runs Coccinelle on the files that the edit names, and commits what it changed.
fn apply_edit(scratch: &Path, edit: &Edit) -> Result<(), BuildError> {
    let wrong = |why: String| BuildError::Edit { edit: edit.name.clone(), why };
    let files: Vec<&str> =
        edit.text.lines().filter_map(|line| line.strip_prefix(FILES)).flat_map(str::split_whitespace).collect();
    if files.is_empty() {
        return Err(wrong(format!("it does not say what it changes: add a line `{FILES}PATH…`")));
    }
    let inside = |file: &&str| Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if let Some(outside) = files.iter().find(|file| !inside(file)) {
        return Err(wrong(format!("`{outside}` is not a path within the kernel's tree")));
    }
    let mut checkout = vec!["checkout", "--quiet", "HEAD", "--"];
    checkout.extend(&files);
    let output = git::output(scratch, &checkout)?;
    if !output.status.success() {
        return Err(wrong(format!("this kernel does not have its files ({})", host::last_words(&output.stderr))));
    }
    let script = scratch.join("mlx5emu-edit.cocci");
    fs::write(&script, &edit.text).at("writing", &script)?;

    let mut command = Command::new("spatch");
    command.current_dir(scratch).args(["--very-quiet", "--in-place", "--no-show-diff", "-D", "patch", "--sp-file"]);
    let output = host::output(command.arg(&script).args(&files))?;
    fs::remove_file(&script).at("removing", &script)?;
    if !output.status.success() {
        return Err(wrong(format!("Coccinelle failed ({})", host::last_words(&output.stderr))));
    }
    let diff = git::output(scratch, &[&["diff", "--quiet", "HEAD", "--"], &files[..]].concat())?;
    if diff.status.success() {
        return Err(wrong("it changes nothing in this kernel: what it looks for is not there".into()));
    }
    git::run(scratch, &[&["add", "--"], &files[..]].concat())?;
    git::run(scratch, &["commit", "--quiet", "--no-verify", "-m", &edit.name])?;
    Ok(())
}
