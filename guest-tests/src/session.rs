//! `mlx5emu test`: which scenarios, on which kernels, how often.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlx5emu_qemu::Kernel;
use mlx5emu_qemu::setup::{Installed, Setup};

use crate::catalogue::{self, CatalogueError, Scenario};
use crate::compare::{self, Change, Kind};
use crate::machine::Host;
use crate::result::{self, Outcome, Verdict};
use crate::scenario::Tier;
use crate::suite::{Interrupted, Suite};
use crate::traces::Traces;

/// Which scenarios.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Patterns and files; empty for all of the tier.
    pub words: &'a [String],
    /// The tier, when there are no words.
    pub tier: Tier,
    /// A folder of scenarios instead of those in this program.
    pub from: Option<&'a Path>,
    /// Part (from 1) of how many.
    pub shard: Option<(usize, usize)>,
}

/// Scenarios that were chosen, in a folder of their own that goes with this.
#[derive(Debug)]
pub struct Chosen {
    dir: tempfile::TempDir,
    /// They, in the order in which they are run.
    pub scenarios: Vec<Scenario>,
}

impl Chosen {
    /// Chooses.
    ///
    /// # Errors
    /// A word that means nothing, a wrong header, or a file that cannot be read or written.
    pub fn new(wanted: &Wanted<'_>) -> Result<Chosen, CatalogueError> {
        let made = tempfile::Builder::new().prefix("mlx5emu-scenarios-").tempdir();
        let dir = made.map_err(|source| CatalogueError::Io { path: std::env::temp_dir(), source })?;
        catalogue::unpack(wanted.from, dir.path())?;
        let mut scenarios = catalogue::select(dir.path(), wanted.words, wanted.tier)?;
        if let Some((index, count)) = wanted.shard {
            scenarios = catalogue::shard(scenarios, index, count);
        }
        Ok(Chosen { dir, scenarios })
    }
}

/// A run of scenarios.
#[derive(Debug)]
pub struct Session {
    /// The cache.
    pub setup: Setup,
    /// QEMU and the guest's programs.
    pub installed: Installed,
    /// The kernel to test, by the name that the user gave it.
    pub kernel: (String, Kernel),
    /// The kernel to compare it with.
    pub against: Option<(String, Kernel)>,
    /// Where everything is kept.
    pub output: PathBuf,
    /// The seed of the cards.
    pub seed: Option<u64>,
    /// How often.
    pub repeat: u32,
    /// End with the first failure.
    pub until_fail: bool,
    /// What fails and then passes alone does not fail the run.
    pub allow_flaky: bool,
}

/// What a run said.
#[derive(Debug, Default)]
pub struct Said {
    /// How each scenario ended.
    pub outcomes: Vec<Outcome>,
    /// What differs between the kernels.
    pub changes: Vec<Change>,
    /// The signal that ended it too early.
    pub interrupted: Option<i32>,
    /// What fails and then passes alone does not fail the run.
    pub allow_flaky: bool,
}

impl Session {
    /// How many outcomes there will be, if that can be told.
    pub fn count(&self, chosen: &Chosen) -> Option<usize> {
        let kernels = if self.against.is_some() { 2 } else { 1 };
        (!self.until_fail).then_some(chosen.scenarios.len() * self.repeat as usize * kernels)
    }

    /// Runs what was chosen; `tell` hears of each scenario as it ends.
    ///
    /// # Errors
    /// The output directory cannot be made.
    pub fn run(self, chosen: &Chosen, tell: &mut dyn FnMut(&Outcome)) -> io::Result<Said> {
        fs::create_dir_all(&self.output)?;
        let Session { setup, installed, kernel, against, output, seed, repeat, until_fail, allow_flaky } = self;
        let output = fs::canonicalize(output)?;
        let host = Host { setup: Arc::new(setup), installed: Arc::new(installed) };
        let mut said = Said { allow_flaky, ..Said::default() };
        'rounds: for round in 1..=repeat {
            // The kernel that is known comes first.
            for (name, kernel) in against.iter().chain([&kernel]) {
                let suite = Suite {
                    host: &host,
                    kernel,
                    kernel_name: name,
                    scenarios: chosen.dir.path(),
                    output: &output,
                    seed,
                    traces: Traces::of(&host.setup, kernel),
                };
                let mut failed = false;
                let ended = suite.run(&chosen.scenarios, round, &mut |outcome| {
                    tell(&outcome);
                    failed |= outcome.verdict.failed();
                    said.outcomes.push(outcome);
                    !(failed && until_fail)
                });
                if let Err(Interrupted(signal)) = ended {
                    said.interrupted = Some(signal);
                    break 'rounds;
                }
                if failed && until_fail {
                    break 'rounds;
                }
            }
        }
        if let Some((against, _)) = &against {
            said.changes = compare::changes(&said.outcomes, &kernel.0, against);
        }
        Ok(said)
    }
}

impl Said {
    /// The exit status of `mlx5emu test`.
    pub fn exit_status(&self, compared: bool) -> u8 {
        if let Some(signal) = self.interrupted {
            return u8::try_from(128 + signal).unwrap_or(result::NOT_RUN);
        }
        let status = result::exit_status(&self.outcomes, self.allow_flaky);
        let mut regressions = self.changes.iter().filter(|change| change.kind == Kind::Regression);
        let failed = |change: &Change| {
            let of_it = |outcome: &&Outcome| outcome.name == change.name && outcome.kernel == change.kernel;
            self.outcomes.iter().filter(of_it).any(|outcome| outcome.verdict.failed())
        };
        if !compared {
            status
        } else if status == result::PASSED {
            // What failed is forgiven then. A point that is known to fail on the one and holds on the other is not.
            if regressions.any(|change| !failed(change)) { result::FAILED } else { status }
        } else if status != result::FAILED {
            status
        } else if regressions.next().is_some() {
            result::FAILED
        } else if self.outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::NotRun { .. })) {
            result::NOT_RUN
        } else {
            result::PASSED
        }
    }

    /// One line about all of it.
    pub fn summary(&self) -> String {
        let count = |is: fn(&Verdict) -> bool| self.outcomes.iter().filter(|outcome| is(&outcome.verdict)).count();
        let parts = [
            (count(|v| matches!(v, Verdict::Passed)), "passed"),
            (count(|v| matches!(v, Verdict::Failed { .. })), "failed"),
            (count(|v| matches!(v, Verdict::Skipped { .. })), "skipped"),
            (count(|v| matches!(v, Verdict::NotRun { .. })), "not run"),
            (self.outcomes.iter().filter(|outcome| outcome.flaky()).count(), "of what failed passed alone"),
        ];
        let told: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if told.is_empty() { "nothing was run".to_string() } else { told.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::outcome;

    #[test]
    fn compared_runs_fail_with_a_regression_only() {
        let failed = || Verdict::Failed { cause: "x".into() };
        let on = |kernel: &str, verdict| Outcome { kernel: kernel.into(), ..outcome("a/b", verdict) };
        let said = |now, before| {
            let outcomes = vec![on("new", now), on("old", before)];
            let changes = compare::changes(&outcomes, "new", "old");
            Said { outcomes, changes, ..Said::default() }
        };
        assert_eq!(said(failed(), Verdict::Passed).exit_status(true), 1);
        assert_eq!(said(failed(), failed()).exit_status(true), 0);
        assert_eq!(said(failed(), failed()).exit_status(false), 1);
        let mut known = said(Verdict::Passed, Verdict::Passed);
        known.outcomes[0].todo.push("2 - it comes".into());
        known.changes = compare::changes(&known.outcomes, "new", "old");
        assert_eq!((known.exit_status(false), known.exit_status(true)), (0, 1));
        let mut flaky = said(failed(), Verdict::Passed);
        flaky.outcomes[0].again = Some(Verdict::Passed);
        assert_eq!(flaky.exit_status(true), 1);
        flaky.allow_flaky = true;
        assert_eq!(flaky.exit_status(true), 0);
        assert_eq!(said(Verdict::Passed, failed()).exit_status(true), 0);
        assert_eq!(said(Verdict::NotRun { cause: "x".into() }, Verdict::Passed).exit_status(true), 125);
        let interrupted = Said { interrupted: Some(2), ..Said::default() };
        assert_eq!(interrupted.exit_status(false), 130);
        assert_eq!(said(Verdict::Passed, failed()).summary(), "1 passed, 1 failed");
    }
}
