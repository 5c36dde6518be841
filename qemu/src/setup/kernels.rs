//! Kernels: the distribution's packages, and what a path leads to.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Setup, packages};
use crate::apt::{self, Apt, STABLE};
use crate::build;
use crate::cache::content_key;
use crate::error::{IoContext, SetupError};
use crate::kernel::{self, Kernel, KernelError};
use crate::modules;
use crate::progress::Progress;
use crate::userland::{Userland, numbers};

const KERNEL_MIB: u64 = 600;
const PREFIX: &str = "linux-image-";
const ARCHIVE: &str = "modules.cpio";

impl Setup {
    pub(super) fn find_debian_kernel(&self, spec: &str, line: Option<&str>) -> Option<Kernel> {
        self.cache.part(&debian_alias(line)).map(|dir| from_part(spec, &dir))
    }

    pub(super) fn make_debian_kernel(
        &self,
        spec: &str,
        line: Option<&str>,
        userland: &Userland,
        progress: &mut dyn Progress,
    ) -> Result<Kernel, SetupError> {
        let lock = self.cache.lock(progress)?;
        if let Some(kernel) = self.find_debian_kernel(spec, line) {
            return Ok(kernel);
        }
        let part = format!("kernel {spec}");
        self.cache.require_space(&part, KERNEL_MIB)?;
        let apt = Apt::open(&self.cache, STABLE, progress)?;
        let release = pick(&apt.names(PREFIX)?, line)?;
        let planned = apt.plan(&part, &[format!("{PREFIX}{release}")], |name| !name.ends_with(&release))?;
        let key = content_key(
            planned.iter().map(|package| package.version.as_str()).chain(modules::recipe().iter().copied()),
        );
        let name = format!("kernel-{release}-{key}");
        let alias = debian_alias(line);
        // `debian` and `debian:7.2` may be the same kernel.
        if self.cache.root().join("parts").join(&name).is_dir() {
            self.cache.set_alias(&lock, &alias, &name)?;
        } else {
            let debs = apt.download(&part, &planned, progress)?;
            let scratch = self.cache.scratch(&lock, "kernel")?;
            let tree = self.cache.scratch(&lock, "kernel-tree")?;
            apt::unpack(&part, &debs, &tree, progress)?;
            packages::record(&scratch, &planned)?;
            keep_image(&tree, &release, &scratch)?;
            progress.step(&format!("{part}: putting its modules together"));
            modules::depmod(userland, &tree, &release)?;
            let source = modules::Source { release: &release, root: &tree };
            modules::build(&source, userland, &self.cache.scratch(&lock, "modules")?, &scratch.join(ARCHIVE))?;
            fs::remove_dir_all(&tree).at("removing", &tree)?;
            self.cache.publish(&lock, &scratch, &name, &alias)?;
            apt.forget_downloads(&debs);
        }
        let dir = self.cache.root().join("parts").join(&name);
        Ok(from_part(spec, &dir))
    }

    /// A bare bzImage, or a tree whose modules have been put together since they were last built.
    pub(super) fn find_path_kernel(&self, spec: &str, path: &Path) -> Result<Option<Kernel>, SetupError> {
        let located = kernel::locate(path)?;
        let kernel = |modules| Kernel {
            name: spec.to_owned(),
            release: located.release.clone(),
            image: located.image.clone(),
            modules,
        };
        let Some(tree) = &located.tree else { return Ok(Some(kernel(None))) };
        let found = self.cache.part(&tree_alias(tree));
        let fresh = found.filter(|dir| dir.file_name().is_some_and(|name| *name == *tree_part(tree, &located.release)));
        Ok(fresh.map(|dir| kernel(Some(dir.join(ARCHIVE)))))
    }

    pub(super) fn make_path_kernel(
        &self,
        spec: &str,
        path: &Path,
        userland: &Userland,
        progress: &mut dyn Progress,
    ) -> Result<Kernel, SetupError> {
        let lock = self.cache.lock(progress)?;
        let located = kernel::locate(path)?;
        let mut archive = None;
        if let Some(tree) = &located.tree {
            progress.step(&format!("kernel {spec}: putting its modules together"));
            let name = tree_part(tree, &located.release);
            let alias = tree_alias(tree);
            let stage = self.cache.scratch(&lock, "staged")?;
            fs::create_dir_all(stage.join("lib/modules")).at("creating", &stage)?;
            modules::stage_build_tree(tree, &located.release, &stage)?;
            modules::depmod(userland, &stage, &located.release)?;
            let built = self.cache.scratch(&lock, "kernel")?;
            let source = modules::Source { release: &located.release, root: &stage };
            modules::build(&source, userland, &self.cache.scratch(&lock, "modules")?, &built.join(ARCHIVE))?;
            // A tree is rebuilt many times a day: publishing sweeps its last modules away.
            let dir = self.cache.publish(&lock, &built, &name, &alias)?;
            archive = Some(dir.join(ARCHIVE));
        }
        Ok(Kernel { name: spec.to_owned(), release: located.release, image: located.image, modules: archive })
    }

    pub(super) fn no_such_name(&self, name: String) -> KernelError {
        let names: Vec<String> = self.built_kernels().into_iter().map(|kernel| kernel.name).collect();
        KernelError::NoSuchName { name, known: build::known(&names) }
    }
}

fn debian_alias(line: Option<&str>) -> String {
    let line = line.map_or_else(String::new, |line| format!("-{line}"));
    format!("kernel-debian{line}@{}", content_key(modules::recipe().iter().copied()))
}

fn tree_alias(tree: &Path) -> String {
    format!("tree-{}@", content_key([&*tree.to_string_lossy()]))
}

/// Named after everything that may change when a tree is built again: its modules' names, sizes and times.
fn tree_part(tree: &Path, release: &str) -> String {
    let mut pieces = vec![tree.to_string_lossy().into_owned(), release.to_owned()];
    for module in modules::built_modules(tree) {
        let path = tree.join(&module);
        if let Ok(meta) = fs::metadata(&path) {
            let time = meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            pieces.push(format!("{} {} {:?}", module.display(), meta.len(), time));
        }
    }
    format!("modules-{}", content_key(pieces.iter().map(String::as_str).chain(modules::recipe().iter().copied())))
}

fn from_part(spec: &str, dir: &Path) -> Kernel {
    let release = fs::read_to_string(dir.join("release")).unwrap_or_default().trim().to_owned();
    Kernel { name: spec.to_owned(), release, image: dir.join("vmlinuz"), modules: Some(dir.join(ARCHIVE)) }
}

/// Moves what is needed of a kernel's packages: the image and the configuration. Their place changed with 7.x.
fn keep_image(tree: &Path, release: &str, to: &Path) -> Result<(), SetupError> {
    for name in ["vmlinuz", "config"] {
        let places =
            [tree.join("usr/lib/modules").join(release).join(name), tree.join(format!("boot/{name}-{release}"))];
        if let Some(place) = places.iter().find(|place| place.is_file()) {
            fs::copy(place, to.join(name)).at("copying", place)?;
        }
    }
    let image: PathBuf = to.join("vmlinuz");
    kernel::read_release(&image)?;
    let path = to.join("release");
    fs::write(&path, release).at("writing", &path)
}

/// The newest release among package names, of one line or of all.
fn pick(names: &[String], line: Option<&str>) -> Result<String, KernelError> {
    let mut releases: Vec<(Vec<u32>, &str)> = names
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX))
        .filter(|name| is_release(name))
        .map(|name| (numbers(name), name))
        .collect();
    releases.sort();
    let wanted = numbers(line.unwrap_or_default());
    let newest = releases.iter().rev().find(|(version, _)| version.starts_with(&wanted));
    if let Some((_, release)) = newest {
        return Ok((*release).to_owned());
    }
    let mut offer: Vec<String> = Vec::new();
    for (version, _) in &releases {
        let line = version.iter().take(2).map(u32::to_string).collect::<Vec<_>>().join(".");
        if offer.last().is_none_or(|last| *last != format!("debian:{line}")) {
            offer.push(format!("debian:{line}"));
        }
    }
    Err(KernelError::NoSuchLine { line: line.unwrap_or("newest").to_owned(), offer })
}

/// `7.2.12+deb13-amd64`: the plain flavour, signed, without debug symbols.
fn is_release(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_digit())
        && name.ends_with("-amd64")
        && !["cloud", "rt", "unsigned", "dbg"].iter().any(|flavour| name.contains(&format!("-{flavour}")))
        && numbers(name).len() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        let releases = ["6.12.94+deb13-amd64", "6.12.107+deb13-amd64", "6.12.107+deb13-rt-amd64", "7.2.9+deb13-amd64"];
        let more = [
            "7.2.12+deb13-amd64",
            "7.2.12+deb13-cloud-amd64",
            "amd64",
            "7.1.3+deb13-amd64-unsigned",
            "7.2.12+deb13-amd64-dbg",
        ];
        releases.iter().chain(&more).map(|release| format!("{PREFIX}{release}")).collect()
    }

    #[test]
    fn the_newest_is_newest_by_number_not_by_spelling() {
        assert_eq!(pick(&names(), None).unwrap(), "7.2.12+deb13-amd64");
        assert_eq!(pick(&names(), Some("6.12")).unwrap(), "6.12.107+deb13-amd64");
        assert_eq!(pick(&names(), Some("7.2.9")).unwrap(), "7.2.9+deb13-amd64");
    }

    #[test]
    fn an_unknown_line_lists_what_is_on_offer() {
        let text = pick(&names(), Some("5.4")).unwrap_err().to_string();
        assert_eq!(text, "debian:5.4 is not on offer; there are debian:6.12, debian:7.2");
        // 7.20 does not start with 7.2 as a number.
        assert!(pick(&names(), Some("7.20")).is_err());
    }

    #[test]
    fn a_tree_is_put_together_again_when_a_module_changes() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("modules.order"), "a.o\n").unwrap();
        fs::write(tree.path().join("a.ko"), "one").unwrap();
        let before = tree_part(tree.path(), "7.2.0");
        assert_eq!(before, tree_part(tree.path(), "7.2.0"));
        fs::write(tree.path().join("a.ko"), "longer").unwrap();
        assert_ne!(before, tree_part(tree.path(), "7.2.0"));
    }
}
