//! `emu`: what a guest can do to its card.

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::CtlVerb;

/// Look into the card of this guest, and make things happen to it
///
/// What 'mlx5emu ctl' is on the host. Programs of the guest take turns; what would occupy the card's port asks again and
/// again instead.
#[derive(Debug, Parser)]
#[command(
    name = "emu",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  emu inspect --json pf0/pages | jq .given
  emu inject link p1 down
  emu capture p0 --count 10 -o /tmp/p0.pcapng &
  emu sweep --undo 'modprobe -r mlx5_core' -- modprobe mlx5_core
  emu vm b -- ping -c 3 192.0.2.1          another machine of a scenario"
)]
pub(crate) struct Emu {
    #[command(subcommand)]
    pub(crate) verb: EmuVerb,
}

/// What a guest can do to its card.
#[derive(Debug, Subcommand)]
pub(crate) enum EmuVerb {
    #[command(flatten)]
    Card(CtlVerb),
    Sweep(Sweep),
    Vm(OtherVm),
}

/// In a scenario of several machines: do something in another one, or to it
///
/// The scenario's header names the machines ('# vms: a b'); its script runs in the first, and the others have booted by then.
/// CMD's output, standard error included, comes when it has ended, and its exit status is this one's; 125 when the machine
/// does not run or ends meanwhile. A machine runs one CMD at a time.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["action", "command"])),
    after_help = "\
Examples:
  emu vm b -- ip link set eth0 up
  emu vm b -- sh -c 'iperf3 -s -D'
  emu vm b kill
  emu vm b start"
)]
pub(crate) struct OtherVm {
    /// The machine
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What to do to it
    #[arg(value_name = "ACTION")]
    pub(crate) action: Option<VmAction>,
    /// What to run in it
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// What can be done to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VmAction {
    /// It is gone, as if its power had failed
    Kill,
    /// It boots again
    Start,
}

/// Run a command again and again, each time with another one of its firmware commands failing
///
/// CMD runs once, and the firmware commands that come meanwhile are recorded. Then it runs with the first of them failing,
/// with the second, and so on: it must fail or succeed, within its time and without a complaint of the kernel; then it must
/// succeed without the fault, and after --undo as many pages and objects must be alive as at first, but for what firmware
/// refused to destroy. Prints TAP.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  emu sweep --undo 'modprobe -r mlx5_core' -- modprobe mlx5_core
  emu sweep --undo 'ip link set eth0 down' -- ip link set eth0 up
  emu sweep --first 20 --count 1 --status BAD_RES_ERR -- ethtool -L eth0 combined 1
                                           one round")]
pub(crate) struct Sweep {
    /// What takes CMD back, for the shell
    #[arg(long, value_name = "CMD")]
    pub(crate) undo: Option<String>,
    /// The status with which commands fail
    #[arg(long, value_name = "STATUS", default_value = "INTERNAL")]
    pub(crate) status: String,
    /// Begin with the N-th command
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) first: usize,
    /// So many rounds at most
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<usize>,
    /// Leave rounds out whose name in the output is like this: 'CREATE_EQ of pf0, .*'; may be repeated
    #[arg(long, value_name = "REGEX")]
    pub(crate) except: Vec<String>,
    /// Seconds that CMD may take, scaled by MLX5EMU_TIMEOUT_SCALE
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) limit: u64,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}
