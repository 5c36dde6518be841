//! The command line: what `mlx5emu` understands, and the help that teaches it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use mlx5emu_config::{Format, FunctionName, MemSize};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "mlx5emu", version, max_term_width = 100, after_help = TOP_EXAMPLES)]
#[command(about = "An emulated ConnectX-class (mlx5) network card for unmodified QEMU and Linux drivers")]
pub(crate) struct Cli {
    /// Say more on standard error (-v: what happens, -vv: everything); RUST_LOG overrides
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const TOP_EXAMPLES: &str = "\
Examples:
  mlx5emu vm                                a shell in a guest with a two-port card
  mlx5emu vm --kernel ~/linux -- ip link    the same with your kernel tree, for one command
  mlx5emu serve &                           a card for your own QEMU …
  qemu-system-x86_64 … $(mlx5emu qemu-args) … attached to it
  mlx5emu ctl commands --follow             the firmware commands that the driver gives

'mlx5emu VERB --help' has more of them.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Setup(Setup),
    Serve(Serve),
    QemuArgs(QemuArgs),
    Vm(Vm),
    Ctl(Ctl),
    Completions(Completions),
    Man(Man),
}

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
  speed = \"100G\"
  wires = { p0 = \"p1\" }                    # or \"none\": link down; \"stream:PATH[,server]\" or
                                           # \"dgram:LOCAL,REMOTE\": QEMU's -netdev at the other end
  firmware = { version = \"22.43.1000\", pages = { boot = 64, init = 320, event = 128 } }")]
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
/// same CARD.toml and directory. The rest of QEMU's command line is yours; the machine must be q35 (or have PCI Express).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu serve &
  qemu-system-x86_64 -M q35 -cpu max -nographic -kernel bzImage … $(mlx5emu qemu-args --mem 2G)
  mlx5emu qemu-args --format libvirt       elements for a libvirt domain
  mlx5emu qemu-args --format lines         one argument a line, for arrays: mapfile -t args < <(…)")]
pub(crate) struct QemuArgs {
    #[command(flatten)]
    pub(crate) card: CardFile,
    /// Directory of the sockets [default: $MLX5EMU_DIR, else $XDG_RUNTIME_DIR/mlx5emu/NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
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
#[derive(Debug, Args)]
#[command(after_help = "\
KERNEL is one of
  debian, debian:6.12    the distribution's newest kernel (of that line)
  ~/linux, ./bzImage     with a '/' or a leading '.': a built kernel tree, or an image

Examples:
  mlx5emu vm                          a shell; the driver is loaded, 'ip link' shows the ports
  mlx5emu vm -- devlink dev info      one command
  mlx5emu vm --kernel ~/linux --share ~/t:/t -- /t/run.sh
                                      your kernel, and a folder of yours
  mlx5emu vm --append 'dyndbg=\"module mlx5_core +p\"'
                                      a kernel parameter more
  mlx5emu vm --gdb                    wait for gdb: target remote localhost:1234")]
pub(crate) struct Vm {
    /// The card's description [default: two ports wired to each other, a PF each]
    #[arg(long, value_name = "CARD.toml", value_hint = ValueHint::FilePath)]
    pub(crate) card: Option<PathBuf>,
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
    #[arg(long)]
    pub(crate) no_sandbox: bool,
    /// Command to run in the guest instead of a shell
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// Look into a running card
///
/// The card is the one in --dir, else in $MLX5EMU_DIR, else the only one running. Tables for people, --json for programs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl inspect                      everything
  mlx5emu ctl inspect pf0/pages            one part of it
  mlx5emu ctl commands --function pf0      what the driver of pf0 asked of the firmware")]
pub(crate) struct Ctl {
    /// Directory of the card's sockets
    #[arg(long, value_name = "DIR", global = true, value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: CtlVerb,
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlVerb {
    Inspect(Inspect),
    Commands(Commands),
}

/// Print the card's state: functions, objects, queues, counters
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl inspect
  mlx5emu ctl inspect pf0
  mlx5emu ctl inspect --json pf0/pages | jq .given")]
pub(crate) struct Inspect {
    /// The part to print, names separated by '/' [default: everything]
    #[arg(value_name = "PATH", default_value = "", hide_default_value = true)]
    pub(crate) path: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the firmware commands that were given, oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl commands
  mlx5emu ctl commands --follow --function pf1
  mlx5emu ctl commands --json | jq -r 'select(.status != 0) | .opcode_name'")]
pub(crate) struct Commands {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Only those of one function, for example pf0
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) function: Option<FunctionName>,
    /// Go on as commands come, until interrupted or the card ends
    #[arg(long)]
    pub(crate) follow: bool,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(mlx5emu completions bash)
  mlx5emu completions fish > ~/.config/fish/completions/mlx5emu.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual pages into a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlx5emu man ~/.local/share/man/man1 && man mlx5emu-vm")]
pub(crate) struct Man {
    /// The directory; it is created if it is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// A time span: a whole number of seconds, or with `s`, `m` or `h`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time like 90, 90s, 5m or 1h, from one second to a week".to_string();
    let (digits, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    match count.checked_mul(unit) {
        Some(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "s", "0", "-1", "1d", "99999999999999999999", "18446744073709551615h", "1é"] {
            assert!(parse_time(text).is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn commands_follow_the_dashes() {
        let cli = Cli::parse_from(["mlx5emu", "vm", "--gdb", "--smp", "4", "--", "ip", "-br", "link"]);
        let Verb::Vm(vm) = cli.verb else { panic!("not vm") };
        assert_eq!((vm.gdb, vm.smp, vm.command.join(" ").as_str()), (Some(1234), 4, "ip -br link"));
        let cli = Cli::parse_from(["mlx5emu", "serve", "card.toml", "--", "sh", "-c", "true"]);
        let Verb::Serve(serve) = cli.verb else { panic!("not serve") };
        assert_eq!((serve.card.card, serve.command.len()), (Some("card.toml".into()), 3));
    }
}
