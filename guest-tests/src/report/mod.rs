//! Outcomes as other programs read them.

#[cfg(test)]
mod accepted;
mod json;
mod junit;
mod tap;

use std::fs;
use std::io;
use std::path::Path;

pub use json::json;
pub use junit::junit;
pub use tap::{TAP_VERSION, tap_change, tap_plan, tap_point};

use crate::compare::Change;
use crate::result::Outcome;

/// Everything about a run.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// How the scenarios ended, in the order in which they were run.
    pub outcomes: &'a [Outcome],
    /// With `--against`: what differs between the two kernels.
    pub changes: &'a [Change],
}

/// The run as TAP 13.
pub fn tap(results: Results<'_>) -> String {
    let mut text = TAP_VERSION.to_string() + &tap_plan(results.outcomes.len());
    for (n, outcome) in results.outcomes.iter().enumerate() {
        text += &tap_point(n + 1, outcome);
    }
    for change in results.changes {
        text += &tap_change(change);
    }
    text
}

/// Writes all formats into `dir`: `results.tap`, `results.json`, `results.xml` (JUnit).
///
/// # Errors
/// A file cannot be written.
pub fn write_all(results: Results<'_>, dir: &Path) -> io::Result<()> {
    fs::write(dir.join("results.tap"), tap(results))?;
    fs::write(dir.join("results.json"), json(results))?;
    fs::write(dir.join("results.xml"), junit(results))
}
