//! One JSON object.

use serde_json::json;

use super::Results;
use crate::result::{Outcome, Verdict};

/// The run as one JSON object, ended with a line break.
pub fn json(results: Results<'_>) -> String {
    let count = |is: fn(&Verdict) -> bool| results.outcomes.iter().filter(|o: &&Outcome| is(&o.verdict)).count();
    let object = json!({
        "mlx5emu": env!("CARGO_PKG_VERSION"),
        "summary": {
            "passed": count(|v| matches!(v, Verdict::Passed)),
            "failed": count(|v| matches!(v, Verdict::Failed { .. })),
            "skipped": count(|v| matches!(v, Verdict::Skipped { .. })),
            "not_run": count(|v| matches!(v, Verdict::NotRun { .. })),
        },
        "scenarios": results.outcomes,
        "changes": results.changes,
    });
    format!("{object:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::outcome;

    #[test]
    fn a_program_finds_verdicts_and_causes() {
        let outcomes = [outcome("a/b", Verdict::Failed { cause: "x".into() }), outcome("a/c", Verdict::Passed)];
        let text = json(Results { outcomes: &outcomes, changes: &[] });
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["summary"]["failed"], 1);
        let first = &value["scenarios"][0];
        assert_eq!((&first["verdict"], &first["cause"], &first["took"]), (&"failed".into(), &"x".into(), &1.5.into()));
    }
}
