//! Pairs, quartiles, verdicts.

use std::fmt;

/// Pairs of a row at least.
pub(crate) const MIN_PAIRS: usize = 7;
/// How far the outer quartile may be beyond the budget: "at most 1" holds up to 1.1, "at least 1" down to 1/1.1.
const TOLERANCE: f64 = 1.1;

/// The five numbers of a set of figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of `figures`; `None` if there are none, or one is no number. Quantiles between two figures are interpolated.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        if figures.is_empty() || figures.iter().any(|f| !f.is_finite()) {
            return None;
        }
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { min: at(0.0), lower: at(0.25), median: at(0.5), upper: at(0.75), max: at(1.0) })
    }
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Budget {
    /// This much at most.
    AtMost(f64),
    /// This much at least.
    AtLeast(f64),
}

impl Budget {
    /// Whether the ratios keep to it: the quartile on the far side must, but for the tolerance.
    pub(crate) fn holds_for_ratios(self, ratios: &Spread) -> bool {
        match self {
            Self::AtMost(limit) => ratios.upper <= limit * TOLERANCE,
            Self::AtLeast(limit) => ratios.lower >= limit / TOLERANCE,
        }
    }

    /// Whether an absolute figure keeps to it; without tolerance, for it is not measured by a clock.
    pub(crate) fn holds_for(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

/// Figures taken in turn: ours and the baseline's, pair by pair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
}

impl Pairs {
    /// Measures `count` pairs (at least [`MIN_PAIRS`]). Which side goes first changes from pair to pair, so that what
    /// drifts during a run drifts for both. One pair before the first warms both up and is thrown away.
    pub(crate) fn measure<E>(
        count: usize,
        mut ours: impl FnMut() -> Result<f64, E>,
        mut theirs: impl FnMut() -> Result<f64, E>,
    ) -> Result<Self, E> {
        let mut pairs = Self::default();
        ours()?;
        theirs()?;
        for n in 0..count.max(MIN_PAIRS) {
            let (a, b) = if n % 2 == 0 {
                let a = ours()?;
                (a, theirs()?)
            } else {
                let b = theirs()?;
                (ours()?, b)
            };
            pairs.ours.push(a);
            pairs.theirs.push(b);
        }
        Ok(pairs)
    }

    /// Our figure divided by the baseline's, for each pair.
    pub(crate) fn ratios(&self) -> Option<Spread> {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.theirs).map(|(a, b)| a / b).collect();
        Spread::of(&ratios)
    }
}

/// The median of `figures`, 0 if there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    Spread::of(figures).map_or(0.0, |s| s.median)
}
