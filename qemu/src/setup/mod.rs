//! Finding or making what a guest needs: QEMU, a userland, kernels.
//!
//! [`Setup::check`] only looks. [`Setup::ensure`] provisions what is missing into the cache: from packages of a Debian
//! mirror, without touching the host's own packages. It can be interrupted and run again, and several at once wait for
//! each other.

mod kernels;
mod packages;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
pub use crate::error::SetupError;
use crate::kernel::{Kernel, Spec};
use crate::program::{QEMU_TESTED, Qemu};
use crate::progress::Progress;
use crate::userland::{self, Userland};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// A QEMU with `vfio-user-pci`.
    pub qemu: bool,
    /// The guest's programs.
    pub userland: bool,
    /// Kernels, as SPECs. A kernel needs the userland too, whose tools put its modules together.
    pub kernels: Vec<String>,
}

impl Needs {
    /// Everything that the project's own demo and tests use.
    pub fn all() -> Self {
        Self { qemu: true, userland: true, kernels: vec!["debian:7.2".into(), "debian:6.12".into()] }
    }

    /// What booting `spec` takes.
    pub fn for_kernel(spec: &str) -> Self {
        Self { qemu: true, userland: true, kernels: vec![spec.to_owned()] }
    }
}

/// Looks for parts, and makes them.
#[derive(Debug, Clone)]
pub struct Setup {
    cache: Cache,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One entry per part that was asked for.
    pub parts: Vec<Part>,
    /// Remarks, such as why a QEMU was passed over.
    pub notes: Vec<String>,
}

/// One part of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `qemu`, `userland`, `kernel debian:7.2`.
    pub name: String,
    /// Whether it can be used.
    pub state: PartState,
}

/// Whether a part can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// It can.
    Ready {
        /// Its version.
        version: String,
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot.
    Missing {
        /// Why, and what to do.
        why: String,
    },
}

/// What [`Setup::ensure`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The QEMU, when asked for.
    pub qemu: Option<Qemu>,
    /// The userland, when asked for or needed for a kernel.
    pub userland: Option<Userland>,
    /// The kernels, in the order asked for.
    pub kernels: Vec<Kernel>,
}

impl Setup {
    /// With the cache directory that the environment gives.
    pub fn from_env() -> Result<Self, SetupError> {
        Ok(Self { cache: Cache::from_env()? })
    }

    /// With a cache directory of the caller's choice.
    pub fn at(cache: PathBuf) -> Self {
        Self { cache: Cache::at(cache) }
    }

    /// The cache directory.
    pub fn cache(&self) -> &Path {
        self.cache.root()
    }

    /// The cache itself.
    pub(crate) fn store(&self) -> &Cache {
        &self.cache
    }

    /// Looks, without downloading or writing.
    pub fn check(&self, needs: &Needs) -> Report {
        let mut report = Report { parts: Vec::new(), notes: Vec::new() };
        if needs.qemu {
            let state = self.find_qemu(&mut report.notes).map(|found| found.map(|qemu| describe_qemu(&qemu)));
            report.add("qemu".into(), state);
        }
        if needs.userland || !needs.kernels.is_empty() {
            report.add("userland".into(), Ok(self.find_userland().map(|userland| describe_userland(&userland))));
        }
        for spec in &needs.kernels {
            let state = self.find_kernel(spec).map(|found| found.map(|kernel| (kernel.release, kernel.image)));
            report.add(format!("kernel {spec}"), state);
        }
        report
    }

    /// Finds what is there and makes what is not.
    pub fn ensure(&self, needs: &Needs, progress: &mut dyn Progress) -> Result<Installed, SetupError> {
        let result = self.ensure_parts(needs, progress);
        progress.done();
        result
    }

    /// Resolves one kernel, provisioning it when it is the distribution's.
    pub fn resolve_kernel(&self, spec: &str, progress: &mut dyn Progress) -> Result<Kernel, SetupError> {
        let needs = Needs { qemu: false, userland: false, kernels: vec![spec.to_owned()] };
        let mut kernels = self.ensure(&needs, progress)?.kernels;
        kernels.pop().ok_or_else(|| crate::kernel::KernelError::BadSpec(spec.to_owned()).into())
    }

    fn ensure_parts(&self, needs: &Needs, progress: &mut dyn Progress) -> Result<Installed, SetupError> {
        // What is wrong with the words that the user gave is said before anything is downloaded.
        for spec in &needs.kernels {
            self.find_kernel(spec)?;
        }
        let qemu = needs.qemu.then(|| self.ensure_qemu(progress)).transpose()?;
        let wants_userland = needs.userland || !needs.kernels.is_empty();
        let userland = wants_userland.then(|| self.ensure_userland(progress)).transpose()?;
        let mut kernels = Vec::new();
        if let Some(userland) = &userland {
            for spec in &needs.kernels {
                kernels.push(self.ensure_kernel(spec, userland, progress)?);
            }
        }
        Ok(Installed { qemu, userland, kernels })
    }

    fn ensure_qemu(&self, progress: &mut dyn Progress) -> Result<Qemu, SetupError> {
        let mut notes = Vec::new();
        let found = self.find_qemu(&mut notes)?;
        let qemu = match found {
            Some(qemu) => qemu,
            None => {
                notes.drain(..).for_each(|note| progress.note(&note));
                Qemu::private(&self.make_qemu(progress)?.join("tree"))?
            }
        };
        if !qemu.at_least(&QEMU_TESTED) {
            let [major, minor] = QEMU_TESTED;
            progress.note(&format!(
                "QEMU {} is older than {major}.{minor}, the oldest that is tested",
                qemu.version_text()
            ));
        }
        Ok(qemu)
    }

    fn find_qemu(&self, notes: &mut Vec<String>) -> Result<Option<Qemu>, SetupError> {
        let (own, passed_over) = Qemu::of_the_user()?;
        notes.extend(passed_over);
        if own.is_some() {
            return Ok(own);
        }
        self.cache.part(&packages::qemu_alias()).map(|dir| Qemu::private(&dir.join("tree"))).transpose()
    }

    fn ensure_userland(&self, progress: &mut dyn Progress) -> Result<Userland, SetupError> {
        match self.find_userland() {
            Some(userland) => Ok(userland),
            None => self.make_userland(progress),
        }
    }

    fn find_userland(&self) -> Option<Userland> {
        self.cache.part(&packages::userland_alias()).map(Userland::at)
    }

    /// `Ok(None)`: could be made. An error: never will be.
    fn find_kernel(&self, spec: &str) -> Result<Option<Kernel>, SetupError> {
        match spec.parse::<Spec>()? {
            Spec::Path(path) => self.find_path_kernel(spec, &path),
            Spec::Debian(line) => Ok(self.find_debian_kernel(spec, line.as_deref())),
            Spec::Named(name) => self.find_named_kernel(&name).map(Some).ok_or_else(|| self.no_such_name(name).into()),
        }
    }

    fn ensure_kernel(
        &self,
        spec: &str,
        userland: &Userland,
        progress: &mut dyn Progress,
    ) -> Result<Kernel, SetupError> {
        if let Some(kernel) = self.find_kernel(spec)? {
            return Ok(kernel);
        }
        match spec.parse::<Spec>()? {
            Spec::Path(path) => self.make_path_kernel(spec, &path, userland, progress),
            Spec::Debian(line) => self.make_debian_kernel(spec, line.as_deref(), userland, progress),
            Spec::Named(name) => Err(self.no_such_name(name).into()),
        }
    }
}

fn describe_qemu(qemu: &Qemu) -> (String, PathBuf) {
    let program = if qemu.private { qemu.argv().get(5) } else { qemu.argv().first() };
    (qemu.version_text(), program.map(PathBuf::from).unwrap_or_default())
}

fn describe_userland(userland: &Userland) -> (String, PathBuf) {
    let wanted = ["iproute2", "rdma-core", "ethtool"];
    let packages = userland::read_packages(userland.dir());
    let versions: Vec<String> = wanted
        .iter()
        .filter_map(|name| packages.iter().find(|(package, _)| package == name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    (versions.join(", "), userland.archive())
}

impl Report {
    /// Whether nothing is missing.
    pub fn complete(&self) -> bool {
        self.parts.iter().all(|part| matches!(part.state, PartState::Ready { .. }))
    }

    fn add(&mut self, name: String, state: Result<Option<(String, PathBuf)>, SetupError>) {
        let state = match state {
            Ok(Some((version, path))) => PartState::Ready { version, path },
            Ok(None) => PartState::Missing { why: "not provisioned yet: run `mlx5emu setup`".into() },
            Err(error) => PartState::Missing { why: error.to_string() },
        };
        self.parts.push(Part { name, state });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.parts.iter().map(|part| part.name.len()).max().unwrap_or(0);
        for part in &self.parts {
            match &part.state {
                PartState::Ready { version, path } => {
                    writeln!(f, "{:width$}  ready    {version}  ({})", part.name, path.display())?;
                }
                PartState::Missing { why } => writeln!(f, "{:width$}  missing  {why}", part.name)?,
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_an_empty_cache_writes_nothing_and_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cache");
        let setup = Setup::at(root.clone());
        let needs = Needs { qemu: false, userland: true, kernels: vec!["debian:7.2".into(), "nobody".into()] };
        let report = setup.check(&needs);
        assert!(!report.complete());
        assert!(!root.exists());
        let text = report.to_string();
        assert!(text.contains("kernel debian:7.2  missing  not provisioned yet: run `mlx5emu setup`"), "{text}");
        assert!(text.contains("no kernel is called `nobody`"), "{text}");
    }

    #[test]
    fn a_wrong_kernel_is_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::at(dir.path().join("cache"));
        let error = setup.resolve_kernel("/no/such/tree", &mut crate::progress::Quiet).unwrap_err();
        assert!(error.to_string().contains("no such file or directory"), "{error}");
        assert!(!dir.path().join("cache").exists());
    }
}
