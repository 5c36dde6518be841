//! The directory of a running card: one socket per function, the control socket and a lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::function::FunctionName;

/// The file name of the control socket.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The file name of the socket that guests may be given (`serve --guest-control`).
pub const GUEST_SOCKET: &str = "guest.sock";

/// The environment variable that names the directory of a running card.
pub const DIR_VARIABLE: &str = "MLX5EMU_DIR";

/// The longest path of a unix socket in bytes (`sun_path` of `sockaddr_un` less its final zero, unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;

const LOCK: &str = "lock";

/// What is wrong with a card's directory or one of its sockets.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The path is longer than a socket address holds.
    #[error(
        "the socket path {} has {} bytes, and a unix socket path has at most {MAX_SOCKET_PATH}: choose a shorter --dir",
        path.display(),
        path.as_os_str().len()
    )]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// Another card serves this directory, or another program this socket.
    #[error("{} is in use by a running server: stop it or choose another --dir", path.display())]
    InUse {
        /// The directory or socket.
        path: PathBuf,
    },
    /// Something that is not a socket has the socket's name.
    #[error("{} exists and is not a socket: remove it or choose another --dir", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The directory belongs to someone else or others may write to it.
    #[error("the directory {} {why}: choose a --dir of your own with mode 0700", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Why it is not private.
        why: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl PartialEq for DirError {
    /// Two errors are the same when they read the same.
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for DirError {}

impl Clone for DirError {
    fn clone(&self) -> Self {
        match self {
            DirError::TooLong { path } => DirError::TooLong { path: path.clone() },
            DirError::InUse { path } => DirError::InUse { path: path.clone() },
            DirError::NotASocket { path } => DirError::NotASocket { path: path.clone() },
            DirError::NotPrivate { path, why } => DirError::NotPrivate { path: path.clone(), why },
            DirError::Io { what, path, source } => {
                DirError::Io { what, path: path.clone(), source: io::Error::new(source.kind(), source.to_string()) }
            }
        }
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirError {
    let path = path.to_owned();
    move |source| DirError::Io { what, path, source }
}

/// The directory under which every card of this user has its own: `$XDG_RUNTIME_DIR/mlx5emu`, else `/run/user/UID/mlx5emu`,
/// else `mlx5emu-UID` below the directory for temporary files. It need not exist.
pub fn base_dir() -> PathBuf {
    base_dir_from(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), &std::env::temp_dir())
}

fn base_dir_from(xdg: Option<PathBuf>, temp: &Path) -> PathBuf {
    // A relative value is to be ignored (XDG base directory specification).
    if let Some(xdg) = xdg.filter(|x| x.is_absolute()) {
        return xdg.join("mlx5emu");
    }
    let uid = own_uid();
    let run = PathBuf::from(format!("/run/user/{uid}"));
    if is_private(&run).is_ok() { run.join("mlx5emu") } else { temp.join(format!("mlx5emu-{uid}")) }
}

/// The directory of the card called `name` when `--dir` is not given.
pub fn default_dir(name: &str) -> PathBuf {
    base_dir().join(name)
}

/// The effective user id of this process; the owner of its `/proc` entry.
fn own_uid() -> u32 {
    fs::metadata("/proc/self").map(|m| m.uid()).unwrap_or(u32::MAX)
}

/// The path of `function`'s socket in `dir`.
///
/// # Errors
/// [`DirError::TooLong`].
pub fn socket_path(dir: &Path, function: FunctionName) -> Result<PathBuf, DirError> {
    checked(dir.join(function.socket_name()))
}

/// The path of the socket of the shadow that takes `function`'s place, in `dir`.
///
/// # Errors
/// [`DirError::TooLong`].
pub fn shadow_path(dir: &Path, function: FunctionName) -> Result<PathBuf, DirError> {
    checked(dir.join(function.shadow_socket_name()))
}

/// The path of the socket in `dir` on which the monitor of the QEMU that has `pf` listens.
///
/// # Errors
/// [`DirError::TooLong`].
pub fn monitor_path(dir: &Path, pf: FunctionName) -> Result<PathBuf, DirError> {
    checked(dir.join(format!("{pf}.monitor")))
}

/// The path of the control socket in `dir`.
///
/// # Errors
/// [`DirError::TooLong`].
pub fn control_path(dir: &Path) -> Result<PathBuf, DirError> {
    checked(dir.join(CONTROL_SOCKET))
}

/// The path of the guests' control socket in `dir`.
///
/// # Errors
/// [`DirError::TooLong`].
pub fn guest_path(dir: &Path) -> Result<PathBuf, DirError> {
    checked(dir.join(GUEST_SOCKET))
}

fn checked(path: PathBuf) -> Result<PathBuf, DirError> {
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH { Err(DirError::TooLong { path }) } else { Ok(path) }
}

/// A directory that this process serves a card from. Dropping it lets the next card have the directory.
#[derive(Debug)]
pub struct ClaimedDir {
    path: PathBuf,
    _lock: File,
}

impl ClaimedDir {
    /// Makes `path` ready to serve from: creates it with mode 0700 if it is missing, checks that nobody else can write to it, and
    /// takes its lock.
    ///
    /// # Errors
    /// Another card serves from it, it is not private, or the system refuses.
    pub fn claim(path: &Path) -> Result<ClaimedDir, DirError> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        // The parent of a default directory is ours to make, and private too.
        for dir in parent.into_iter().chain([path]) {
            match fs::DirBuilder::new().recursive(false).mode(0o700).create(dir) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(io_error("create directory", dir)(e)),
                _ => {}
            }
        }
        is_private(path)?;
        let path = fs::canonicalize(path).map_err(io_error("open directory", path))?;
        path.parent().map_or(Ok(()), is_safe_parent)?;
        let lock_path = path.join(LOCK);
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io_error("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(ClaimedDir { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirError::InUse { path }),
            Err(TryLockError::Error(e)) => Err(io_error("lock", &lock_path)(e)),
        }
    }

    /// The directory, absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the name of `function`'s socket free to bind, and returns it.
    ///
    /// # Errors
    /// As [`free_socket`].
    pub fn function_socket(&self, function: FunctionName) -> Result<PathBuf, DirError> {
        free_socket(&socket_path(&self.path, function)?)
    }

    /// Makes the name of the socket of `function`'s shadow free to bind, and returns it.
    ///
    /// # Errors
    /// As [`free_socket`].
    pub fn shadow_socket(&self, function: FunctionName) -> Result<PathBuf, DirError> {
        free_socket(&shadow_path(&self.path, function)?)
    }

    /// Makes the name of the control socket free to bind, and returns it.
    ///
    /// # Errors
    /// As [`free_socket`].
    pub fn control_socket(&self) -> Result<PathBuf, DirError> {
        free_socket(&control_path(&self.path)?)
    }

    /// Makes the name of the guests' control socket free to bind, and returns it.
    ///
    /// # Errors
    /// As [`free_socket`].
    pub fn guest_socket(&self) -> Result<PathBuf, DirError> {
        free_socket(&guest_path(&self.path)?)
    }
}

fn is_private(path: &Path) -> Result<(), DirError> {
    let meta = fs::metadata(path).map_err(io_error("open directory", path))?;
    let why = if !meta.is_dir() {
        "is not a directory"
    } else if meta.mode() & 0o022 != 0 {
        "can be written to by other users"
    } else if meta.uid() != own_uid() {
        "belongs to another user"
    } else {
        return Ok(());
    };
    Err(DirError::NotPrivate { path: path.to_owned(), why })
}

/// Whether nobody but us and root can put another directory in the place of one below `path`.
fn is_safe_parent(path: &Path) -> Result<(), DirError> {
    let meta = fs::metadata(path).map_err(io_error("open directory", path))?;
    let why = if meta.uid() != own_uid() && meta.uid() != 0 {
        "belongs to another user"
    } else if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
        "can be written to by other users and is not sticky"
    } else {
        return Ok(());
    };
    Err(DirError::NotPrivate { path: path.to_owned(), why })
}

/// Makes a socket's name free to bind: checks its length and removes a socket that nobody answers.
///
/// # Errors
/// The path is too long, a live server answers there, or something that is not a socket has the name.
pub fn free_socket(path: &Path) -> Result<PathBuf, DirError> {
    let path = checked(path.to_owned())?;
    match fs::symlink_metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(path),
        Err(e) => return Err(io_error("look at", &path)(e)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(DirError::NotASocket { path }),
        Ok(_) => {}
    }
    match UnixStream::connect(&path) {
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {}
        // Anything else, a full backlog for instance, means that someone listens.
        _ => return Err(DirError::InUse { path }),
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io_error("remove the stale socket", &path)(e)),
        _ => Ok(path),
    }
}

/// The directories of all cards of this user that answer now, sorted.
pub fn running() -> Vec<PathBuf> {
    running_in(&base_dir())
}

fn running_in(base: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = entries.map(|e| e.path()).filter(|d| answers(d)).collect();
    dirs.sort();
    dirs
}

fn answers(dir: &Path) -> bool {
    control_path(dir).is_ok_and(|path| UnixStream::connect(path).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_new_directory_is_private_and_belongs_to_one_card() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("mlx5emu/card0");
        let claimed = ClaimedDir::claim(&dir).unwrap();
        for made in [dir.as_path(), dir.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
        let error = ClaimedDir::claim(&dir).unwrap_err();
        assert!(matches!(error, DirError::InUse { .. }), "{error}");
        drop(claimed);
        ClaimedDir::claim(&dir).unwrap();
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = ClaimedDir::claim(temp.path()).unwrap_err();
        assert!(matches!(error, DirError::NotPrivate { .. }), "{error}");
        let error = ClaimedDir::claim(&temp.path().join("below")).unwrap_err();
        assert!(error.to_string().contains("sticky"), "{error}");
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(ClaimedDir::claim(&file).is_err());
    }

    #[test]
    fn stale_sockets_go_and_live_ones_stay() {
        let temp = tempfile::tempdir().unwrap();
        let claimed = ClaimedDir::claim(temp.path()).unwrap();
        let path = claimed.function_socket(FunctionName::pf(0)).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(claimed.function_socket(FunctionName::pf(0)), Err(DirError::InUse { .. })));
        drop(listener);
        assert!(path.exists());
        assert_eq!(claimed.function_socket(FunctionName::pf(0)).unwrap(), path);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(matches!(claimed.function_socket(FunctionName::pf(0)), Err(DirError::NotASocket { .. })));
    }

    #[test]
    fn the_longest_path_is_107_bytes() {
        let fits = PathBuf::from(format!("/{}", "d".repeat(MAX_SOCKET_PATH - "/pf0.sock".len() - 1)));
        assert_eq!(socket_path(&fits, FunctionName::pf(0)).unwrap().as_os_str().len(), MAX_SOCKET_PATH);
        let error = socket_path(&fits, FunctionName::vf(0, 1)).unwrap_err();
        assert!(error.to_string().contains("shorter --dir"), "{error}");
        // The limit is the system's, not ours alone.
        let temp = tempfile::tempdir().unwrap();
        let pad = MAX_SOCKET_PATH - temp.path().as_os_str().len() - 1;
        let path = temp.path().join("s".repeat(pad));
        assert_eq!(checked(path.clone()).unwrap(), path);
        UnixListener::bind(path).unwrap();
    }

    #[test]
    fn the_base_follows_the_environment() {
        let temp = Path::new("/some/tmp");
        assert_eq!(base_dir_from(Some("/run/me".into()), temp), Path::new("/run/me/mlx5emu"));
        let fallback = base_dir_from(Some("relative".into()), temp);
        assert!(fallback.starts_with("/run/user") || fallback.starts_with(temp), "{fallback:?}");
    }

    #[test]
    fn only_cards_that_answer_are_running() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(temp.path().join(name)).unwrap();
        }
        let _live = UnixListener::bind(temp.path().join("b").join(CONTROL_SOCKET)).unwrap();
        drop(UnixListener::bind(temp.path().join("c").join(CONTROL_SOCKET)).unwrap());
        assert_eq!(running_in(temp.path()), [temp.path().join("b")]);
    }
}
