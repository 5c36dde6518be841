//! A private view of a Debian archive: package lists and downloads of our own, signatures checked by apt.
//!
//! apt does the resolving, fetching and checking, with its state in the cache directory; the host's package database is
//! neither read nor written, so no privilege is needed. Packages are unpacked without running their scripts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::cache::Cache;
use crate::error::{IoContext, SetupError};
use crate::host::{self, last_words};
use crate::progress::Progress;

/// The suites that one tree is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suites {
    /// Short name: the directory of its lists.
    pub(crate) name: &'static str,
    /// The suites, the least preferred first.
    pub(crate) suites: &'static [&'static str],
}

/// Where QEMU and the prebuilt kernels come from: the stable release and its backports.
pub(crate) const STABLE: Suites = Suites { name: "stable", suites: &["trixie", "trixie-backports"] };
/// Where the guest's userland comes from: the stable release's is too old for devlink, rdma and libibverbs.
pub(crate) const TESTING: Suites = Suites { name: "testing", suites: &["testing"] };

/// Where kernels are before they are released, or before stable has them.
pub(crate) const EXPERIMENTAL: Suites = Suites { name: "experimental", suites: &["unstable", "experimental"] };

const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// One package of one version, as apt chose it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Bytes to download.
    pub(crate) size: u64,
    /// The name of its file once downloaded.
    file: String,
}

/// A private view, with its lists fetched.
#[derive(Debug)]
pub(crate) struct Apt {
    suites: Suites,
    mirror: String,
    config: PathBuf,
    /// Where packages are downloaded to. Not apt's own archive, whose contents it would leave out of a plan.
    downloads: PathBuf,
}

impl Apt {
    /// Opens the view and fetches its package lists.
    pub(crate) fn open(cache: &Cache, suites: Suites, progress: &mut dyn Progress) -> Result<Self, SetupError> {
        if host::find_in_path("apt-get").is_none() {
            return Err(host::cannot_start("apt-get", &std::io::ErrorKind::NotFound.into()));
        }
        let keyring = keyring(progress)?;
        let mirror = mirror()?;
        let root = cache.dir(&format!("apt/{}", suites.name))?;
        for below in ["lists/partial", "archives/partial", "downloads", "etc"] {
            let dir = root.join(below);
            fs::create_dir_all(&dir).at("creating", &dir)?;
        }
        let write = |name: &str, text: String| {
            let path = root.join(name);
            fs::write(&path, text).at("writing", &path)
        };
        let downloads = root.join("downloads");
        write("status", String::new())?;
        write("sources.list", sources(suites, &mirror, &keyring))?;
        write("apt.conf", configuration(&root, suites, &host_acquire_settings()))?;
        let apt = Self { suites, mirror, config: root.join("apt.conf"), downloads };
        apt.update(progress)?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Fetches the package lists, unless this mirror's were fetched a moment ago.
    fn update(&self, progress: &mut dyn Progress) -> Result<(), SetupError> {
        let stamp = self.config.with_file_name("updated");
        if is_fresh(&stamp, &self.mirror) {
            return Ok(());
        }
        progress.step(&format!("reading the package lists of {}", self.suites.suites.join(", ")));
        // A list that could not be fetched is only a warning to apt unless it is told otherwise.
        let output = host::output(self.command("apt-get").args(["update", "-q", "--error-on=any"]))?;
        if output.status.success() {
            return fs::write(&stamp, &self.mirror).at("writing", &stamp);
        }
        Err(SetupError::Mirror { mirror: self.mirror.clone(), detail: fetch_error(&output.stderr) })
    }

    /// What has to be fetched for `wanted` and everything they depend on, less what `skip` refuses.
    pub(crate) fn plan(
        &self,
        part: &str,
        wanted: &[String],
        skip: impl Fn(&str) -> bool,
    ) -> Result<Vec<Package>, SetupError> {
        let mut command = self.command("apt-get");
        command.args(["install", "-qq", "-y", "--print-uris", "--no-install-recommends"]).args(wanted);
        let output = host::output(&mut command)?;
        if !output.status.success() {
            return Err(self.not_offered(part, last_words(&output.stderr)));
        }
        let mut packages = parse_uris(&String::from_utf8_lossy(&output.stdout));
        packages.retain(|package| !skip(&package.name));
        packages.sort();
        Ok(packages)
    }

    /// The error for a mirror whose packages are not what is needed.
    pub(crate) fn not_offered(&self, part: &str, detail: String) -> SetupError {
        SetupError::NotOffered { part: part.to_owned(), mirror: self.mirror.clone(), detail }
    }

    /// Every package whose name starts with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>, SetupError> {
        let text = host::run("reading the package names", self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Fetches `packages`; what is there already is kept, so that an interrupted download goes on.
    pub(crate) fn download(
        &self,
        part: &str,
        packages: &[Package],
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>, SetupError> {
        let total = packages.iter().map(|package| package.size).sum();
        progress.step(&format!("{part}: downloading {} packages, {} MiB", packages.len(), total >> 20));
        let errors = self.downloads.join("errors");
        let log = File::create(&errors).at("creating", &errors)?;
        let mut command = self.command("apt-get");
        command.args(["download", "-qq"]).current_dir(&self.downloads).stdout(Stdio::null()).stderr(log);
        command.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        let mut child = command.spawn().map_err(|error| host::cannot_start("apt-get", &error))?;
        let status = loop {
            if let Some(status) = child.try_wait().at("waiting for", &self.downloads)? {
                break status;
            }
            progress.amount(bytes_in(&self.downloads), total);
            std::thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            let detail = last_words(&fs::read(&errors).unwrap_or_default());
            return Err(SetupError::Download { part: part.to_owned(), detail });
        }
        Ok(packages.iter().map(|package| self.downloads.join(&package.file)).collect())
    }

    /// Forgets the downloads: what they were for is in place.
    pub(crate) fn forget_downloads(&self, debs: &[PathBuf]) {
        // apt's binary caches are larger than the lists that they are made from, within a second.
        let caches = ["pkgcache.bin", "srcpkgcache.bin"].map(|name| self.config.with_file_name(name));
        for file in debs.iter().chain(&caches) {
            let _ = fs::remove_file(file);
        }
    }
}

/// Why fetching failed: apt says that first, and complains about what follows from it afterwards.
fn fetch_error(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let first = text.lines().find_map(|line| line.strip_prefix("E: Failed to fetch "));
    // The URL, two spaces, the reason.
    match first.and_then(|line| line.split_once("  ")) {
        Some((_, reason)) => reason.split_whitespace().collect::<Vec<_>>().join(" "),
        None => last_words(stderr),
    }
}

/// Package lists younger than this are not fetched again: several parts may be made one after another.
const FRESH: Duration = Duration::from_secs(600);

/// Whether the stamp says that this mirror's lists have just been fetched.
fn is_fresh(stamp: &Path, mirror: &str) -> bool {
    let age = fs::metadata(stamp).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age < FRESH) && fs::read_to_string(stamp).is_ok_and(|text| text == mirror)
}

/// Unpacks packages into one tree with the usual links of a merged `/usr`.
pub(crate) fn unpack(part: &str, debs: &[PathBuf], tree: &Path, progress: &mut dyn Progress) -> Result<(), SetupError> {
    progress.step(&format!("{part}: unpacking"));
    for name in ["bin", "sbin", "lib", "lib64"] {
        let dir = tree.join("usr").join(name);
        fs::create_dir_all(&dir).at("creating", &dir)?;
        let link = tree.join(name);
        std::os::unix::fs::symlink(Path::new("usr").join(name), &link).at("linking", &link)?;
    }
    // Two at a time: decompression is one core's work, and the packages do not overlap but in directories.
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), SetupError> {
        while let Some(deb) = debs.get(next.fetch_add(1, Ordering::Relaxed)) {
            host::run("unpacking a package", Command::new("dpkg-deb").arg("-x").arg(deb).arg(tree))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let own = worker();
        let other = other.join().unwrap_or_else(|_| {
            Err(SetupError::Tool { doing: "unpacking a package".into(), detail: "a worker died".into() })
        });
        own.and(other)
    })
}

fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

fn keyring(progress: &mut dyn Progress) -> Result<String, SetupError> {
    let find = || KEYRINGS.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned());
    if let Some(path) = find() {
        return Ok(path);
    }
    progress.step("installing the package debian-archive-keyring");
    host::install_package("debian-archive-keyring", "debian-archive-keyring")?;
    find().ok_or_else(|| SetupError::MissingProgram {
        program: "debian-archive-keyring".into(),
        package: "debian-archive-keyring".into(),
        hint: String::new(),
    })
}

fn sources(suites: Suites, mirror: &str, keyring: &str) -> String {
    suites.suites.iter().map(|suite| format!("deb [signed-by={keyring}] {mirror} {suite} main\n")).collect()
}

fn configuration(root: &Path, suites: Suites, host_settings: &str) -> String {
    let root = root.display();
    let release = suites.suites.last().copied().unwrap_or_default();
    format!(
        r#"{host_settings}Dir "{root}";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::State::lists "{root}/lists";
Dir::Cache "{root}";
Dir::Cache::archives "{root}/archives";
Dir::Etc "{root}/etc";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Default-Release "{release}";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
"#
    )
}

/// How the host reaches the network (proxies, time-outs); a private configuration would otherwise lose it.
fn host_acquire_settings() -> String {
    let mut command = Command::new("apt-config");
    let Ok(text) = host::run("reading apt's configuration", command.args(["dump", "Acquire"])) else {
        return String::new();
    };
    let wanted = ["Acquire::http", "Acquire::https", "Acquire::ForceIPv"];
    let keep = |line: &&str| wanted.iter().any(|prefix| line.starts_with(prefix));
    text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

/// The Debian mirror: the user's word, else what this machine's apt uses for Debian itself.
fn mirror() -> Result<String, SetupError> {
    if let Ok(own) = std::env::var("MLX5EMU_MIRROR")
        && !own.trim().is_empty()
    {
        return Ok(own.trim().trim_end_matches('/').to_owned());
    }
    let format = "$(REPO_URI) $(RELEASE) $(ORIGIN)";
    let mut command = Command::new("apt-get");
    let text = host::run("reading apt's sources", command.args(["indextargets", "--format", format]))?;
    let on_debian =
        fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=debian"));
    pick_mirror(&text, on_debian).ok_or(SetupError::NoMirror)
}

/// Lines of `URI RELEASE ORIGIN`, where the origin is empty before the first `apt-get update`.
fn pick_mirror(targets: &str, on_debian: bool) -> Option<String> {
    let rows: Vec<(&str, &str, Option<&str>)> = targets
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?, words.next()))
        })
        // Security and other side archives do not hold the suites that are wanted here.
        .filter(|(uri, release, _)| !uri.contains("security") && !release.contains('/') && !release.contains('-'))
        .collect();
    let known = rows.iter().find(|(_, _, origin)| *origin == Some("Debian"));
    let guess = || rows.iter().find(|(uri, _, origin)| on_debian && origin.is_none() && is_debian_archive(uri));
    known.or_else(guess).map(|(uri, ..)| uri.trim_end_matches('/').to_owned())
}

/// By convention, and on every mirror of the project's list, the archive's directory is called `debian`.
fn is_debian_archive(uri: &str) -> bool {
    uri.trim_end_matches('/').ends_with("/debian")
}

/// Lines of `'URI' FILE SIZE HASH`; the file is called NAME_VERSION_ARCH.deb, with `%3a` for a colon.
fn parse_uris(text: &str) -> Vec<Package> {
    let mut packages = HashMap::new();
    for line in text.lines().filter(|line| line.starts_with('\'')) {
        let mut words = line.rsplitn(4, ' ');
        let (_, size, file) = (words.next(), words.next(), words.next());
        let (Some(size), Some(file)) = (size.and_then(|size| size.parse().ok()), file) else { continue };
        let mut parts = file.splitn(3, '_');
        let (Some(name), Some(version)) = (parts.next(), parts.next()) else { continue };
        let (name, version) = (name.to_owned(), version.replace("%3a", ":"));
        packages.insert(name.clone(), Package { name, version, size, file: file.to_owned() });
    }
    packages.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_that_serves_debian_itself() {
        let text = "http://other.example/tools/ stable Other\n\
                    http://mirror.example/debian-security/ bookworm-security Debian\n\
                    http://mirror.example/debian/ bookworm-updates Debian\n\
                    http://mirror.example/debian/ bookworm Debian\n";
        assert_eq!(pick_mirror(text, true).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(pick_mirror("http://other.example/tools/ stable Other\n", true), None);
    }

    #[test]
    fn without_package_lists_only_a_debian_host_gives_its_mirror() {
        let text = "http://other.example/node/ nodistro\nhttp://mirror.example/debian/ bookworm \n";
        assert_eq!(pick_mirror(text, true).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(pick_mirror(text, false), None);
    }

    #[test]
    fn the_reason_is_what_apt_said_first() {
        let text = b"E: Failed to fetch http://m.example/d/InRelease  Could not resolve 'm.example'\nE: Some index files failed\n";
        assert_eq!(fetch_error(text), "Could not resolve 'm.example'");
        assert_eq!(fetch_error(b"E: The repository is not signed.\n"), "The repository is not signed.");
    }

    #[test]
    fn lists_are_fresh_for_the_mirror_they_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = dir.path().join("updated");
        assert!(!is_fresh(&stamp, "http://m.example/debian"));
        fs::write(&stamp, "http://m.example/debian").unwrap();
        assert!(is_fresh(&stamp, "http://m.example/debian") && !is_fresh(&stamp, "http://other.example/debian"));
        let old = std::time::SystemTime::now() - FRESH * 2;
        File::options().write(true).open(&stamp).unwrap().set_modified(old).unwrap();
        assert!(!is_fresh(&stamp, "http://m.example/debian"));
    }

    #[test]
    fn what_apt_prints_becomes_packages() {
        let text =
            "'http://m.example/pool/q_1%3a11.1+ds-1_amd64.deb' qemu_1%3a11.1+ds-1_amd64.deb 1234 MD5Sum:00\nnoise\n";
        let packages = parse_uris(text);
        assert_eq!(packages.len(), 1);
        assert_eq!((packages[0].name.as_str(), packages[0].version.as_str()), ("qemu", "1:11.1+ds-1"));
        assert_eq!((packages[0].size, packages[0].file.as_str()), (1234, "qemu_1%3a11.1+ds-1_amd64.deb"));
    }

    #[test]
    fn signatures_stay_checked_and_only_the_age_is_ignored() {
        let config = configuration(Path::new("/c/apt"), STABLE, "Acquire::http::Proxy \"p\";\n");
        assert!(config.contains("Acquire::Check-Valid-Until \"false\";"));
        assert!(!config.contains("AllowUnauthenticated") && !config.contains("AllowInsecure"));
        assert!(config.starts_with("Acquire::http::Proxy \"p\";\n"));
        assert!(config.contains("APT::Default-Release \"trixie-backports\";"));
        let sources = sources(STABLE, "http://m.example/debian", "/k.gpg");
        assert_eq!(sources.lines().count(), 2);
        assert!(sources.lines().all(|line| line.contains("[signed-by=/k.gpg]")));
    }
}
