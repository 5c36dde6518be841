//! The distribution's source packages: fetched and unpacked once, and made a git repository when a series needs one.
//!
//! A part `source-LINE-KEY` of the cache holds `tree/`, the source; `git/`, a repository with one commit of it, which is
//! made when it is first needed; and `version`, the package's.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BuildError, git};
use crate::apt::{Apt, EXPERIMENTAL, Package, STABLE};
use crate::cache::{self, content_key};
use crate::error::{IoContext, SetupError};
use crate::host;
use crate::progress::Progress;
use crate::setup::Setup;
use crate::userland::numbers;

const PREFIX: &str = "linux-source-";
/// The package, the unpacked tree, and the repository.
const SOURCE_MIB: u64 = 2600;

/// An unpacked source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackageSource {
    dir: PathBuf,
    /// `debian-source:7.2`.
    pub(crate) spec: String,
    /// The package's version.
    pub(crate) version: String,
}

impl PackageSource {
    /// The kernel's tree. Nobody writes to it.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    fn at(spec: String, dir: PathBuf) -> Self {
        let version = fs::read_to_string(dir.join("version")).unwrap_or_default().trim().to_owned();
        Self { dir, spec, version }
    }

    /// The repository with one commit of the source, made when it is not there.
    pub(crate) fn repository(&self, progress: &mut dyn Progress) -> Result<PathBuf, SetupError> {
        let done = self.dir.join("git");
        if done.is_dir() {
            return Ok(done);
        }
        progress.step(&format!("{}: making a git repository of it, once", self.spec));
        let _lock = cache::lock_file(&self.dir.join("git.lock"))?;
        // Another run may have made it while this one waited.
        if done.is_dir() {
            return Ok(done);
        }
        let new = self.dir.join("git.new");
        let _ = fs::remove_dir_all(&new);
        fs::create_dir_all(&new).at("creating", &new)?;
        git::run(&new, &["init", "--quiet", "--bare", "--initial-branch=base"])?;
        import(&self.tree(), &new, &format!("{} {}", self.spec, self.version))?;
        fs::rename(&new, &done).at("renaming", &new)?;
        Ok(done)
    }
}

impl Setup {
    /// The source package of a line, or the newest, fetched when it is not there.
    pub(crate) fn package_source(
        &self,
        line: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<PackageSource, BuildError> {
        if let Some(found) = line.and_then(|line| self.find_package_source(line)) {
            return Ok(found);
        }
        let lock = self.store().lock(progress)?;
        let (apt, line) = self.offered(line, progress)?;
        if let Some(found) = self.find_package_source(&line) {
            return Ok(found);
        }
        let package = format!("{PREFIX}{line}");
        let part = format!("debian-source:{line}");
        self.store().require_space(&part, SOURCE_MIB)?;
        let planned = apt.plan(&part, std::slice::from_ref(&package), |name| name != package)?;
        let debs = apt.download(&part, &planned, progress)?;
        let scratch = self.store().scratch(&lock, "source")?;
        progress.step(&format!("{part}: unpacking"));
        let tree = scratch.join("tree");
        fs::create_dir_all(&tree).at("creating", &tree)?;
        let deb = debs.first().ok_or_else(|| apt.not_offered(&part, "no such package".into()))?;
        unpack(deb, &package, &tree)?;
        let version = planned.first().map(|package: &Package| package.version.clone()).unwrap_or_default();
        let path = scratch.join("version");
        fs::write(&path, format!("{version}\n")).at("writing", &path)?;
        let name = format!("source-{line}-{}", content_key([version.as_str()]));
        let dir = self.store().publish(&lock, &scratch, &name, &alias(&line))?;
        apt.forget_downloads(&debs);
        Ok(PackageSource::at(part, dir))
    }

    /// The archive that has the line, and the line's number when the newest is wanted.
    fn offered(&self, line: Option<&str>, progress: &mut dyn Progress) -> Result<(Apt, String), BuildError> {
        let apt = Apt::open(self.store(), STABLE, progress)?;
        let mut offer = lines(&apt.names(PREFIX)?);
        if let Some(found) = pick(&offer, line) {
            return Ok((apt, found));
        }
        // What is not released yet: candidates, and lines that stable has not got.
        let apt = Apt::open(self.store(), EXPERIMENTAL, progress)?;
        let more = lines(&apt.names(PREFIX)?);
        if let Some(found) = pick(&more, line) {
            return Ok((apt, found));
        }
        offer.extend(more);
        offer.sort_by_key(|line| numbers(line));
        offer.dedup();
        let offer = offer.iter().map(|line| format!("debian-source:{line}")).collect();
        Err(BuildError::NoSuchLine { line: line.unwrap_or("newest").to_owned(), offer })
    }

    fn find_package_source(&self, line: &str) -> Option<PackageSource> {
        let dir = self.store().part(&alias(line))?;
        Some(PackageSource::at(format!("debian-source:{line}"), dir))
    }

    /// Every source package that has been fetched.
    pub(crate) fn package_sources(&self) -> Vec<PackageSource> {
        let aliases = self.store().aliases();
        let lines = aliases.iter().filter_map(|alias| alias.strip_prefix("source-")?.strip_suffix('@'));
        let mut lines: Vec<&str> = lines.collect();
        lines.sort_by_key(|line| numbers(line));
        lines.into_iter().filter_map(|line| self.find_package_source(line)).collect()
    }

    /// Forgets a source package; whether there was one.
    pub(crate) fn remove_package_source(&self, line: &str, progress: &mut dyn Progress) -> Result<bool, SetupError> {
        if self.find_package_source(line).is_none() {
            return Ok(false);
        }
        let lock = self.store().lock(progress)?;
        self.store().forget(&lock, &alias(line))
    }
}

fn alias(line: &str) -> String {
    format!("source-{line}@")
}

/// The lines that package names stand for.
fn lines(names: &[String]) -> Vec<String> {
    let lines = names.iter().filter_map(|name| name.strip_prefix(PREFIX));
    let mut lines: Vec<String> =
        lines.filter(|line| line.split('.').all(|part| part.parse::<u32>().is_ok())).map(str::to_owned).collect();
    lines.sort_by_key(|line| numbers(line));
    lines
}

fn pick(offer: &[String], line: Option<&str>) -> Option<String> {
    match line {
        Some(line) => offer.iter().find(|one| *one == line).cloned(),
        None => offer.last().cloned(),
    }
}

/// Unpacks the archive that a source package holds, named like the package.
fn unpack(deb: &Path, package: &str, tree: &Path) -> Result<(), SetupError> {
    let doing = "unpacking the kernel's source";
    // tar in tar in ar: a pipe of the tools that know each.
    let script = r#"set -e
        dpkg-deb --fsys-tarfile "$1" | tar -xOf - "./usr/src/$2.tar.xz" | xz -dc -T2 |
            tar -x -C "$3" --strip-components=1 --no-same-owner"#;
    for program in ["dpkg-deb", "tar", "xz"] {
        if host::find_in_path(program).is_none() {
            return Err(host::cannot_start(program, &std::io::ErrorKind::NotFound.into()));
        }
    }
    let mut command = Command::new("sh");
    command.args(["-c", script, "-"]).arg(deb).arg(package).arg(tree);
    host::run(doing, &mut command)?;
    if tree.join("Kconfig").is_file() {
        return Ok(());
    }
    Err(SetupError::Tool { doing: doing.into(), detail: format!("{package} holds no kernel tree") })
}

/// Writes one commit of `tree` into the bare repository `git`, as one pack: a tenth of the files that `git add` would make.
fn import(tree: &Path, git: &Path, message: &str) -> Result<(), SetupError> {
    let doing = "importing the kernel's source into git";
    let mut command = git::command(git);
    command.args(["-c", "core.compression=1", "-c", "pack.compression=1"]);
    command.args(["fast-import", "--quiet", "--depth=0"]);
    let errors = git.join("import.errors");
    let log = File::create(&errors).at("creating", &errors)?;
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn();
    let mut child = spawned.map_err(|error| host::cannot_start("git", &error))?;
    let written = child.stdin.take().map_or(Ok(()), |pipe| {
        let mut stream = BufWriter::with_capacity(1 << 20, pipe);
        write!(stream, "commit refs/heads/base\ncommitter mlx5emu <mlx5emu@localhost> 0 +0000\n")?;
        write!(stream, "data {}\n{message}\n", message.len())?;
        write_tree(&mut stream, tree, "")?;
        stream.flush()
    });
    let status = child.wait().at("waiting for", git)?;
    if !status.success() {
        let detail = host::last_words(&fs::read(&errors).unwrap_or_default());
        return Err(SetupError::Tool { doing: doing.into(), detail });
    }
    let _ = fs::remove_file(&errors);
    written.at("reading", tree)
}

fn write_tree(stream: &mut impl Write, dir: &Path, below: &str) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.contains(['\n', '"'])) else { continue };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            write_tree(stream, &entry.path(), &path)?;
            continue;
        }
        let (mode, content) = if kind.is_symlink() {
            ("120000", fs::read_link(entry.path())?.into_os_string().into_encoded_bytes())
        } else {
            let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
            (if executable { "100755" } else { "100644" }, fs::read(entry.path())?)
        };
        write!(stream, "M {mode} inline {path}\ndata {}\n", content.len())?;
        stream.write_all(&content)?;
        stream.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ordered_by_number() {
        let names: Vec<String> =
            ["linux-source-6.12", "linux-source-7.10", "linux-source-7.2", "linux-source-rt"].map(str::to_owned).into();
        let offer = lines(&names);
        assert_eq!(offer, ["6.12", "7.2", "7.10"]);
        assert_eq!(pick(&offer, None).as_deref(), Some("7.10"));
        assert_eq!(pick(&offer, Some("7.2")).as_deref(), Some("7.2"));
        assert_eq!(pick(&offer, Some("7.1")), None);
    }

    #[test]
    fn a_tree_becomes_a_commit_with_its_modes_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a b")).unwrap();
        fs::write(tree.join("a b/plain"), "one\ntwo").unwrap();
        fs::write(tree.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("run", tree.join("link")).unwrap();
        fs::write(tree.join(".gitignore"), "*\n").unwrap();
        let source =
            PackageSource { dir: dir.path().to_owned(), spec: "debian-source:1.2".into(), version: "1".into() };
        let repository = source.repository(&mut crate::progress::Quiet).unwrap();
        let listed = git::run(&repository, &["ls-tree", "-r", "--format=%(objectmode) %(path)", "base"]).unwrap();
        assert_eq!(listed, "100644 .gitignore\n100644 a b/plain\n120000 link\n100755 run");
        assert_eq!(git::run(&repository, &["show", "base:a b/plain"]).unwrap(), "one\ntwo");
        // The second time it is only found.
        assert_eq!(source.repository(&mut crate::progress::Quiet).unwrap(), repository);
    }
}
