//! A copy of a user's tree that has been built within itself, which the kernel's build refuses to build elsewhere.
//!
//! What git tracks or would track is copied, when its size or time differ; what has gone there goes here too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{BuildError, git};
use crate::error::{IoContext, SetupError};
use crate::host;

/// The list of what was copied, within the copy.
const LIST: &str = ".mlx5emu-copied";

/// Brings the copy up to date. `keep` is a folder of the copy that is not the tree's.
pub(crate) fn update(tree: &Path, copy: &Path, keep: &str) -> Result<(), BuildError> {
    let args = ["--no-optional-locks", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = git::output(tree, &args)?;
    if !output.status.success() {
        let why = "it has been built within itself and is no git repository, so that what is source cannot be told: run `make mrproper` there, or give a fresh tree";
        return Err(BuildError::Tree { path: tree.to_owned(), why: why.into() });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.split('\0').filter(|name| !name.is_empty() && !name.starts_with(&format!("{keep}/")));
    let new: BTreeSet<&str> = names.filter(|name| tree.join(name).symlink_metadata().is_ok()).collect();
    fs::create_dir_all(copy).at("creating", copy)?;
    let list = copy.join(LIST);
    let old = fs::read_to_string(&list).unwrap_or_default();
    for gone in old.split('\0').filter(|name| !name.is_empty() && !new.contains(name)) {
        let _ = fs::remove_file(copy.join(gone));
    }
    for name in &new {
        update_file(&tree.join(name), &copy.join(name))?;
    }
    let names: Vec<&str> = new.into_iter().collect();
    fs::write(&list, names.join("\0")).at("writing", &list)?;
    Ok(())
}

fn update_file(from: &Path, to: &Path) -> Result<(), SetupError> {
    let meta = from.symlink_metadata().at("reading", from)?;
    if meta.is_dir() {
        // A submodule, of which the kernel has none.
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).at("creating", dir)?;
    }
    if meta.is_symlink() {
        let target: PathBuf = fs::read_link(from).at("reading", from)?;
        if fs::read_link(to).is_ok_and(|there| there == target) {
            return Ok(());
        }
        let _ = fs::remove_file(to);
        return std::os::unix::fs::symlink(&target, to).at("linking", to);
    }
    let time = meta.modified().at("reading", from)?;
    let same =
        |there: fs::Metadata| there.is_file() && there.len() == meta.len() && there.modified().is_ok_and(|t| t == time);
    if to.symlink_metadata().is_ok_and(same) {
        return Ok(());
    }
    let _ = fs::remove_file(to);
    fs::copy(from, to).at("copying", from)?;
    let file = fs::File::options().append(true).open(to).at("opening", to)?;
    file.set_modified(time).at("setting the time of", to)
}

/// Whether git is there to tell what is source.
pub(crate) fn requirement() -> host::Requirement {
    host::Requirement::program("git", "git")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_the_tree_and_leaves_the_build_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, copy) = (dir.path().join("tree"), dir.path().join("copy"));
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join(".gitignore"), "*.o\n").unwrap();
        fs::write(tree.join("sub/a.c"), "one").unwrap();
        fs::write(tree.join("a.o"), "object").unwrap();
        fs::write(tree.join("new.c"), "new").unwrap();
        std::os::unix::fs::symlink("sub", tree.join("link")).unwrap();
        git::run(&tree, &["init", "--quiet"]).unwrap();
        git::run(&tree, &["add", "sub/a.c", ".gitignore"]).unwrap();
        update(&tree, &copy, "build").unwrap();
        assert!(copy.join("new.c").is_file() && copy.join("link/a.c").is_file() && !copy.join("a.o").exists());
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&copy.join("sub/a.c")), time(&tree.join("sub/a.c")));

        fs::create_dir_all(copy.join("build")).unwrap();
        fs::write(copy.join("build/a.o"), "built").unwrap();
        fs::remove_file(tree.join("new.c")).unwrap();
        fs::write(tree.join("sub/a.c"), "two!").unwrap();
        update(&tree, &copy, "build").unwrap();
        assert_eq!(fs::read_to_string(copy.join("sub/a.c")).unwrap(), "two!");
        assert!(!copy.join("new.c").exists() && copy.join("build/a.o").is_file());
    }

    #[test]
    fn a_tree_without_git_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let text = update(dir.path(), &dir.path().join("copy"), "build").unwrap_err().to_string();
        assert!(text.contains("make mrproper"), "{text}");
    }
}
