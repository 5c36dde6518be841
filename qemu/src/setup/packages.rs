//! The two trees made from packages: QEMU's and the guest's.

use std::fs;
use std::path::{Path, PathBuf};

use super::Setup;
use crate::apt::{self, Apt, Package, STABLE, Suites, TESTING};
use crate::cache::{CacheLock, content_key};
use crate::error::{IoContext, SetupError};
use crate::progress::Progress;
use crate::userland::{self, Userland};

/// Raised when trees are put together in another way, so that existing ones are made anew.
const RECIPE: &str = "1";

const QEMU_PACKAGES: &[&str] = &["qemu-system-x86", "qemu-system-data", "seabios", "ipxe-qemu"];
/// Dependencies of an installed QEMU that a program run from its own tree has no use for.
const QEMU_UNUSED: &[&str] =
    &["systemd", "udev", "libsystemd-shared", "debconf", "gcc-", "openssl-provider", "passwd", "adduser"];

const QEMU_MIB: u64 = 260;
const USERLAND_MIB: u64 = 260;

pub(super) fn qemu_alias() -> String {
    format!("qemu@{}", content_key([RECIPE].into_iter().chain(QEMU_PACKAGES.iter().copied())))
}

pub(super) fn userland_alias() -> String {
    format!("userland@{}", content_key([RECIPE].into_iter().chain(userland::recipe())))
}

/// One tree to make.
struct Recipe<'a> {
    part: &'a str,
    /// Prefix of the finished part's directory.
    name: &'a str,
    alias: String,
    suites: Suites,
    packages: &'a [&'a str],
    skip: fn(&str) -> bool,
    needed_mib: u64,
}

impl Setup {
    pub(super) fn make_qemu(&self, progress: &mut dyn Progress) -> Result<PathBuf, SetupError> {
        let lock = self.cache.lock(progress)?;
        let alias = qemu_alias();
        // Another run may have made it while this one waited.
        if let Some(dir) = self.cache.part(&alias) {
            return Ok(dir);
        }
        let recipe = Recipe {
            part: "QEMU",
            name: "qemu",
            alias,
            suites: STABLE,
            packages: QEMU_PACKAGES,
            skip: |package| QEMU_UNUSED.iter().any(|prefix| package.starts_with(prefix)),
            needed_mib: QEMU_MIB,
        };
        let works = |dir: &Path| crate::program::Qemu::private(&dir.join("tree")).map(drop);
        self.make_tree(&lock, &recipe, |_| None, works, progress)
    }

    pub(super) fn make_userland(&self, progress: &mut dyn Progress) -> Result<Userland, SetupError> {
        let lock = self.cache.lock(progress)?;
        let alias = userland_alias();
        if let Some(dir) = self.cache.part(&alias) {
            return Ok(Userland::at(dir));
        }
        let recipe = Recipe {
            part: "the guest's userland",
            name: "userland",
            alias,
            suites: TESTING,
            packages: userland::PACKAGES,
            skip: userland::is_unused,
            needed_mib: USERLAND_MIB,
        };
        let finish = |dir: &Path| Userland::at(dir.to_owned()).finish();
        self.make_tree(&lock, &recipe, userland::too_old, finish, progress).map(Userland::at)
    }

    /// Plans, fetches, unpacks, lets `finish` check or complete the part, and publishes it.
    fn make_tree(
        &self,
        lock: &CacheLock,
        recipe: &Recipe<'_>,
        too_old: impl Fn(&[Package]) -> Option<String>,
        finish: impl Fn(&Path) -> Result<(), SetupError>,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, SetupError> {
        self.cache.require_space(recipe.part, recipe.needed_mib)?;
        let apt = Apt::open(&self.cache, recipe.suites, progress)?;
        let wanted: Vec<String> = recipe.packages.iter().map(|name| (*name).to_owned()).collect();
        let packages = apt.plan(recipe.part, &wanted, recipe.skip)?;
        if let Some(detail) = too_old(&packages) {
            return Err(apt.not_offered(recipe.part, detail));
        }
        let debs = apt.download(recipe.part, &packages, progress)?;
        let scratch = self.cache.scratch(lock, recipe.name)?;
        apt::unpack(recipe.part, &debs, &scratch.join("tree"), progress)?;
        let key = content_key([recipe.alias.as_str(), &record(&scratch, &packages)?]);
        progress.step(&format!("{}: checking", recipe.part));
        finish(&scratch)?;
        let dir = self.cache.publish(lock, &scratch, &format!("{}-{key}", recipe.name), &recipe.alias)?;
        apt.forget_downloads(&debs);
        Ok(dir)
    }
}

/// Writes down what a part is made of, and returns it.
pub(super) fn record(dir: &Path, packages: &[Package]) -> Result<String, SetupError> {
    let text: String = packages.iter().map(|package| format!("{} {}\n", package.name, package.version)).collect();
    let path = dir.join("packages");
    fs::write(&path, &text).at("writing", &path)?;
    Ok(text)
}
