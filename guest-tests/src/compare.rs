//! What differs between two kernels.

use std::fmt;

use serde::Serialize;

use crate::result::{Outcome, Verdict};

/// How a scenario fares on a kernel, compared with the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It fails, and does not fail on the other.
    Regression,
    /// It passes, and does not pass on the other.
    Fixed,
    /// It fails on both.
    StillFails,
    /// It is skipped or cannot be run on one of them.
    NotCompared,
}

/// A scenario that does not simply pass on both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The scenario.
    pub name: String,
    /// How it changed.
    pub kind: Kind,
    /// The kernel under test.
    pub kernel: String,
    /// The kernel that it is compared with.
    pub against: String,
    /// The line about the kernel under test.
    pub now: String,
    /// The line about the other.
    pub before: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Regression => "REGRESSION",
            Kind::Fixed => "fixed",
            Kind::StillFails => "fails on both",
            Kind::NotCompared => "not compared",
        };
        write!(f, "{kind}: {}: {}: {}; {}: {}", self.name, self.kernel, self.now, self.against, self.before)
    }
}

/// Compares what `kernel` made of the scenarios with what `against` made of them. Of several rounds the worst counts.
pub(crate) fn changes(outcomes: &[Outcome], kernel: &str, against: &str) -> Vec<Change> {
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.name.as_str()) {
            names.push(&outcome.name);
        }
    }
    let of = |name: &str, on: &str| {
        outcomes.iter().filter(|o| o.name == name && o.kernel == on).max_by_key(|outcome| badness(&outcome.verdict))
    };
    let change = |name: &str| {
        let (now, before) = (of(name, kernel)?, of(name, against)?);
        let kind = match (&now.verdict, &before.verdict) {
            (Verdict::Failed { .. }, Verdict::Failed { .. }) => Kind::StillFails,
            (Verdict::Failed { .. }, Verdict::Passed | Verdict::Skipped { .. }) => Kind::Regression,
            (Verdict::Passed, Verdict::Failed { .. }) => Kind::Fixed,
            // A point that is known not to hold is one all the same.
            (Verdict::Passed, Verdict::Passed) => match (lacks(now, before), lacks(before, now)) {
                (true, _) => Kind::Regression,
                (false, true) => Kind::Fixed,
                (false, false) => return None,
            },
            (Verdict::Skipped { .. }, Verdict::Skipped { .. }) => return None,
            _ => Kind::NotCompared,
        };
        let line = |outcome: &Outcome| match outcome.story() {
            None if known(outcome).next().is_some() => {
                let known: Vec<_> = known(outcome).map(|point| format!("'{point}'")).collect();
                format!("{}, but for what is known not to hold: {}", outcome.verdict.word(), known.join(", "))
            }
            None => outcome.verdict.word().to_string(),
            Some(story) => format!("{}: {story}", outcome.verdict.word()),
        };
        let (kernel, against) = (kernel.to_string(), against.to_string());
        Some(Change { name: name.to_string(), kind, kernel, against, now: line(now), before: line(before) })
    };
    names.into_iter().filter_map(change).collect()
}

/// The points that are known not to hold, and do not, without their numbers.
fn known(outcome: &Outcome) -> impl Iterator<Item = &str> {
    let fails = outcome.todo.iter().filter(|point| !outcome.unexpected.contains(point));
    fails.map(|point| point.split_once(" - ").map_or(point.as_str(), |(_, name)| name))
}

/// Whether a point does not hold for one that holds for the other.
fn lacks(one: &Outcome, other: &Outcome) -> bool {
    known(one).any(|point| known(other).all(|has| has != point))
}

fn badness(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Passed => 1,
        Verdict::Skipped { .. } => 0,
        Verdict::NotRun { .. } => 2,
        Verdict::Failed { .. } => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::outcome;

    #[test]
    fn what_is_known_not_to_hold_is_compared_point_by_point() {
        let with = |kernel: &str, todo: &[&str], unexpected: &[&str]| Outcome {
            kernel: kernel.into(),
            todo: todo.iter().map(|point| point.to_string()).collect(),
            unexpected: unexpected.iter().map(|point| point.to_string()).collect(),
            ..outcome("a/b", Verdict::Passed)
        };
        let kind = |now: Outcome, before: Outcome| changes(&[now, before], "new", "old").first().map(|c| c.kind);
        let known = ["3 - it comes"];
        assert_eq!(kind(with("new", &known, &[]), with("old", &["2 - it comes"], &[])), None);
        assert_eq!(kind(with("new", &[], &[]), with("old", &known, &[])), Some(Kind::Fixed));
        assert_eq!(kind(with("new", &known, &known), with("old", &known, &[])), Some(Kind::Fixed));
        assert_eq!(kind(with("new", &known, &[]), with("old", &[], &[])), Some(Kind::Regression));
        let told = changes(&[with("new", &[], &[]), with("old", &known, &[])], "new", "old")[0].to_string();
        assert_eq!(told, "fixed: a/b: new: passed; old: passed, but for what is known not to hold: 'it comes'");
    }

    #[test]
    fn only_what_differs_or_fails_is_told() {
        let failed = || Verdict::Failed { cause: "x".into() };
        let cases = [
            ("a/same", Verdict::Passed, Verdict::Passed),
            ("a/worse", failed(), Verdict::Passed),
            ("a/better", Verdict::Passed, failed()),
            ("a/bad", failed(), failed()),
            ("a/unknown", Verdict::NotRun { cause: "y".into() }, Verdict::Passed),
        ];
        let mut outcomes = Vec::new();
        for (name, now, before) in cases {
            for (kernel, verdict) in [("new", now), ("old", before)] {
                outcomes.push(Outcome { kernel: kernel.into(), ..outcome(name, verdict) });
            }
        }
        let kinds: Vec<_> = changes(&outcomes, "new", "old").into_iter().map(|c| (c.name, c.kind)).collect();
        let expected = [
            ("a/worse", Kind::Regression),
            ("a/better", Kind::Fixed),
            ("a/bad", Kind::StillFails),
            ("a/unknown", Kind::NotCompared),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_string(), kind)));
    }
}
