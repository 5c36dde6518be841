//! What became of a fault rule.

use serde::{Deserialize, Serialize};

/// Things held that are told of a rule, at most; [`FaultState::held_count`] counts all.
pub const MAX_HELD: usize = 64;

/// A fault rule of a running card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultState {
    /// Its name.
    pub name: String,
    /// The rule, without its name.
    pub rule: String,
    /// How often something matched it.
    pub matched: u64,
    /// How often it acted.
    pub acted: u64,
    /// It holds what it acts on, until it is released.
    pub holds: bool,
    /// How much it holds now.
    pub held_count: u64,
    /// What it holds, the oldest first.
    pub held: Vec<Held>,
}

impl FaultState {
    /// Whether what `wait` waits for is there: something held if the rule holds, else the rule has acted.
    pub fn is_there(&self) -> bool {
        if self.holds { self.held_count > 0 } else { self.acted > 0 }
    }
}

/// Something that a fault rule holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The function that it is of.
    pub function: String,
    /// What it is: `INIT_HCA in slot 3`.
    pub what: String,
    /// Since when, nanoseconds of the card's clock.
    pub since_ns: u64,
}
