//! JUnit XML, as CI systems read it: a test suite per kernel.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::Results;
use crate::result::{Outcome, Verdict};

/// The run as JUnit XML.
pub fn junit(results: Results<'_>) -> String {
    let mut report = Report::new("mlx5emu");
    let mut kernels: Vec<&str> = Vec::new();
    for outcome in results.outcomes {
        if !kernels.contains(&outcome.kernel.as_str()) {
            kernels.push(&outcome.kernel);
        }
    }
    for kernel in kernels {
        let mut suite = TestSuite::new(kernel);
        for outcome in results.outcomes.iter().filter(|outcome| outcome.kernel == kernel) {
            suite.add_test_case(case(outcome));
        }
        report.add_test_suite(suite);
    }
    // Into memory nothing can fail; what is not XML is taken out of the texts.
    report.to_string().unwrap_or_default()
}

fn case(outcome: &Outcome) -> TestCase {
    let mut status = match &outcome.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::NotRun { .. } => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skipped { .. } => TestCaseStatus::skipped(),
    };
    if let Some(story) = outcome.story() {
        status.set_message(xml(&story));
    }
    if let Some(again) = outcome.again.as_ref().filter(|again| again.failed()) {
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun.set_message(xml(again.cause().unwrap_or_default()));
        status.add_rerun(rerun);
    }
    let round = if outcome.round > 1 { format!(" (round {})", outcome.round) } else { String::new() };
    let (family, name) = outcome.name.split_once('/').unwrap_or(("", &outcome.name));
    let mut case = TestCase::new(format!("{name}{round}"), status);
    case.set_classname(family).set_time(outcome.took);
    if !outcome.output.is_empty() {
        case.set_system_out(xml(&outcome.output));
    }
    case
}

/// Control characters are taken out by whoever writes them, these two are not; XML has neither (XML 1.0, 2.2, Char).
fn xml(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::outcome;

    #[test]
    fn suites_cases_failures_and_skips() {
        let mut failed = outcome("a/b", Verdict::Failed { cause: "x < \u{1} y".into() });
        failed.again = Some(Verdict::Failed { cause: "again".into() });
        let outcomes = [
            failed,
            outcome("a/c", Verdict::Skipped { why: "none".into() }),
            outcome("a/d", Verdict::NotRun { cause: "no guest".into() }),
        ];
        let text = junit(Results { outcomes: &outcomes, changes: &[] });
        for part in [
            "<testsuite name=\"debian:7.2\" tests=\"3\"",
            "classname=\"a\"",
            "x &lt;",
            "<skipped",
            "<error",
            "time=\"1.5",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1}'));
    }
}
