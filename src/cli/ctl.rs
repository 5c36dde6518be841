//! `ctl`: a card that runs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use mlx5emu_config::FunctionName;
use mlx5emu_config::control::MAX_SNAPLEN;

use super::{Fault, Release, Wait};

/// Look into a running card, and make things happen to it
///
/// The card is the one in --dir, else in $MLX5EMU_DIR, else the only one running. Tables for people, --json for programs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl inspect                      everything
  mlx5emu ctl inspect pf0/pages            one part of it
  mlx5emu ctl commands --function pf0      what the driver of pf0 asked of the firmware
  mlx5emu ctl inject link p0 down          cut a cable
  mlx5emu ctl fault add 'cmd op=CREATE_EQ nth=2 => status=NO_RESOURCES'
                                           the second CREATE_EQ of each function fails
  mlx5emu ctl capture p0 -o p0.pcapng      the frames at port p0, and why some are dropped")]
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
    Capture(Capture),
    Inject(Inject),
    Fault(Fault),
    Wait(Wait),
    Release(Release),
}

/// Bring an event about in the running card
///
/// The driver meets the event as it would meet it with hardware. The command ends when the event has happened.
#[derive(Debug, Args)]
#[command(after_help = "\
EVENT is one of
  health FUNCTION|all SYND [report]
                           its firmware fails with health syndrome SYND (1 to 255) and waits for a reset;
                           with 'report' it only says so and goes on (0 takes it back)
  heartbeat FUNCTION off|on
                           its health counter stands still, or moves again
  link PORT up|down        the cable of a port (p0, p1, …) is cut, or mended
  bus FUNCTION off|on      it answers nothing, reads are all-ones; or it is back, started anew
  pages FUNCTION|[PF/]ID N|release-all
                           its firmware asks for N pages more, or (N negative) offers as many, or gives all up at
                           once; ID may be nobody's
  canaries FUNCTION forget
                           those of its pages that were found broken are taken note of, and counted anew
  msi-loss FUNCTION N [comp|cmd|async|pages]
                           the next N interrupts of its completion EQs are lost, or of those that the driver has
                           for commands, events or requests for pages
  stall FUNCTION SQN       its send queue SQN executes nothing more until it is reset
  aer FUNCTION correctable|nonfatal|fatal
                           it logs an error in its AER capability
  temperature DEGREES      the chip is that warm; from 105 degrees Celsius on its firmware warns
  module PORT plugged|unplugged|disabled|ERROR
                           the cable of a port is plugged in, pulled out, switched off, or not accepted:
                           power-budget, long-range, bus-stuck, no-eeprom, part-number,
                           unknown-identifier, high-temperature, bad-cable, pcie-power
  vport-change FUNCTION    the context of its vport changed, and its PF is told
  command-event FUNCTION SLOT
                           a command event names a slot, whatever is in it
  eq-overrun FUNCTION EQN  an event queue overruns: what comes after that is lost
  host-functions FUNCTION N
                           the host of an embedded CPU (embedded_cpu in the card file) has N VFs from now on

Examples:
  mlx5emu ctl inject health pf0 1          a firmware internal error
  mlx5emu ctl inject link p1 down")]
pub(crate) struct Inject {
    /// The event's name
    #[arg(value_name = "EVENT")]
    pub(crate) event: String,
    /// What follows it
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
}

/// Print the card's state: functions, objects, queues, counters
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl inspect
  mlx5emu ctl inspect pf0
  mlx5emu ctl inspect --json pf0/pages | jq .given
  mlx5emu ctl inspect eswitch/pf0          its vports, tables and rules
  mlx5emu ctl inspect eswitch --format dot | dot -Tsvg >eswitch.svg")]
pub(crate) struct Inspect {
    /// The part to print, names separated by '/' [default: everything]
    #[arg(value_name = "PATH", default_value = "", hide_default_value = true)]
    pub(crate) path: String,
    /// Print JSON: the same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// How to print it
    #[arg(long, value_name = "FORM", value_enum, default_value_t = TreeForm::Text)]
    pub(crate) format: TreeForm,
}

/// What `inspect` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TreeForm {
    /// Indented lines and tables
    Text,
    /// JSON
    Json,
    /// A picture of the e-switch, for Graphviz
    Dot,
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

/// Write the frames that pass a port or a vport to a pcapng file
///
/// A port (p0) shows what goes over its wire, a function (pf0) what its vport sends and receives, inside the card too. Frames
/// that the card drops carry the reason as a comment. Ends after --count frames or --seconds, when it is interrupted, or with
/// the card; frames that come faster than they can be written are counted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl capture p0 -o p0.pcapng
  mlx5emu ctl capture pf1 --count 10 | tshark -r - -T fields -e frame.number -e frame.comment
  mlx5emu ctl capture p0 --snaplen 96 --seconds 60 -o - | wireshark -k -i -")]
pub(crate) struct Capture {
    /// The port or function: p0, pf0
    #[arg(value_name = "PORT|VPORT")]
    pub(crate) at: String,
    /// The file to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// End after this many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) seconds: Option<u64>,
    /// Bytes to keep of each frame
    #[arg(long, value_name = "BYTES", default_value_t = MAX_SNAPLEN, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SNAPLEN)))]
    pub(crate) snaplen: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_inject_has_every_event() {
        let command = Inject::augment_args(clap::Command::new("inject"));
        let help = command.get_after_help().unwrap().to_string();
        for (name, words, _) in mlx5emu_config::control::FORMS {
            let line = format!("\n  {name} {words}");
            assert!(
                help.contains(&format!("{line}\n")) || help.contains(&format!("{line} ")),
                "{name} {words}:\n{help}"
            );
        }
    }
}
