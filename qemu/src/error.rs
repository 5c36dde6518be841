//! What can go wrong while provisioning. Every message is one sentence that names the thing and the remedy.

use std::path::PathBuf;

/// Why a part could not be found or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No place for the cache.
    #[error("no cache directory: set MLX5EMU_CACHE, XDG_CACHE_HOME or HOME to an absolute path")]
    NoCacheDir,
    /// Not enough room for what is to be made.
    #[error(
        "{part} needs {needed_mib} MiB in {dir} and only {free_mib} MiB are free: make room, or set MLX5EMU_CACHE to a larger place",
        dir = dir.display()
    )]
    DiskSpace {
        /// What was to be made.
        part: String,
        /// Where.
        dir: PathBuf,
        /// MiB needed while it is being made.
        needed_mib: u64,
        /// MiB free.
        free_mib: u64,
    },
    /// A program of the host is missing.
    #[error("the program `{program}` is missing: install the package `{package}`{hint}")]
    MissingProgram {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: String,
        /// More advice, starting with a separator, or nothing.
        hint: String,
    },
    /// Packages of the host are missing.
    #[error("these packages are missing: {packages}{hint}", packages = packages.join(" "))]
    MissingPackages {
        /// Their names in Debian.
        packages: Vec<String>,
        /// More advice, starting with a separator, or nothing.
        hint: String,
    },
    /// No package source is configured that could serve Debian packages.
    #[error(
        "no Debian mirror in this machine's apt configuration: set MLX5EMU_MIRROR to the URL of one (the directory that holds `dists/` and `pool/`)"
    )]
    NoMirror,
    /// The mirror did not answer, or not as a Debian mirror does.
    #[error(
        "the package mirror {mirror} could not be read ({detail}): check the network, or set MLX5EMU_MIRROR to another one"
    )]
    Mirror {
        /// Its URL.
        mirror: String,
        /// What apt said.
        detail: String,
    },
    /// Packages that should be there are not.
    #[error(
        "{part}: the mirror {mirror} does not offer what is needed ({detail}): set MLX5EMU_MIRROR to a complete one"
    )]
    NotOffered {
        /// What was to be made.
        part: String,
        /// The mirror's URL.
        mirror: String,
        /// What apt said.
        detail: String,
    },
    /// A download did not finish.
    #[error("{part}: downloading failed ({detail}): run the same command again, what has arrived is kept")]
    Download {
        /// What was to be made.
        part: String,
        /// What apt said.
        detail: String,
    },
    /// A tool of the host failed.
    #[error("{doing} failed ({detail}): run the same command again, and report this if it fails again")]
    Tool {
        /// What was being done.
        doing: String,
        /// The tool's last words.
        detail: String,
    },
    /// A part was made, and is not what it should be.
    #[error("{part} is not usable ({detail}): remove {dir} and run `mlx5emu setup` again", dir = dir.display())]
    Unusable {
        /// The part.
        part: String,
        /// What is wrong.
        detail: String,
        /// Its place.
        dir: PathBuf,
    },
    /// The user named a QEMU that cannot be used.
    #[error(
        "MLX5EMU_QEMU={path}: {why}; it must be QEMU {needed} or newer with the device vfio-user-pci, or unset the variable to use a private QEMU"
    )]
    UserQemu {
        /// What the variable says.
        path: String,
        /// What is wrong.
        why: String,
        /// The version floor.
        needed: String,
    },
    /// A kernel could not be resolved.
    #[error(transparent)]
    Kernel(#[from] crate::kernel::KernelError),
    /// The file system said no.
    #[error("{what} {path}: {source}: check its permissions and the file system, or set MLX5EMU_CACHE to another place", path = path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

/// Adds what was being done, and to which file, to an error of the file system.
pub(crate) trait IoContext<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, SetupError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, SetupError> {
        self.map_err(|source| SetupError::Io { what, path: path.into(), source })
    }
}
