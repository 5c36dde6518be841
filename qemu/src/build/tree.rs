//! The tree that make runs on: a folder of our own with the base, the series and the edits, or the user's tree itself.
//!
//! A folder of our own lives at `kernels/NAME/source` in the cache, and the output in `build` within it: the kernel's build
//! then names every file by a relative path, so that a copy of both folders under another NAME goes on where the first
//! one was. That is how a kernel with a series is built in the time that the files take which the series touches.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::package::PackageSource;
use super::{BuildError, SourceSpec, git, mirror, series};
use crate::error::{IoContext, SetupError};
use crate::host;
use crate::progress::Progress;
use crate::setup::Setup;

/// The output folder's name within a source folder of our own.
const OUTPUT: &str = "build";

/// What make runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) source: PathBuf,
    pub(crate) output: PathBuf,
    /// What it is, for people.
    pub(crate) description: String,
    /// Names the content; a user's tree has none, since it changes at any time.
    pub(crate) identity: Option<String>,
}

/// Where a folder of our own comes from. Folders of the same origin can be made from one another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    Package(PackageSource),
    Commit { objects: PathBuf, commit: String, repository: PathBuf },
}

/// What is to be laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub(crate) source: &'a SourceSpec,
    pub(crate) series: Option<&'a Path>,
    pub(crate) edits: &'a [super::Edit],
    /// `kernels/NAME` of the cache.
    pub(crate) dir: &'a Path,
}

impl Setup {
    /// Lays the tree out. `seeds` are folders `kernels/OTHER` that may serve as a start, the best first.
    pub(crate) fn lay_out(
        &self,
        layout: Layout<'_>,
        seeds: &[PathBuf],
        progress: &mut dyn Progress,
    ) -> Result<Tree, BuildError> {
        let changes = layout.series.is_some() || !layout.edits.is_empty();
        let base = match layout.source {
            SourceSpec::Package(line) => Base::Package(self.package_source(line.as_deref(), progress)?),
            SourceSpec::Commit { repository, reference } => commit_of(repository, reference)?,
            SourceSpec::Tree(path) => {
                let path = checked_tree(path)?;
                if !changes {
                    return user_tree(&path, layout.dir, progress);
                }
                committed_tree(&path)?
            }
        };
        own_tree(&base, layout, changes, seeds, progress)
    }
}

impl Base {
    /// Equal for bases that share most of their files.
    fn origin(&self) -> String {
        match self {
            Self::Package(source) => format!("{} {}", source.spec, source.version),
            Self::Commit { repository, .. } => repository.display().to_string(),
        }
    }

    fn description(&self) -> String {
        match self {
            Self::Package(source) => format!("{} ({})", source.spec, source.version),
            Self::Commit { repository, commit, .. } => format!("{}@{}", repository.display(), short(commit)),
        }
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn commit_of(repository: &Path, reference: &str) -> Result<Base, BuildError> {
    let tree_error = |why: String| BuildError::Tree { path: repository.to_owned(), why };
    let path = repository
        .canonicalize()
        .map_err(|error| tree_error(format!("{error}: give a git repository before the @")))?;
    let folder =
        git::repository(&path)?.map_err(|why| tree_error(format!("git does not take it for a repository ({why})")))?;
    let commit = git::commit(&path, reference)?.map_err(|detail| BuildError::NoCommit {
        repository: repository.to_owned(),
        reference: reference.to_owned(),
        detail,
    })?;
    Ok(Base::Commit { objects: folder.join("objects"), commit, repository: path })
}

/// A user's tree that a series or an edit goes on: its last commit, and no changes beside it.
fn committed_tree(path: &Path) -> Result<Base, BuildError> {
    let wrong = |why: &str| BuildError::Tree { path: path.to_owned(), why: why.to_owned() };
    if git::repository(path)?.is_err() {
        return Err(wrong(
            "a series or an edit needs a git repository, and this is none: make it one, or apply them yourself",
        ));
    }
    let output = git::output(path, &["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])?;
    if !output.status.success() || !output.stdout.is_empty() {
        return Err(wrong(
            "it has changes that are not committed, which a series or an edit would not see: commit them, or name a commit with @HEAD",
        ));
    }
    commit_of(path, "HEAD")
}

fn checked_tree(path: &Path) -> Result<PathBuf, BuildError> {
    let wrong = |why: String| BuildError::Tree { path: path.to_owned(), why };
    let path = path.canonicalize().map_err(|error| wrong(format!("{error}: give a kernel tree")))?;
    if path.join("Kconfig").is_file() && path.join("Makefile").is_file() {
        return Ok(path);
    }
    Err(wrong("this is no kernel tree: it lacks Kconfig or Makefile".into()))
}

/// The user's tree as it is, with what is not committed. Nothing is written to it.
fn user_tree(path: &Path, dir: &Path, progress: &mut dyn Progress) -> Result<Tree, BuildError> {
    let description = path.display().to_string();
    // The kernel's build refuses another output folder for a tree that has been built within itself.
    let is_built =
        [".config", "include/config", "arch/x86/include/generated"].iter().any(|name| path.join(name).exists());
    let source = dir.join("source");
    if !is_built {
        let output = dir.join("output");
        remember_origin(dir, &description, &source)?;
        fs::create_dir_all(&output).at("creating", &output)?;
        return Ok(Tree { source: path.to_owned(), output, description, identity: None });
    }
    remember_origin(dir, &format!("copy of {description}"), &source)?;
    progress.step(&format!("copying what has changed in {description}"));
    mirror::update(path, &source, OUTPUT)?;
    finish(source, description, None)
}

fn finish(source: PathBuf, description: String, identity: Option<String>) -> Result<Tree, BuildError> {
    let output = source.join(OUTPUT);
    fs::create_dir_all(&output).at("creating", &output)?;
    Ok(Tree { source, output, description, identity })
}

/// What a folder of our own was made from, so that one of another origin is not mixed with it.
fn remember_origin(dir: &Path, origin: &str, source: &Path) -> Result<(), SetupError> {
    let path = dir.join("origin");
    if fs::read_to_string(&path).is_ok_and(|text| text == origin) {
        return Ok(());
    }
    for old in [source, &dir.join("output")] {
        remove(old)?;
    }
    fs::create_dir_all(dir).at("creating", dir)?;
    fs::write(&path, origin).at("writing", &path)
}

fn remove(dir: &Path) -> Result<(), SetupError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("removing", dir),
        _ => Ok(()),
    }
}

/// A folder of our own: started from a seed or from the base, then brought to the wanted commit.
fn own_tree(
    base: &Base,
    layout: Layout<'_>,
    changes: bool,
    seeds: &[PathBuf],
    progress: &mut dyn Progress,
) -> Result<Tree, BuildError> {
    let source = layout.dir.join("source");
    // A series that does not apply should be told before gigabytes are copied: first the commit, then the files.
    let is_new =
        fs::read_to_string(layout.dir.join("origin")).ok().as_deref() != Some(&base.origin()) || !source.is_dir();
    if is_new {
        remember_origin(layout.dir, "none", &source)?;
        remove(&source)?;
        start(base, &source, seeds, progress)?;
        remember_only(layout.dir, &base.origin())?;
    }
    let is_git = source.join(".git").exists();
    if !changes && !is_git && matches!(base, Base::Package(_)) {
        let identity = Some(base.description());
        return finish(source, base.description(), identity);
    }
    let commit = base_commit(base, &source, progress)?;
    let wanted = series::commit(
        &series::Work {
            repository: &source,
            scratch: &layout.dir.join("scratch"),
            base: &commit,
            base_name: &base.description(),
            series: layout.series,
            edits: layout.edits,
        },
        progress,
    )?;
    progress.step("updating the kernel's source");
    git::run(&source, &["checkout", "--quiet", "--force", "--detach", &wanted])?;
    let identity = git::tree_of(&source, &wanted)?;
    finish(source, describe(base, layout), Some(identity))
}

fn remember_only(dir: &Path, origin: &str) -> Result<(), SetupError> {
    let path = dir.join("origin");
    fs::write(&path, origin).at("writing", &path)
}

fn describe(base: &Base, layout: Layout<'_>) -> String {
    let mut text = base.description();
    if let Some(name) = layout.series.and_then(Path::file_name) {
        text.push_str(&format!(" + {}", name.to_string_lossy()));
    }
    for edit in layout.edits {
        text.push_str(&format!(" + {}", edit.name));
    }
    text
}

/// Fills an empty source folder.
fn start(base: &Base, source: &Path, seeds: &[PathBuf], progress: &mut dyn Progress) -> Result<(), SetupError> {
    let origin = base.origin();
    let fits = |seed: &&PathBuf| {
        fs::read_to_string(seed.join("origin")).is_ok_and(|text| text == origin) && seed.join("source").is_dir()
    };
    if let Some(seed) = seeds.iter().find(fits) {
        progress.step(&format!("starting from the kernel {}", seed.file_name().unwrap_or_default().to_string_lossy()));
        copy_seed(&seed.join("source"), source)?;
        return rename_tools(&source.join(OUTPUT).join("tools"), &seed.join("source"), source);
    }
    if let Base::Package(package) = base {
        progress.step(&format!("laying out {}", package.spec));
        return copy(&package.tree(), source, "-al");
    }
    fs::create_dir_all(source).at("creating", source)
}

/// Files of the source are shared, since git replaces a file and never writes into it; those of the build are copied.
fn copy_seed(from: &Path, to: &Path) -> Result<(), SetupError> {
    fs::create_dir_all(to).at("creating", to)?;
    for entry in fs::read_dir(from).at("reading", from)? {
        let entry = entry.at("reading", from)?;
        let name = entry.file_name();
        let shared = name != OUTPUT && name != ".git";
        copy(&entry.path(), &to.join(&name), if shared { "-al" } else { "-a" })?;
    }
    Ok(())
}

/// The kernel's own tools are built by absolute paths, which make finds changed in a copy: then it makes objtool again, and for
/// that every object. So the commands that it remembers are brought to the new folder, and their times left alone.
fn rename_tools(tools: &Path, from: &Path, to: &Path) -> Result<(), SetupError> {
    let (from_text, to_text) = (from.to_string_lossy(), to.to_string_lossy());
    let mut folders = vec![tools.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.at("reading", &folder)?,
        };
        for entry in entries {
            let path = entry.at("reading", &folder)?.path();
            let meta = fs::symlink_metadata(&path).at("reading", &path)?;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() && path.extension().is_some_and(|end| end == "cmd") {
                let text = fs::read_to_string(&path).at("reading", &path)?;
                if text.contains(&*from_text) {
                    fs::write(&path, text.replace(&*from_text, &to_text)).at("writing", &path)?;
                    let file = fs::File::options().write(true).open(&path).at("opening", &path)?;
                    let time = meta.modified().at("reading the time of", &path)?;
                    file.set_modified(time).at("setting the time of", &path)?;
                }
            }
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, how: &str) -> Result<(), SetupError> {
    let mut command = Command::new("cp");
    command.arg(how).args(["--reflink=auto", "--no-target-directory", "--"]).arg(from).arg(to);
    match host::run("copying the kernel's source", &mut command) {
        // The cache may lie across file systems.
        Err(_) if how == "-al" => {
            remove(to)?;
            copy(from, to, "-a")
        }
        result => result.map(drop),
    }
}

/// The base as a commit of the folder's own repository, which borrows the objects of the one where it comes from.
fn base_commit(base: &Base, source: &Path, progress: &mut dyn Progress) -> Result<String, BuildError> {
    let (objects, commit) = match base {
        Base::Commit { objects, commit, .. } => (objects.clone(), commit.clone()),
        Base::Package(package) => {
            let repository = package.repository(progress)?;
            let commit = git::run(&repository, &["rev-parse", "--verify", "base"])?;
            (repository.join("objects"), commit)
        }
    };
    let is_new = !source.join(".git").exists();
    if is_new {
        git::run(source, &["init", "--quiet", "--initial-branch=base"])?;
    }
    let alternates = source.join(".git/objects/info/alternates");
    fs::write(&alternates, format!("{}\n", objects.display())).at("writing", &alternates)?;
    if is_new {
        git::run(source, &["update-ref", "--no-deref", "HEAD", &commit])?;
        if matches!(base, Base::Package(_)) {
            // The files are there: only the index is made, from them.
            progress.step("reading the kernel's source into git");
            git::run(source, &["reset", "--quiet", "--mixed"])?;
        }
    }
    Ok(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_commands_of_a_copy_name_its_own_folder_and_keep_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("debug/source"), dir.path().join("fix/source"));
        let tools = to.join("build/tools/objtool");
        fs::create_dir_all(&tools).unwrap();
        let (command, other) = (tools.join(".check.o.cmd"), tools.join("check.o"));
        let text = format!("cmd_{0}/build/tools/objtool/check.o := gcc -c -o {0}/build/check.o\n", from.display());
        for path in [&command, &other] {
            fs::write(path, &text).unwrap();
        }
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&command).unwrap().set_modified(long_ago).unwrap();
        rename_tools(&to.join("build/tools"), &from, &to).unwrap();
        let renamed = text.replace(from.to_str().unwrap(), to.to_str().unwrap());
        assert_eq!(fs::read_to_string(&command).unwrap(), renamed);
        assert_eq!(fs::metadata(&command).unwrap().modified().unwrap(), long_ago);
        assert_eq!(fs::read_to_string(&other).unwrap(), text);
        rename_tools(&to.join("nothing"), &from, &to).unwrap();
    }
}
