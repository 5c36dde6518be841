//! The cache directory: finished parts, published atomically, shared by any number of runs.
//!
//! ```text
//! lock            held while something is being made
//! alias/NAME@KEY  one line: which directory of parts/ serves NAME now; KEY is a hash of how parts of that name are made
//! parts/NAME-KEY  a finished part; KEY is a hash of what it was made from
//! apt/            private package lists and downloads
//! kernels/NAME/   the folders, log and record of kernels that are built here
//! tmp/            what is being made; swept when nobody holds the lock
//! ```
//! A part is built in `tmp/` and renamed into `parts/`: it is there whole or not at all.

use std::fs::{self, File};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::error::{IoContext, SetupError};
use crate::progress::Progress;

/// The directory that holds everything downloaded or derived.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Held while something is being made; released when dropped.
#[derive(Debug)]
pub(crate) struct CacheLock {
    _file: File,
}

impl Cache {
    /// The cache at `root`, which need not exist yet.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// `$MLX5EMU_CACHE`, else `$XDG_CACHE_HOME/mlx5emu`, else `$HOME/.cache/mlx5emu`.
    pub fn from_env() -> Result<Self, SetupError> {
        Self::from_lookup(|name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_lookup(get: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, SetupError> {
        let absolute = |name: &str| get(name).filter(|path| path.is_absolute());
        if let Some(own) = absolute("MLX5EMU_CACHE") {
            return Ok(Self::at(own));
        }
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        base.map(|base| Self::at(base.join("mlx5emu"))).ok_or(SetupError::NoCacheDir)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory below the root, made when missing.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf, SetupError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).at("creating", &path)?;
        Ok(path)
    }

    /// Waits for other runs to finish theirs, and sweeps what an interrupted one left.
    pub(crate) fn lock(&self, progress: &mut dyn Progress) -> Result<CacheLock, SetupError> {
        fs::create_dir_all(&self.root).at("creating", &self.root)?;
        let path = self.root.join("lock");
        let file = File::options().create(true).append(true).open(&path).at("opening", &path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            progress.step("waiting for another mlx5emu that is setting up");
            rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(Into::into).at("locking", &path)?;
        }
        // A program that a killed run started may still be writing there: what it leaves is for the next sweep.
        let _ = fs::remove_dir_all(self.root.join("tmp"));
        Ok(CacheLock { _file: file })
    }

    /// A fresh directory to build a part in. Needs the lock, because a lock holder sweeps `tmp/`.
    pub(crate) fn scratch(&self, _lock: &CacheLock, name: &str) -> Result<PathBuf, SetupError> {
        // Never the name that a killed run used, whose programs may still be writing.
        self.dir(&format!("tmp/{name}-{}", std::process::id()))
    }

    /// Moves a finished directory into place and lets `alias` name it. Returns where it is now.
    pub(crate) fn publish(
        &self,
        lock: &CacheLock,
        built: &Path,
        part: &str,
        alias: &str,
    ) -> Result<PathBuf, SetupError> {
        let target = self.dir("parts")?.join(part);
        if target.exists() {
            // The same content under the same key: whoever uses it keeps it.
            fs::remove_dir_all(built).at("removing", built)?;
        } else {
            fs::rename(built, &target).at("renaming", built)?;
        }
        self.set_alias(lock, alias, part)?;
        self.sweep(alias);
        Ok(target)
    }

    /// Removes what an older recipe made under the same name, and parts that nothing names any more. Whoever runs them
    /// has them open; what cannot be removed stays.
    fn sweep(&self, alias: &str) {
        let name = |alias: &str| alias.split('@').next().unwrap_or_default().to_owned();
        let mut used = Vec::new();
        for entry in fs::read_dir(self.root.join("alias")).into_iter().flatten().flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            if other != alias && name(&other) == name(alias) {
                let _ = fs::remove_file(entry.path());
            } else if let Ok(part) = fs::read_to_string(entry.path()) {
                used.push(part.trim().to_owned());
            }
        }
        for entry in fs::read_dir(self.root.join("parts")).into_iter().flatten().flatten() {
            if !used.contains(&entry.file_name().to_string_lossy().into_owned()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Every alias that names a part.
    pub(crate) fn aliases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("alias")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Forgets `alias`, and removes its part unless another alias names it; whether it was there.
    pub(crate) fn forget(&self, _lock: &CacheLock, alias: &str) -> Result<bool, SetupError> {
        let path = self.root.join("alias").join(alias);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            result => result.at("removing", &path)?,
        }
        self.sweep(alias);
        Ok(true)
    }

    /// Lets `alias` name the finished part `part`.
    pub(crate) fn set_alias(&self, _lock: &CacheLock, alias: &str, part: &str) -> Result<(), SetupError> {
        let dir = self.dir("alias")?;
        let temporary = self.dir("tmp")?.join(format!("alias-{alias}"));
        fs::write(&temporary, part).at("writing", &temporary)?;
        let path = dir.join(alias);
        fs::rename(&temporary, &path).at("renaming", &path)
    }

    /// The finished part that `alias` names.
    pub(crate) fn part(&self, alias: &str) -> Option<PathBuf> {
        let name = fs::read_to_string(self.root.join("alias").join(alias)).ok()?;
        let path = self.root.join("parts").join(name.trim());
        path.is_dir().then_some(path)
    }

    /// Refuses early when the file system has no room for `needed_mib`.
    pub(crate) fn require_space(&self, part: &str, needed_mib: u64) -> Result<(), SetupError> {
        let stat = rustix::fs::statvfs(&self.root).map_err(Into::into).at("looking at", &self.root)?;
        enough_space(part, &self.root, needed_mib, stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
    }
}

fn enough_space(part: &str, dir: &Path, needed_mib: u64, free_mib: u64) -> Result<(), SetupError> {
    if free_mib >= needed_mib {
        return Ok(());
    }
    Err(SetupError::DiskSpace { part: part.to_owned(), dir: dir.to_owned(), needed_mib, free_mib })
}

const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(25);

/// Waits for a lock on a file of its own; it is released when dropped.
pub(crate) fn lock_file(path: &Path) -> Result<File, SetupError> {
    let file = File::options().create(true).append(true).open(path).at("opening", path)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(Into::into).at("locking", path)?;
    Ok(file)
}

/// The lock on a file, or `None` when somebody else has it.
pub(crate) fn try_lock_file(path: &Path) -> Result<Option<File>, SetupError> {
    let file = File::options().create(true).append(true).open(path).at("opening", path)?;
    // A program that is just being started has a copy of everything open, and so of a lock that was released, for a moment.
    for _ in 0..TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(BETWEEN_TRIES),
            Err(error) => return Err(error.into()).at("locking", path),
        }
    }
    Ok(None)
}

/// A short name for content: equal input, equal name, on every machine and version. Not against an adversary.
pub(crate) fn content_key<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Fnv::default();
    for piece in pieces {
        hash.write(piece.as_bytes());
        hash.write(&[0]);
    }
    format!("{:016x}", hash.finish())
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    fn lookup<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<PathBuf> + 'a {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
    }

    #[test]
    fn the_first_absolute_variable_wins() {
        let at = |pairs: &[(&str, &str)]| Cache::from_lookup(lookup(pairs)).map(|cache| cache.root);
        let all = [("MLX5EMU_CACHE", "/own"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/me")];
        assert_eq!(at(&all).unwrap(), Path::new("/own"));
        assert_eq!(at(&all[1..]).unwrap(), Path::new("/xdg/mlx5emu"));
        assert_eq!(at(&all[2..]).unwrap(), Path::new("/home/me/.cache/mlx5emu"));
        assert!(matches!(at(&[("HOME", "relative")]), Err(SetupError::NoCacheDir)));
    }

    #[test]
    fn a_part_is_named_only_after_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().join("cache"));
        let lock = cache.lock(&mut Quiet).unwrap();
        assert_eq!(cache.part("qemu"), None);
        let built = cache.scratch(&lock, "qemu").unwrap();
        fs::write(built.join("file"), "one").unwrap();
        assert_eq!(cache.part("qemu"), None);
        let place = cache.publish(&lock, &built, "qemu-1", "qemu").unwrap();
        assert_eq!(cache.part("qemu"), Some(place.clone()));
        assert!(!built.exists());

        // The same key again: the first one stays, since someone may be using it.
        let again = cache.scratch(&lock, "qemu").unwrap();
        fs::write(again.join("file"), "two").unwrap();
        cache.publish(&lock, &again, "qemu-1", "qemu").unwrap();
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "one");
    }

    #[test]
    fn a_new_recipe_replaces_what_the_old_one_made_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned());
        let lock = cache.lock(&mut Quiet).unwrap();
        let publish = |part: &str, alias: &str| {
            let built = cache.scratch(&lock, part).unwrap();
            cache.publish(&lock, &built, part, alias).unwrap()
        };
        let other = publish("kernel-1", "kernel@1");
        let old = publish("userland-1", "userland@1");
        let new = publish("userland-2", "userland@2");
        assert!(other.exists() && new.exists() && !old.exists());
        assert_eq!((cache.part("userland@1"), cache.part("userland@2")), (None, Some(new)));
    }

    #[test]
    fn what_is_forgotten_goes_and_the_rest_stays() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned());
        let lock = cache.lock(&mut Quiet).unwrap();
        let publish = |part: &str, alias: &str| {
            let built = cache.scratch(&lock, part).unwrap();
            cache.publish(&lock, &built, part, alias).unwrap()
        };
        let (one, two) = (publish("built-a-1", "built-a@"), publish("built-b-1", "built-b@"));
        assert_eq!(cache.aliases(), ["built-a@", "built-b@"]);
        assert!(cache.forget(&lock, "built-a@").unwrap() && !one.exists() && two.exists());
        assert!(!cache.forget(&lock, "built-a@").unwrap());
    }

    #[test]
    fn a_lock_is_had_by_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = try_lock_file(&path).unwrap();
        assert!(held.is_some() && try_lock_file(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock_file(&path).unwrap().is_some());
    }

    #[test]
    fn taking_the_lock_sweeps_what_an_interrupted_run_left() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned());
        let lock = cache.lock(&mut Quiet).unwrap();
        let left = cache.scratch(&lock, "half").unwrap();
        drop(lock);
        let _lock = cache.lock(&mut Quiet).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn too_little_space_is_one_sentence_with_the_remedy() {
        let text = enough_space("QEMU", Path::new("/cache"), 500, 20).unwrap_err().to_string();
        assert_eq!(
            text,
            "QEMU needs 500 MiB in /cache and only 20 MiB are free: make room, or set MLX5EMU_CACHE to a larger place"
        );
        assert!(enough_space("QEMU", Path::new("/cache"), 500, 500).is_ok());
    }

    #[test]
    fn keys_tell_boundaries_apart() {
        assert_eq!(content_key(["ab", "c"]), content_key(["ab", "c"]));
        assert_ne!(content_key(["ab", "c"]), content_key(["a", "bc"]));
    }
}
