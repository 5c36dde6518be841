//! `test`: scenarios.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// Run scenarios in guests and report which pass
///
/// A scenario is a shell script that runs in a guest with a card and prints TAP (CONTRIBUTING.md says how to write one). A
/// word is a scenario (ethernet/lro, or p24 for pages/p24-two-vports-one-id), a family (ethernet), a pattern ('pages/p*') or a
/// file of your own (./my.sh); without words, all scenarios of the tier are run. Scenarios of a family share a machine: between two of them the driver is
/// unloaded, and it, the card and the kernel must have left nothing behind. What fails is run again, alone.
///
/// The output directory gets results.tap, results.json and results.xml (JUnit), and for every scenario its output, the
/// kernel's log and console, and the firmware commands. The exit status is 0 if everything passed, 1 if something failed
/// (with --against: if something fails that does not fail there), 4 if everything was skipped, 125 if something could not
/// be run.
#[derive(Debug, Args)]
#[command(after_help = "\
KERNEL is what it is for 'mlx5emu vm --kernel'.

Examples:
  mlx5emu test --list                      what there is, and what it shows
  mlx5emu test                             all of tier ci, on the distribution's kernel
  mlx5emu test 'ethernet/*' --kernel ~/linux --output out
                                           a family, on a kernel of your own, everything kept in out
  mlx5emu test p24 --kernel fix --against debug
                                           what a change to the kernel changes
  mlx5emu test ethernet/lro --until-fail   again and again, until it fails
  mlx5emu test --tier full --shard 2/4 --format junit > results.xml
                                           a quarter of everything, for a CI system")]
pub(crate) struct Test {
    /// Scenarios: names, families, patterns or files [default: all of the tier]
    #[arg(value_name = "PATTERN|FILE")]
    pub(crate) scenarios: Vec<String>,
    /// The kernel to test
    #[arg(long, value_name = "KERNEL", default_value = "debian")]
    pub(crate) kernel: String,
    /// Run on this kernel too, and report what differs
    #[arg(long, value_name = "KERNEL")]
    pub(crate) against: Option<String>,
    /// Run nothing: print the scenarios
    #[arg(long)]
    pub(crate) list: bool,
    /// What standard output gets
    #[arg(long, value_enum, default_value_t = ReportFormat::Tap)]
    pub(crate) format: ReportFormat,
    /// Where reports and logs are kept [default: a new directory for temporary files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output: Option<PathBuf>,
    /// Without words, which scenarios to run [default: ci; to list: full]
    #[arg(long, value_enum)]
    pub(crate) tier: Option<TestTier>,
    /// Run only the I-th of N parts
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub(crate) shard: Option<(usize, usize)>,
    /// The seed of the cards: what hardware leaves to chance
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Run everything so many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: Option<u32>,
    /// End with the first failure; without --repeat, go on until there is one
    #[arg(long)]
    pub(crate) until_fail: bool,
    /// Do not fail for what passes when it is run again, alone; the reports say that it failed
    #[arg(long)]
    pub(crate) allow_flaky: bool,
    /// Take the scenarios of this folder instead of those in this program
    #[arg(long = "scenarios", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) folder: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// TAP 13, as scenarios end
    Tap,
    /// One JSON object, at the end
    Json,
    /// JUnit XML, at the end
    Junit,
}

/// Which scenarios are run when none are named.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TestTier {
    /// Those for every change
    Ci,
    /// All
    Full,
}

/// A part of several: `2/4`.
fn parse_shard(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parsed {
        Some((index, count)) if index >= 1 && index <= count && count <= 10_000 => Ok((index, count)),
        _ => Err("write which part of how many, like 2/4".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards() {
        assert_eq!(parse_shard("2/4"), Ok((2, 4)));
        for text in ["", "0/4", "5/4", "1", "a/b", "-1/2", "1/0"] {
            assert!(parse_shard(text).is_err(), "{text:?} parsed");
        }
    }
}
