//! What to boot, and how it ended.

use std::path::PathBuf;
use std::time::Duration;

use super::handle::Handle;
use crate::kernel::Kernel;

/// A virtual machine to boot. [`VmConfig::new`] gives sensible values; every field can be changed.
#[derive(Debug, Clone)]
pub struct VmConfig {
    /// The kernel.
    pub kernel: Kernel,
    /// Further kernel parameters, each one or more words.
    pub append: Vec<String>,
    /// Guest memory, MiB.
    pub mem_mib: u32,
    /// Virtual CPUs.
    pub smp: u32,
    /// The card's QEMU arguments, one per element: root ports, `vfio-user-pci` devices. When they set up the memory
    /// backend themselves (`memory-backend=`), none is added.
    pub qemu_args: Vec<String>,
    /// Folders of the host that the guest sees.
    pub shares: Vec<Share>,
    /// Virtio ports between the guest and a listening unix socket of the host.
    pub ports: Vec<Port>,
    /// A gdb server on this TCP port of 127.0.0.1.
    pub gdb: Option<u16>,
    /// Whether the guest waits at its first instruction for gdb to let it go.
    pub gdb_wait: bool,
    /// The command to run; a shell on this terminal when there is none.
    pub command: Option<Vec<String>>,
    /// How long the guest may take, boot included.
    pub timeout: Option<Duration>,
    /// The guest's `/init`.
    pub init: String,
    /// Further files in the guest.
    pub files: Vec<GuestFile>,
    /// The user's own QEMU arguments; they come last.
    pub extra_args: Vec<String>,
    /// Where the kernel console's log goes; a fresh file in the temporary directory when not given.
    pub console_log: Option<PathBuf>,
    /// Where the command's output goes instead of ours; the command then has no input either.
    pub output: Option<PathBuf>,
    /// A way to reach the running machine from another thread.
    pub handle: Option<Handle>,
    /// The guest's name.
    pub hostname: String,
    /// How the guest's instructions are executed.
    pub accel: AccelChoice,
}

impl VmConfig {
    /// A machine of 2 CPUs and 1 GiB that gives a shell.
    pub fn new(kernel: Kernel, init: &str) -> Self {
        Self {
            kernel,
            append: Vec::new(),
            mem_mib: 1024,
            smp: 2,
            qemu_args: Vec::new(),
            shares: Vec::new(),
            ports: Vec::new(),
            gdb: None,
            gdb_wait: false,
            command: None,
            timeout: None,
            init: init.to_owned(),
            files: Vec::new(),
            extra_args: Vec::new(),
            console_log: None,
            output: None,
            handle: None,
            hostname: "mlx5emu".to_owned(),
            accel: AccelChoice::from_env(),
        }
    }
}

/// A folder of the host that the guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The folder on the host.
    pub host: PathBuf,
    /// Where the guest mounts it; absolute.
    pub guest: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}

impl std::str::FromStr for Share {
    type Err = BootError;

    /// `HOST:GUEST` or `HOST:GUEST:ro`.
    fn from_str(text: &str) -> Result<Self, BootError> {
        let (pair, read_only) = text.strip_suffix(":ro").map_or((text, false), |pair| (pair, true));
        match pair.rsplit_once(':') {
            Some((host, guest)) if !host.is_empty() && guest.starts_with('/') => {
                Ok(Self { host: host.into(), guest: guest.to_owned(), read_only })
            }
            _ => Err(BootError::BadShare(text.to_owned())),
        }
    }
}

/// A virtio port: `/dev/virtio-ports/NAME` in the guest, a unix socket that somebody listens on at the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the guest.
    pub name: String,
    /// The listening socket.
    pub socket: PathBuf,
}

/// A file put into the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Its path in the guest.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its content.
    pub data: Vec<u8>,
}

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM when it has shown once that it can boot a kernel here, else emulation.
    Auto,
    /// KVM, come what may.
    Kvm,
    /// Emulation.
    Tcg,
}

impl AccelChoice {
    /// What `MLX5EMU_ACCEL` says (`kvm`, `tcg`); `Auto` otherwise.
    pub fn from_env() -> Self {
        match std::env::var("MLX5EMU_ACCEL").as_deref() {
            Ok("kvm") => Self::Kvm,
            Ok("tcg") => Self::Tcg,
            _ => Self::Auto,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The command or shell ended with this status.
    Exited(u8),
    /// The time was over.
    TimedOut,
    /// The machine failed, and why, in one sentence.
    Failed(String),
    /// It was ended through its [`Handle`].
    Stopped,
    /// A signal told this process to stop; its number.
    Interrupted(i32),
}

/// What is known after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The kernel console's log.
    pub console_log: PathBuf,
    /// From the start of QEMU to the guest's init.
    pub boot: Option<Duration>,
}

/// Exit status of `timeout(1)`, taken over.
const TIMED_OUT: i32 = 124;
/// The machine or the card failed, not the command.
const FAILED: i32 = 125;

impl Outcome {
    /// The exit status for the process: the command's, 124 after a time-out, 125 when the machine failed, 128 + signal.
    pub fn exit_code(&self) -> i32 {
        match &self.ending {
            Ending::Exited(status) => i32::from(*status),
            Ending::Stopped => 0,
            Ending::TimedOut => TIMED_OUT,
            Ending::Failed(_) => FAILED,
            Ending::Interrupted(signal) => 128 + signal,
        }
    }

    /// For the user, when something went wrong: why, where the console's log is, and its last lines.
    pub fn explain(&self) -> Option<String> {
        let why = match &self.ending {
            Ending::Exited(_) | Ending::Stopped | Ending::Interrupted(_) => return None,
            Ending::TimedOut => "the time is over, the guest was ended",
            Ending::Failed(why) => why,
        };
        let tail = super::console::tail(&self.console_log, 15);
        let tail: String = tail.iter().map(|line| format!("  | {line}\n")).collect();
        Some(format!("{why}; the kernel console's log is {}\n{tail}", self.console_log.display()))
    }
}

/// Why a machine could not even be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// Provisioning left something out.
    #[error("{0} is not provisioned: run `mlx5emu setup`")]
    NotInstalled(&'static str),
    /// A share that means nothing.
    #[error("`{0}` is not a share: write HOST:GUEST or HOST:GUEST:ro, with GUEST an absolute path")]
    BadShare(String),
    /// A share of something that is not a folder.
    #[error("the shared folder {path} does not exist or is not a folder", path = .0.display())]
    NoShare(PathBuf),
    /// Too many shares.
    #[error("{0} shared folders are too many: at most {max}", max = super::args::MAX_SHARES)]
    TooManyShares(usize),
    /// An interactive session without a terminal.
    #[error("a shell needs a terminal on standard input: give a command (`-- CMD`), or run this in a terminal")]
    NoTerminal,
    /// Memory that the guest cannot start in.
    #[error("{mem_mib} MiB of memory are too little: the guest's image takes {needed_mib} MiB, give --mem {}M or more", needed_mib * 2)]
    TooLittleMemory {
        /// What was asked for.
        mem_mib: u32,
        /// What the image takes, unpacked and as read.
        needed_mib: u64,
    },
    /// QEMU did not start.
    #[error("QEMU could not be started: {0}")]
    Qemu(std::io::Error),
    /// The file system said no.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_contracts() {
        let code = |ending| Outcome { ending, console_log: PathBuf::new(), boot: None }.exit_code();
        assert_eq!(code(Ending::Exited(3)), 3);
        assert_eq!(code(Ending::TimedOut), 124);
        assert_eq!(code(Ending::Failed("x".into())), 125);
        assert_eq!(code(Ending::Interrupted(2)), 130);
    }

    #[test]
    fn shares_are_parsed_from_the_right() {
        let share: Share = "/a:b:/mnt".parse().unwrap();
        assert_eq!((share.host, share.guest.as_str(), share.read_only), ("/a:b".into(), "/mnt", false));
        assert!("src:/mnt:ro".parse::<Share>().unwrap().read_only);
        for bad in ["", "/a", "/a:", ":/mnt", "/a:relative", "/a:ro"] {
            assert!(bad.parse::<Share>().unwrap_err().to_string().contains("HOST:GUEST"), "{bad}");
        }
    }
}
