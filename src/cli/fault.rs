//! `ctl fault`, `wait`, `release`: rules by which something goes wrong.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_time;

/// Have firmware and hardware do something wrong, by rules
///
/// A rule says what it is about, what must match, and what happens. It counts for each function by itself, acts once if it
/// does not say more, and does the same each time. The same rules can stand in CARD.toml: faults = ["RULE", …].
#[derive(Debug, Args)]
#[command(after_help = RULES)]
pub(crate) struct Fault {
    #[command(subcommand)]
    pub(crate) verb: FaultVerb,
}

const RULES: &str = "\
A RULE is [NAME:] KIND MATCH… => ACTION…, in quotes because of the '>'.

KIND, and what it can MATCH
  cmd        a firmware command, when it is taken from its slot:
             op=COMMAND op_mod=N uid=N, and with op= in.FIELD=VALUE, a field of the input
  event      an event, before it is written to an event queue:
             type=EVENT sub_type=N eqn=N, and with type= data.FIELD=VALUE
  wqe        a work queue entry, before it is executed:
             op=OPCODE queue=N side=send|receive [default: send]
  packet     a frame at a port (port=p0: on the wire) or a vport (fn=pf0):
             dir=in|out ethertype=N min_len=BYTES
  dma        a memory request of the card: dir=read|write addr=FIRST-LAST
  health     a look of the driver at the health counter

MATCH, for every kind
  fn=FUNCTION        only of this function, for example pf0vf1
  nth=N              from the Nth on [default: 1]
  every=N            then every Nth
  p=A/B              of those, this share; which ones hangs on the card's seed

ACTION
  before | after     in place of executing it [default], or when it was executed (cmd, wqe)
  status=STATUS [syndrome=N]
                     cmd: it is answered so; delivery=STATUS sets that of the entry
  out.FIELD=VALUE    cmd: changes a field of the answer (after executing it, if nothing else is said)
  syndrome=SYNDROME  wqe: it ends with an error CQE; health: the firmware fails, or with 'report' says so
  error=UR|CA        dma: a read is completed with Unsupported Request or Completer Abort
  drop               a command is never answered, an event or a frame is lost, a write does not arrive,
                     a WQE is left out ('after': executed) without a completion
  hold               it waits for 'ctl release NAME', and so does its send queue; others go on
  delay=TIME         it waits: 50us, 20ms, 3s
  twice              a command is announced twice, an event or a frame comes twice
  idle-slot=N        cmd: its completion names slot N too
  hang               no command is answered until a reset, the health counter stops; wqe: the queue stands
                     still until it is reset; health: only the counter stops
  times=N|all        how often the rule acts, for each function [default: 1]

Examples:
  mlx5emu ctl fault add 'cmd op=CREATE_EQ nth=2 => status=NO_RESOURCES'
  mlx5emu ctl fault add 'slow: cmd op=QUERY_HCA_CAP fn=pf0 => hold'
  mlx5emu ctl wait slow --timeout 10s && mlx5emu ctl release slow
  mlx5emu ctl fault add 'cmd op=MANAGE_PAGES op_mod=2 => after out.output_num_entries=0'
  mlx5emu ctl fault add 'cmd p=1/100 => delay=20ms times=all'
  mlx5emu ctl fault add 'event type=PORT_CHANGE sub_type=DOWN => drop'
  mlx5emu ctl fault add 'wqe op=SEND fn=pf1 nth=100 => syndrome=LOCAL_QP_OP_ERR'";

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum FaultVerb {
    Add(FaultAdd),
    List(FaultList),
    Clear(FaultClear),
}

/// Add rules, all of them or none; prints their names
#[derive(Debug, Args)]
#[command(after_help = RULES)]
pub(crate) struct FaultAdd {
    /// The rules, each one word of the shell; or one rule in several words
    #[arg(value_name = "RULE", required = true)]
    pub(crate) rules: Vec<String>,
}

/// Print the rules, how often they matched and acted, and what they hold
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl fault list
  mlx5emu ctl fault list --json | jq '.[] | select(.acted == 0) | .name'")]
pub(crate) struct FaultList {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Take a rule away, or all of them; what they hold goes on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mlx5emu ctl fault clear          all of them
  mlx5emu ctl fault clear slow")]
pub(crate) struct FaultClear {
    /// The rule [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Wait until a fault rule holds something, or has acted if it does not hold
///
/// Prints what it holds. The exit status is 124 when --timeout runs out.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlx5emu ctl fault add 'slow: cmd op=INIT_HCA fn=pf0 => hold'
  mlx5emu ctl wait slow --timeout 30s     until the driver of pf0 gives INIT_HCA …
  mlx5emu ctl release slow                … which goes on only now")]
pub(crate) struct Wait {
    /// The rule
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Give up after this time: 90, 90s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) timeout: Option<Duration>,
}

/// Let go on what a fault rule holds
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlx5emu ctl release slow")]
pub(crate) struct Release {
    /// The rule
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}
