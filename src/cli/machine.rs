//! `setup`, `serve`, `qemu-args`, `vm`: a card, and machines with it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use mlx5emu_config::{Format, FunctionName, MemSize};

use super::parse_time;

/// Get what guests need: QEMU, their programs, kernels
///
/// Downloads into the cache ($MLX5EMU_CACHE, else $XDG_CACHE_HOME/mlx5emu, else ~/.cache/mlx5emu) whatever is missing there: a
/// QEMU with vfio-user-pci unless the one in PATH is new enough, the guest's programs, and the distribution's kernels. What is
/// there already is left alone, and an interrupted run goes on where it stopped. 'vm' does this by itself when it must.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu setup            get everything that is missing
  mlx5emu setup --check    only say what is there; exit status 1 if something is missing")]
pub(crate) struct Setup {
    /// Change nothing: print what is there and what is missing
    #[arg(long)]
    pub(crate) check: bool,
}

/// Run one card for virtual machines to plug in
///
/// Makes one unix socket per PCI function (pf0.sock, pf1.sock, …) and control.sock in DIR, prints where they are, and serves
/// until it is told to stop (SIGTERM, SIGINT) or CMD has ended. The QEMU arguments that attach the functions are what
/// 'mlx5emu qemu-args' prints.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu serve                            the default card
  mlx5emu serve lab.toml --dir /run/lab    a card of your own, in a directory of your own
  mlx5emu serve -- ./my-vm.sh              serve while my-vm.sh runs, and exit with its status;
                                           $MLX5EMU_DIR tells it, qemu-args and ctl where

A card file, every key optional:
  name = \"lab\"
  ports = 2                                # 1 to 8, a PF each
  vfs = 4                                  # VFs of each PF, 0 to 16
  sfs = 4                                  # SFs of each PF, 0 to 64
  embedded_cpu = false                     # true: each PF has the e-switch of a host in no machine
  adjacent_vfs = 2                         # functions of others on its e-switch, 0 to 16
  speed = \"100G\"
  mac = \"02:00:00:00:00:10\"                # of port 0; port n has this plus n
  wires = { p0 = \"p1\" }                    # or \"none\": link down; \"stream:PATH[,server]\" or
                                           # \"dgram:LOCAL,REMOTE\": QEMU's -netdev at the other end
  attach = { pf0vf1 = \"standalone\" }       # a VF for another machine than its PF's
  firmware = { version = \"22.43.1000\", pages = { boot = 64, init = 320, event = 128 } }
  limits = { vectors = 64, vf_vectors = 12 }
  timeouts = { cmd = 4000 }                # how long the driver is to wait, ms
  faults = [\"cmd op=CREATE_CQ nth=3 => status=EXCEED_LIM\"]
  seed = 1                                 # of what hardware leaves to chance
  placement = { addr = 16, chassis = 1, ecam = 0xb0000000, iommu = false }
                                           # the card's root port; a second card needs others. ecam:
                                           # 0xe0000000 with OVMF. iommu: the machine gets one, and
                                           # QEMU's monitor maps the VFs, so that the card's process
                                           # can do with that QEMU what it likes")]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) card: CardFile,
    /// Directory for the sockets [default: $XDG_RUNTIME_DIR/mlx5emu/NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Write the line "ready" to this file descriptor (a pipe or a file) once every socket listens
    #[arg(long, value_name = "N")]
    pub(crate) ready_fd: Option<u32>,
    /// Do not confine the server (for debuggers)
    #[arg(long)]
    pub(crate) no_sandbox: bool,
    /// Make one more socket (guest.sock) to hand to guests as a port; 'vm' does. It offers what 'ctl' does
    /// to the card, and nothing of the host
    #[arg(long)]
    pub(crate) guest_control: bool,
    /// End when this process, which must be the parent, ends
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) with_parent: Option<u32>,
    /// Command to run while serving; its exit status becomes ours
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// Which card.
#[derive(Debug, Args)]
pub(crate) struct CardFile {
    /// The card's description [default: two ports wired to each other, a PF each]
    #[arg(value_name = "CARD.toml", value_hint = ValueHint::FilePath)]
    pub(crate) card: Option<PathBuf>,
}

/// Print the QEMU arguments that attach a card
///
/// Shared guest memory, a root port and one vfio-user-pci device per function, for the card that 'mlx5emu serve' runs with the
/// same CARD.toml and directory. Without CARD.toml a card that runs in the directory is asked what it has. The rest of
/// QEMU's command line is yours; the machine must be q35 (or have PCI Express).
///
/// Several QEMUs can have one card, each some of its functions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu serve &
  qemu-system-x86_64 -M q35 -cpu max,-erms,-fsrm -kernel bzImage … $(mlx5emu qemu-args --mem 2G)
  qemu-system-x86_64 … $(mlx5emu qemu-args --functions pf0)
  qemu-system-x86_64 … $(mlx5emu qemu-args --functions pf1)
                                           two machines, joined by the wire between the card's ports
  mlx5emu qemu-args --format libvirt       elements for a libvirt domain
  mlx5emu qemu-args --format lines         one argument a line, for arrays: mapfile -t args < <(…)")]
pub(crate) struct QemuArgs {
    #[command(flatten)]
    pub(crate) card: CardFile,
    /// Directory of the sockets [default: $MLX5EMU_DIR, else $XDG_RUNTIME_DIR/mlx5emu/NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Attach only these functions of the card, for example pf0,pf2 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) functions: Vec<FunctionName>,
    /// The guest's memory
    #[arg(long, value_name = "SIZE", default_value_t = MemSize::DEFAULT)]
    pub(crate) mem: MemSize,
    /// How to print the arguments
    #[arg(long, value_enum, default_value_t = ArgsFormat::Shell)]
    pub(crate) format: ArgsFormat,
}

/// How QEMU's arguments are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ArgsFormat {
    /// Words that survive an unquoted $(…)
    Shell,
    /// One argument a line
    Lines,
    /// A JSON array
    Json,
    /// Elements of a libvirt domain
    Libvirt,
}

impl From<ArgsFormat> for Format {
    fn from(format: ArgsFormat) -> Format {
        match format {
            ArgsFormat::Shell => Format::Shell,
            ArgsFormat::Lines => Format::Lines,
            ArgsFormat::Json => Format::Json,
            ArgsFormat::Libvirt => Format::Libvirt,
        }
    }
}

/// Boot a guest with a card: a shell, or one command
///
/// Starts a card, boots a kernel with it in QEMU, and gives a shell on the terminal or runs CMD. What is missing (QEMU, the
/// guest's programs, a kernel) is downloaded first, once. The exit status is CMD's; 124 if --timeout ran out; 125 if the
/// machine or the card failed.
///
/// With --dir the guest gets a card that 'mlx5emu serve' runs already, or with --functions some of its functions: several
/// guests can have one card. In the guest, 'emu' is what 'mlx5emu ctl' is on the host. When a guest ends or is killed,
/// the links that led to it go down; the next guest with the same functions brings them up again.
#[derive(Debug, Args)]
#[command(after_help = "\
KERNEL is one of
  debian, debian:6.12    the distribution's newest kernel (of that line)
  ~/linux, ./bzImage     with a '/' or a leading '.': a built kernel tree, or an image
  NAME                   what 'mlx5emu kernel build --name NAME' has built

Examples:
  mlx5emu vm                          a shell; the driver is loaded, 'ip link' shows the ports
  mlx5emu vm -- devlink dev info      one command
  mlx5emu vm --kernel ~/linux --share ~/t:/t -- /t/run.sh
                                      your kernel, and a folder of yours
  mlx5emu vm --append 'dyndbg=\"module mlx5_core +p\"'
                                      a kernel parameter more
  mlx5emu vm --gdb                    wait for gdb: target remote localhost:1234

Two guests, joined by the wire between the two ports of one card:
  mlx5emu serve --dir /run/lab &
  mlx5emu vm --dir /run/lab --functions pf0       and in another terminal
  mlx5emu vm --dir /run/lab --functions pf1")]
pub(crate) struct Vm {
    /// The card's description [default: two ports wired to each other, a PF each]
    #[arg(long, value_name = "CARD.toml", value_hint = ValueHint::FilePath, conflicts_with = "dir")]
    pub(crate) card: Option<PathBuf>,
    /// Start no card: use the one that 'mlx5emu serve' runs in this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Attach only these functions of the card, for example pf0,pf2 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) functions: Vec<FunctionName>,
    /// The kernel to boot
    #[arg(long, value_name = "KERNEL", default_value = "debian")]
    pub(crate) kernel: String,
    /// Further kernel parameters
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) append: Vec<String>,
    /// The guest's memory
    #[arg(long, value_name = "SIZE", default_value_t = MemSize::DEFAULT)]
    pub(crate) mem: MemSize,
    /// The guest's processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) smp: u32,
    /// Show a folder of the host in the guest; add :ro to forbid writing
    #[arg(long, value_name = "HOST:GUEST[:ro]")]
    pub(crate) share: Vec<String>,
    /// Open QEMU's gdb server on this port of the loopback and wait for gdb
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "1234")]
    pub(crate) gdb: Option<u16>,
    /// End the guest after this time: 90, 90s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) timeout: Option<Duration>,
    /// Do not confine the card's server (for debuggers)
    #[arg(long, conflicts_with = "dir")]
    pub(crate) no_sandbox: bool,
    /// Command to run in the guest instead of a shell
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use mlx5emu_config::Card;

    #[test]
    fn the_card_file_that_help_shows_is_one() {
        let mut command = crate::cli::Cli::command();
        let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        let (_, file) = help.split_once("every key optional:\n").unwrap();
        let card = Card::parse(file).unwrap();
        assert_eq!((card.name.as_str(), card.vfs, card.sfs, card.faults.len()), ("lab", 4, 4, 1));
    }
}
