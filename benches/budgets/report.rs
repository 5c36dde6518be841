//! The table, and where it is kept.

use std::path::Path;

use crate::Outcome;
use crate::statistics::{Budget, Pairs, Spread, median};

/// A part of BENCHMARKS.md that is written here: the lines before and after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    begin: &'static str,
    end: &'static str,
}

/// Rows that need no guest.
pub(crate) const HERE: Part =
    Part { begin: "<!-- figures: written by scripts/bench --record -->", end: "<!-- end of figures -->" };
/// Rows that are measured in guests.
pub(crate) const GUESTS: Part = Part {
    begin: "<!-- figures of guests: written by scripts/bench --guests --record -->",
    end: "<!-- end of figures of guests -->",
};

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    name: String,
    ours: String,
    theirs: String,
    /// Median and quartiles, then the extremes.
    spread: String,
    budget: Option<Budget>,
    /// `None`: nothing to keep to yet.
    holds: Option<bool>,
}

/// A figure with three digits that matter.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

impl Row {
    /// Ours against the baseline's, in pairs.
    pub(crate) fn compared(name: &str, unit: &str, pairs: Pairs, budget: Option<Budget>) -> Outcome<Self> {
        let ratios = pairs.ratios().ok_or("a measurement without figures")?;
        Ok(Self {
            name: name.into(),
            ours: format!("{} {unit}", number(median(&pairs.ours))),
            theirs: format!("{} {unit}", number(median(&pairs.theirs))),
            spread: spread(&ratios),
            budget,
            holds: budget.map(|b| b.holds_for_ratios(&ratios)),
        })
    }

    /// Names the baseline, where it is not the echo server.
    pub(crate) fn against(mut self, baseline: &str) -> Self {
        self.theirs += &format!(" ({baseline})");
        self
    }

    /// A figure that is compared with nothing.
    pub(crate) fn absolute(name: &str, unit: &str, value: f64, budget: Option<Budget>) -> Self {
        Self {
            name: name.into(),
            ours: format!("{} {unit}", number(value)),
            theirs: String::new(),
            spread: String::new(),
            budget,
            holds: budget.map(|b| b.holds_for(value)),
        }
    }

    /// Whether the row breaks its budget.
    pub(crate) fn broken(&self) -> bool {
        self.holds == Some(false)
    }

    /// What the row measures.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn spread(s: &Spread) -> String {
    format!("{:.2} ({:.2}–{:.2}; {:.2}–{:.2})", s.median, s.lower, s.upper, s.min, s.max)
}

/// The rows as a Markdown table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | mlx5emu | baseline | ratio: median (quartiles; extremes) | budget | verdict |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        let budget = row.budget.map_or_else(String::new, |b| b.to_string());
        let verdict = match row.holds {
            Some(true) => "holds",
            Some(false) => "**broken**",
            None => "for information",
        };
        let Row { name, ours, theirs, spread, .. } = row;
        text += &format!("| {name} | {ours} | {theirs} | {spread} | {budget} | {verdict} |\n");
    }
    text
}

/// `text` with `figures` in place of those that it has.
pub(crate) fn with_figures(text: &str, Part { begin, end }: Part, figures: &str) -> Outcome<String> {
    let (before, rest) = text.split_once(begin).ok_or_else(|| format!("there is no line '{begin}'"))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("there is no line '{end}'"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", figures.trim()))
}

/// Writes the figures into `file`.
pub(crate) fn record(file: &Path, part: Part, figures: &str) -> Outcome<()> {
    let named = |e: String| format!("cannot record in {}: {e}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| named(e.to_string()))?;
    let text = with_figures(&text, part, figures).map_err(|e| named(e.to_string()))?;
    // As a whole or not at all.
    let new = file.with_extension("md.new");
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file)).map_err(|e| named(e.to_string()))?;
    Ok(())
}
