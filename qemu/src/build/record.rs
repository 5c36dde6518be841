//! Built kernels: what is known of them, what they are called, and how they go.
//!
//! `kernels/NAME` in the cache holds the folders that a build goes on in, the log of the last build, and `record`: one line
//! `WORD VALUE` each. What boots is a part of the cache, `built-NAME-KEY`, which a build replaces when it has succeeded.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::BuildError;
use crate::cache;
use crate::error::{IoContext, SetupError};
use crate::kernel::{Kernel, Spec};
use crate::progress::Progress;
use crate::setup::Setup;

pub(crate) const IMAGE: &str = "bzImage";
pub(crate) const MODULES: &str = "modules.cpio";
pub(crate) const CONFIG: &str = "config";
const RECORD: &str = "record";
/// Part of the release of the kernel, which Linux limits to 64 characters in all.
const NAME_MAX: usize = 32;

/// A kernel that has been built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltKernel {
    /// Its name, a SPEC for `--kernel`.
    pub name: String,
    /// `uname -r`.
    pub release: String,
    /// What it was built from.
    pub source: String,
    /// The presets and files of its configuration, separated by blanks.
    pub config: String,
    /// When the build ended.
    pub built: SystemTime,
    /// The bzImage.
    pub image: PathBuf,
    /// The archive with its modules.
    pub modules: Option<PathBuf>,
    /// Its final configuration.
    pub final_config: PathBuf,
    /// The folder of the build, with `vmlinux` and the modules as they were linked, debug information included.
    pub output: PathBuf,
}

/// What a build leaves for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) release: String,
    pub(crate) source: String,
    pub(crate) config: String,
    pub(crate) compiler: String,
    /// Names everything that went into the build, when that can be named.
    pub(crate) key: String,
    /// How many files a whole build makes.
    pub(crate) files: u64,
    /// Seconds since 1970.
    pub(crate) built: u64,
    pub(crate) output: String,
}

impl Record {
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(RECORD)).ok()?;
        let mut record = Self::default();
        for line in text.lines() {
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "release" => value.clone_into(&mut record.release),
                "source" => value.clone_into(&mut record.source),
                "config" => value.clone_into(&mut record.config),
                "compiler" => value.clone_into(&mut record.compiler),
                "key" => value.clone_into(&mut record.key),
                "files" => record.files = value.parse().unwrap_or(0),
                "built" => record.built = value.parse().unwrap_or(0),
                "output" => value.clone_into(&mut record.output),
                _ => {}
            }
        }
        Some(record)
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), SetupError> {
        let Self { release, source, config, compiler, key, files, built, output } = self;
        let text = format!(
            "release {release}\nsource {source}\nconfig {config}\ncompiler {compiler}\nkey {key}\nfiles {files}\nbuilt {built}\noutput {output}\n"
        );
        let path = dir.join(RECORD);
        fs::write(&path, text).at("writing", &path)
    }

    /// Forgets the last build before the next one begins.
    pub(crate) fn remove(dir: &Path) {
        let _ = fs::remove_file(dir.join(RECORD));
    }
}

/// Whether a kernel can have this name: it must be a SPEC that means nothing else.
pub(crate) fn check_name(name: &str) -> Result<(), BuildError> {
    let is_spec = matches!(name.parse::<Spec>(), Ok(Spec::Named(_)));
    let starts = name.starts_with(|first: char| first.is_ascii_alphanumeric()) && !name.starts_with("debian");
    if is_spec && starts && name.len() <= NAME_MAX { Ok(()) } else { Err(BuildError::BadName(name.to_owned())) }
}

fn alias(name: &str) -> String {
    format!("built-{name}@")
}

impl Setup {
    /// Where everything of the kernel `name` is, but for what boots.
    pub fn kernel_dir(&self, name: &str) -> PathBuf {
        self.store().root().join("kernels").join(name)
    }

    /// Every kernel that has been built, by name.
    pub fn built_kernels(&self) -> Vec<BuiltKernel> {
        let aliases = self.store().aliases();
        let names = aliases.iter().filter_map(|alias| alias.strip_prefix("built-")?.strip_suffix('@'));
        names.filter_map(|name| self.built_kernel(name)).collect()
    }

    /// The built kernel of this name.
    pub fn built_kernel(&self, name: &str) -> Option<BuiltKernel> {
        let part = self.store().part(&alias(name))?;
        let record = Record::read(&part)?;
        let modules = part.join(MODULES);
        Some(BuiltKernel {
            name: name.to_owned(),
            release: record.release,
            source: record.source,
            config: record.config,
            built: UNIX_EPOCH + Duration::from_secs(record.built),
            image: part.join(IMAGE),
            modules: modules.is_file().then_some(modules),
            final_config: part.join(CONFIG),
            output: record.output.into(),
        })
    }

    pub(crate) fn find_named_kernel(&self, name: &str) -> Option<Kernel> {
        let built = self.built_kernel(name)?;
        Some(Kernel { name: built.name, release: built.release, image: built.image, modules: built.modules })
    }

    /// Puts a finished build in place.
    pub(crate) fn publish_kernel(
        &self,
        lock: &cache::CacheLock,
        built: &Path,
        name: &str,
        key: &str,
    ) -> Result<(), SetupError> {
        self.store().publish(lock, built, &format!("built-{name}-{key}"), &alias(name)).map(drop)
    }

    /// Removes a built kernel and everything that its builds left, or, as `debian-source:LINE`, a fetched source.
    pub fn remove_kernel(&self, name: &str, progress: &mut dyn Progress) -> Result<(), BuildError> {
        if let Some(line) = name.strip_prefix("debian-source:") {
            let removed = self.remove_package_source(line, progress)?;
            return if removed { Ok(()) } else { Err(self.no_such_kernel(name)) };
        }
        check_name(name)?;
        let dir = self.kernel_dir(name);
        if self.store().part(&alias(name)).is_none() && !dir.is_dir() {
            return Err(self.no_such_kernel(name));
        }
        let lock = self.store().lock(progress)?;
        // What a build in progress uses stays.
        if dir.is_dir() {
            let Some(_building) = cache::try_lock_file(&dir.join("lock"))? else {
                return Err(BuildError::Busy(name.to_owned()));
            };
            fs::remove_dir_all(&dir).at("removing", &dir)?;
        }
        self.store().forget(&lock, &alias(name))?;
        Ok(())
    }

    fn no_such_kernel(&self, name: &str) -> BuildError {
        let sources = self.package_sources().into_iter().map(|source| source.spec);
        let names: Vec<String> = self.built_kernels().into_iter().map(|kernel| kernel.name).chain(sources).collect();
        BuildError::NoSuchName { name: name.to_owned(), known: known(&names) }
    }
}

/// Names as the end of a sentence.
pub(crate) fn known(names: &[String]) -> String {
    if names.is_empty() {
        return "; none has been built yet (`mlx5emu kernel build`)".to_owned();
    }
    format!("; there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_that_mean_nothing_else() {
        for good in ["debug", "fix-1", "v7.2_x", "0a+b"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", ".x", "a/b", "debian", "debian:7.2", "debian-source", "a b", "ä", &"x".repeat(33)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record {
            release: "7.2.12-x".into(),
            source: "debian-source:7.2 (7.2.12-1)".into(),
            config: "fast debug".into(),
            compiler: "gcc (Debian) 12.2.0".into(),
            key: "k".into(),
            files: 2337,
            built: 5,
            output: "/a b/c".into(),
        };
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()), Some(record));
        Record::remove(dir.path());
        assert_eq!(Record::read(dir.path()), None);
    }

    #[test]
    fn a_name_that_is_not_there_lists_those_that_are() {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::at(dir.path().to_owned());
        let error = setup.remove_kernel("gone", &mut crate::progress::Quiet).unwrap_err();
        assert_eq!(error.to_string(), "no kernel is called `gone`; none has been built yet (`mlx5emu kernel build`)");
        assert_eq!(known(&["a".into(), "b".into()]), "; there are a, b");
    }
}
