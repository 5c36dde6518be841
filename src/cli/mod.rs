//! The command line: what `mlx5emu` understands, and the help that teaches it.

mod ctl;
mod emu;
mod fault;
mod kernel;
mod machine;
mod test;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};

pub(crate) use ctl::*;
pub(crate) use emu::*;
pub(crate) use fault::*;
pub(crate) use kernel::*;
pub(crate) use machine::*;
pub(crate) use test::*;

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
  mlx5emu test --kernel ~/linux 'pages/*'   which scenarios your kernel passes
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
    Test(Test),
    Kernel(Kernel),
    Ctl(Ctl),
    Completions(Completions),
    Man(Man),
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
