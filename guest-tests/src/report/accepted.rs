//! Programs of others understand what is reported: Perl's TAP::Parser, and two parsers of JUnit XML.

use std::io::{BufReader, Write};
use std::process::{Command, Stdio};

use junit_parser::TestStatus;
use quick_junit::Report;

use super::{Results, junit, tap};
use crate::compare::{Change, Kind};
use crate::result::{Outcome, Verdict, outcome};

/// Outcomes of every kind, in words that mean something to parsers.
fn outcomes() -> Vec<Outcome> {
    let nasty = "not ok 2 - \"x\" <&>]]> # TODO \\ {y: [1]}\nsecond: 'line' \u{1}\u{1b}[0m é\u{ffff}";
    let mut failed = outcome("a/fails", Verdict::Failed { cause: nasty.into() });
    failed.again = Some(Verdict::Failed { cause: "not ok 1 - again".into() });
    failed.output = format!("TAP version 13\nok 1 - a\n{nasty}\n");
    let mut flaky = outcome("a/flaky", Verdict::Failed { cause: "x".into() });
    flaky.again = Some(Verdict::Passed);
    let mut passed = outcome("a/passes", Verdict::Passed);
    passed.unexpected = vec!["3 - holds # all the same".into()];
    passed.round = 2;
    passed.kept = "folder: # with \"words\"".into();
    let skipped = outcome("a/skips", Verdict::Skipped { why: "no # VFs\nhere".into() });
    let not_run = Outcome {
        kernel: "/home/me/linux #2".into(),
        output: String::new(),
        kept: String::new(),
        ..outcome("b/none", Verdict::NotRun { cause: "no guest".into() })
    };
    vec![passed, failed, flaky, skipped, not_run]
}

/// A line for each result in `text` and for whatever is wrong with it, as TAP::Parser has it; `None` without Perl.
fn understood(text: &str) -> Option<Vec<String>> {
    const SCRIPT: &str = r#"
        use TAP::Parser;
        local $/;
        my $parser = TAP::Parser->new({ tap => scalar <STDIN>, version => 13 });
        while (my $r = $parser->next) {
            if ($r->is_test) {
                print join('|', $r->is_actual_ok ? 'ok' : 'not ok', $r->number, $r->description, $r->directive,
                    $r->explanation), "\n";
            } elsif ($r->is_yaml) {
                print "yaml $_=", $r->data->{$_}, "\n" for grep { $_ ne 'message' } sort keys %{ $r->data };
                print "message of ", length($r->data->{message}), "\n" if $r->data->{message};
            } elsif ($r->is_unknown) {
                print "unknown ", $r->as_string, "\n";
            }
        }
        print "error $_\n" for $parser->parse_errors;
        print "planned ", $parser->tests_planned, " run ", $parser->tests_run, " skip all ", $parser->skip_all // '', "\n";
    "#;
    let spawned = Command::new("perl")
        .args(["-e", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut perl) = spawned else {
        eprintln!("SKIPPED: there is no perl here, whose TAP::Parser would have the last word on TAP");
        return None;
    };
    perl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = perl.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("Can't locate TAP/Parser.pm") {
        eprintln!("SKIPPED: this perl comes without TAP::Parser, which would have the last word on TAP");
        return None;
    }
    assert!(output.status.success(), "{errors}\n{text}");
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect())
}

#[test]
fn tap_is_understood_by_perls_parser() {
    let changes = [Change {
        name: "a/fails".into(),
        kind: Kind::Regression,
        kernel: "new".into(),
        against: "old".into(),
        now: "not ok 1 - x # TODO\nok 2".into(),
        before: "passed".into(),
    }];
    let text = tap(Results { outcomes: &outcomes(), changes: &changes });
    let Some(said) = understood(&text) else { return };
    let tests: Vec<&String> = said.iter().filter(|line| line.contains('|')).collect();
    let expected = [
        "ok|1|- a/passes on debian:7.2 (round 2)||",
        "not ok|2|- a/fails on debian:7.2||",
        "not ok|3|- a/flaky on debian:7.2||",
        "ok|4|- a/skips on debian:7.2|SKIP|no _ VFs here",
        "not ok|5|- b/none on /home/me/linux _2||",
    ];
    assert_eq!(tests, expected, "{text}");
    let has = |line: &str| said.iter().any(|one| one == line);
    for line in
        ["yaml verdict=failed", "yaml verdict=not run", "yaml kept=folder: # with \"words\"", "yaml duration_ms=1500"]
    {
        assert!(has(line), "{line}: {said:#?}");
    }
    assert!(!said.iter().any(|line| line.starts_with("unknown ") || line.starts_with("error ")), "{said:#?}\n{text}");
    assert_eq!(said.last().unwrap(), "planned 5 run 5 skip all ");
    let nothing = understood(&tap(Results { outcomes: &[], changes: &[] })).unwrap();
    assert_eq!(nothing, ["planned 0 run 0 skip all nothing to run"]);
}

#[test]
fn the_librarys_tap_is_understood_by_perls_parser() {
    let script = ". scenarios/lib/tap.sh; check 'is # so' true; check 'is not' sh -c 'echo why; exit 3'; \
                  todo 'it is # known' check 'will be' false; say 'a comment'; same x 1 1; finish";
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let Some(said) = understood(&String::from_utf8_lossy(&output.stdout)) else { return };
    let expected = [
        "ok|1|- is # so||",
        "not ok|2|- is not||",
        "not ok|3|- will be|TODO|it is # known",
        "ok|4|- x||",
        "planned 4 run 4 skip all ",
    ];
    assert_eq!(said, expected);
}

#[test]
fn junit_is_understood_by_its_parsers() {
    let mut outcomes = outcomes();
    // The first of them takes blanks off the ends of texts.
    outcomes.iter_mut().for_each(|outcome| outcome.output.truncate(outcome.output.trim_end().len()));
    let text = junit(Results { outcomes: &outcomes, changes: &[] });
    assert!(!text.contains(|c: char| c == '\u{ffff}' || (c.is_control() && c != '\n')), "not XML: {text:?}");
    // One that reads what it wrote.
    let report = Report::deserialize_from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(report.to_string().unwrap(), text);
    let said = report.test_suites[0].test_cases[1].system_out.as_ref().unwrap();
    assert!(said.contains("not ok 2 - \"x\" <&>]]> # TODO"), "{said:?}");
    // And a stranger.
    let suites = junit_parser::from_reader(BufReader::new(text.as_bytes())).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((suites.tests, suites.failures, suites.errors), (5, 2, 1));
    let names: Vec<_> = suites.suites.iter().map(|suite| (suite.name.as_str(), suite.cases.len())).collect();
    assert_eq!(names, [("debian:7.2", 4), ("/home/me/linux #2", 1)]);
    let cases: Vec<_> = suites.suites.iter().flat_map(|suite| &suite.cases).collect();
    let kinds: Vec<&str> = cases
        .iter()
        .map(|case| match &case.status {
            TestStatus::Success => "passed",
            TestStatus::Failure(_) => "failed",
            TestStatus::Skipped(_) => "skipped",
            TestStatus::Error(_) => "error",
        })
        .collect();
    assert_eq!(kinds, ["passed", "failed", "failed", "skipped", "error"]);
    assert_eq!((cases[0].classname.as_deref(), cases[0].original_name.as_str()), (Some("a"), "passes (round 2)"));
    let message = &cases[1].status.failure_as_ref().message;
    assert!(message.starts_with("not ok 2 - \"x\" <&>]]> # TODO \\ {y: [1]}"), "{message}");
    assert!(message.ends_with("it failed: not ok 1 - again"), "{message}");
    assert_eq!(cases[1].reruns.len(), 1);
    // This one leaves entities out of texts.
    assert!(
        cases[1].system_out.as_ref().is_some_and(|out| out.contains("ok 1 - a\nnot ok 2")),
        "{:?}",
        cases[1].system_out
    );
    assert_eq!(cases[3].status.skipped_as_ref().message.replace(['\n', ' '], ""), "no#VFshere");
}
