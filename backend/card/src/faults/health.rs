//! Rules for health: what the driver finds when it looks at the health counter.

use std::sync::Arc;

use mlx5emu_config::fault::FaultKind;

use super::{Faults, What};
use crate::card::FunctionIndex;

/// What a rule does when the driver looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HealthAct {
    /// The firmware fails with this, or only tells of it.
    pub(super) synd: Option<(u8, bool)>,
    /// The counter stands still.
    pub(super) hangs: bool,
}

/// What a function has to do before it shows its health counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// The firmware fails with this syndrome.
    Fails(u8),
    /// It tells of this one.
    Reports(u8),
    /// The counter stands still.
    Stands,
}

/// What a register file asks the rules with.
#[derive(Debug, Clone)]
pub(crate) struct HealthWatch {
    faults: Arc<Faults>,
    function: FunctionIndex,
}

impl HealthWatch {
    pub(crate) fn new(faults: &Arc<Faults>, function: FunctionIndex) -> Self {
        Self { faults: Arc::clone(faults), function }
    }

    /// The driver looks at the health counter.
    pub(crate) fn looks(&self) -> Option<Health> {
        if !self.faults.armed(FaultKind::Health) {
            return None;
        }
        let rule = self.faults.ask(FaultKind::Health, self.function, |what| matches!(what, What::Health(_)))?;
        let What::Health(act) = rule.what else { return None };
        Some(match act.synd {
            Some((synd, true)) => Health::Reports(synd),
            Some((synd, false)) => Health::Fails(synd),
            None if act.hangs => Health::Stands,
            None => return None,
        })
    }
}
