//! What is known of a scenario after it was run.

use std::time::Duration;

use serde::Serialize;

/// The end of one run of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything holds.
    Passed,
    /// Something does not.
    Failed {
        /// What, in one line.
        cause: String,
    },
    /// It was not tried.
    Skipped {
        /// Why, in one line.
        why: String,
    },
    /// It could not be tried: no guest, no card.
    NotRun {
        /// Why, in one line.
        cause: String,
    },
}

impl Verdict {
    /// Whether this counts as a failure of what is tested.
    pub fn failed(&self) -> bool {
        matches!(self, Verdict::Failed { .. })
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed { .. } => "failed",
            Verdict::Skipped { .. } => "skipped",
            Verdict::NotRun { .. } => "not run",
        }
    }

    /// The one line that says why it did not pass.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Verdict::Passed => None,
            Verdict::Failed { cause } | Verdict::NotRun { cause } => Some(cause),
            Verdict::Skipped { why } => Some(why),
        }
    }
}

/// A scenario and its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// FAMILY/NAME.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// The kernel, as the user names it.
    pub kernel: String,
    /// Which round of `--repeat`, from 1.
    pub round: u32,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How the second try ended, alone in a fresh machine, after a failure.
    pub again: Option<Verdict>,
    /// Test points that are known not to hold (`# TODO`).
    pub todo: Vec<String>,
    /// Those of them that hold all the same.
    pub unexpected: Vec<String>,
    /// How many test points there were.
    pub points: u64,
    /// How long it took, less booting.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
    /// What it printed.
    #[serde(skip)]
    pub output: String,
    /// The folder with everything that was kept, below the output directory.
    pub kept: String,
}

fn seconds<S: serde::Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl Outcome {
    /// It failed, and then passed alone in a fresh machine.
    pub fn flaky(&self) -> bool {
        self.verdict.failed() && matches!(self.again, Some(Verdict::Passed))
    }

    /// The line that says why it did not pass, with what the second try said.
    pub fn story(&self) -> Option<String> {
        let cause = self.verdict.cause()?;
        Some(match &self.again {
            None => cause.to_string(),
            Some(Verdict::Passed) => format!("{cause}; alone in a fresh machine it passed"),
            Some(again) => match again.cause() {
                Some(same) if same == cause => format!("{cause}; and again, alone in a fresh machine"),
                other => {
                    format!("{cause}; alone in a fresh machine it {}: {}", again.word(), other.unwrap_or_default())
                }
            },
        })
    }
}

/// Exit status of `mlx5emu test`: everything passed or was skipped.
pub(crate) const PASSED: u8 = 0;
/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// Everything was skipped.
pub(crate) const ALL_SKIPPED: u8 = 4;
/// Something could not be run.
pub(crate) const NOT_RUN: u8 = 125;

/// The exit status for these outcomes. A failure is one even if it passed alone, for what depends on its neighbours or on
/// chance is broken; but for `allow_flaky`.
pub(crate) fn exit_status(outcomes: &[Outcome], allow_flaky: bool) -> u8 {
    let any = |is: fn(&Verdict) -> bool| outcomes.iter().any(|outcome| is(&outcome.verdict));
    if outcomes.iter().any(|outcome| outcome.verdict.failed() && !(allow_flaky && outcome.flaky())) {
        FAILED
    } else if outcomes.is_empty() || any(|verdict| matches!(verdict, Verdict::NotRun { .. })) {
        NOT_RUN
    } else if outcomes.iter().all(|outcome| matches!(outcome.verdict, Verdict::Skipped { .. })) {
        ALL_SKIPPED
    } else {
        PASSED
    }
}

/// An outcome for tests of what shows outcomes.
#[cfg(test)]
pub(crate) fn outcome(name: &str, verdict: Verdict) -> Outcome {
    Outcome {
        name: name.into(),
        shows: "what it shows".into(),
        kernel: "debian:7.2".into(),
        round: 1,
        verdict,
        again: None,
        todo: Vec::new(),
        unexpected: Vec::new(),
        points: 3,
        took: Duration::from_millis(1500),
        output: "ok 1 - a\n".into(),
        kept: "debian_7.2/x".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_the_contracts() {
        let failed = || outcome("a/f", Verdict::Failed { cause: "x".into() });
        let passed = || outcome("a/p", Verdict::Passed);
        let skipped = || outcome("a/s", Verdict::Skipped { why: "x".into() });
        let not_run = || outcome("a/n", Verdict::NotRun { cause: "x".into() });
        assert_eq!(exit_status(&[passed(), skipped()], false), 0);
        assert_eq!(exit_status(&[passed(), failed(), not_run()], false), 1);
        assert_eq!(exit_status(&[skipped(), skipped()], false), 4);
        assert_eq!(exit_status(&[passed(), not_run()], false), 125);
        assert_eq!(exit_status(&[], false), 125);
        let flaky = || Outcome { again: Some(Verdict::Passed), ..failed() };
        assert_eq!(exit_status(&[passed(), flaky()], false), 1);
        assert_eq!(exit_status(&[passed(), flaky()], true), 0);
        assert_eq!(exit_status(&[flaky(), failed()], true), 1);
        assert_eq!(exit_status(&[flaky(), not_run()], true), 125);
    }

    #[test]
    fn both_tries_are_told() {
        let mut one = outcome("a/b", Verdict::Failed { cause: "not ok 3 - x".into() });
        assert_eq!(one.story().unwrap(), "not ok 3 - x");
        one.again = Some(Verdict::Passed);
        assert!(one.story().unwrap().ends_with("alone in a fresh machine it passed"));
        one.again = Some(Verdict::Failed { cause: "not ok 4 - y".into() });
        assert!(one.story().unwrap().ends_with("it failed: not ok 4 - y"));
    }
}
