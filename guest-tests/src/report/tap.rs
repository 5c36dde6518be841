//! TAP 13, one test point a scenario, why it failed as YAML.

use crate::compare::Change;
use crate::result::{Outcome, Verdict};

/// The first line.
pub const TAP_VERSION: &str = "TAP version 13\n";

/// How many test points there are: the second line, or the last one when it is not known before.
pub fn tap_plan(count: usize) -> String {
    let skip = if count == 0 { " # SKIP nothing to run" } else { "" };
    format!("1..{count}{skip}\n")
}

/// What differs between two kernels, as a comment.
pub fn tap_change(change: &Change) -> String {
    format!("# {}\n", change.to_string().replace(['\n', '\r'], " "))
}

/// A scenario as test point `number`.
pub fn tap_point(number: usize, outcome: &Outcome) -> String {
    // A number sign begins a directive.
    let plain = |text: &str| text.replace('#', "_").replace(['\n', '\r'], " ");
    let round = if outcome.round > 1 { format!(" (round {})", outcome.round) } else { String::new() };
    let ok = if matches!(outcome.verdict, Verdict::Passed | Verdict::Skipped { .. }) { "ok" } else { "not ok" };
    let mut text = format!("{ok} {number} - {} on {}{round}", plain(&outcome.name), plain(&outcome.kernel));
    if let Verdict::Skipped { why } = &outcome.verdict {
        text += &format!(" # SKIP {}", plain(why));
    }
    text.push('\n');
    text += "  ---\n";
    let mut field = |name: &str, value: &str| text += &format!("  {name}: {}\n", quoted(value));
    field("verdict", outcome.verdict.word());
    if let (Some(story), Verdict::Failed { .. } | Verdict::NotRun { .. }) = (outcome.story(), &outcome.verdict) {
        field("message", &story);
    }
    if !outcome.kept.is_empty() {
        field("kept", &outcome.kept);
    }
    text += &format!("  duration_ms: {}\n  ...\n", outcome.took.as_millis());
    for point in &outcome.unexpected {
        text += &format!("# {}: expected to fail and holds: {}\n", plain(&outcome.name), plain(point));
    }
    text
}

/// A YAML double-quoted scalar; JSON strings are such.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::outcome;
    use crate::tap::Tap;

    #[test]
    fn our_own_reader_understands_it() {
        let outcomes = [
            outcome("a/passes", Verdict::Passed),
            outcome("a/fails", Verdict::Failed { cause: "not ok 2 - \"x\"\nsecond # line".into() }),
            outcome("a/skips", Verdict::Skipped { why: "no # VFs".into() }),
            outcome("a/none", Verdict::NotRun { cause: "no guest".into() }),
        ];
        let mut text = TAP_VERSION.to_string() + &tap_plan(outcomes.len());
        outcomes.iter().enumerate().for_each(|(n, outcome)| text += &tap_point(n + 1, outcome));
        let tap = Tap::parse(&text);
        assert_eq!((tap.plan, tap.points.len()), (Some(4), 4));
        assert_eq!(tap.points.iter().map(|p| p.ok).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(tap.points[2].skip.as_deref(), Some("no _ VFs"));
        assert!(text.contains("  message: \"not ok 2 - \\\"x\\\"\\nsecond # line\"\n"), "{text}");
    }
}
