//! Fault rules: what firmware and hardware do wrong on demand, the same way each time.
//!
//! A rule is one line, `[NAME:] KIND MATCH… => ACTION…`:
//!
//! ```
//! use mlx5emu_config::fault::{Action, FaultKind, FaultRule};
//!
//! let rule = FaultRule::parse("slow: cmd op=QUERY_HCA_CAP fn=pf0 => before hold").unwrap();
//! assert_eq!((rule.name.as_deref(), rule.kind), (Some("slow"), FaultKind::Cmd));
//! assert_eq!(rule.actions, [Action::Hold]);
//! ```
//!
//! This module knows the form: which words a kind has, numbers, times. What the words name (opcodes, fields, statuses,
//! functions) is looked up by the card that gets the rule.

mod forms;
mod parse;

use std::fmt;
use std::str::FromStr;

pub use forms::{FORMS, Form};

use crate::function::FunctionName;

/// The longest rule, in bytes.
pub const MAX_RULE: usize = 1024;
/// The longest name of a rule, in bytes.
pub const MAX_NAME: usize = 32;
/// Rules of a card at a time.
pub const MAX_RULES: usize = 64;
/// The longest delay: ten minutes, in nanoseconds.
pub const MAX_DELAY_NS: u64 = 600_000_000_000;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A firmware command, when it is taken from its slot.
    Cmd,
    /// An event queue entry, before it is written.
    Event,
    /// A work queue entry, before it is executed.
    Wqe,
    /// A frame at a port or a vport.
    Packet,
    /// A memory request of the card.
    Dma,
    /// A look of the driver at the health counter.
    Health,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 6] =
        [FaultKind::Cmd, FaultKind::Event, FaultKind::Wqe, FaultKind::Packet, FaultKind::Dma, FaultKind::Health];

    /// Its word in a rule.
    pub fn word(self) -> &'static str {
        match self {
            FaultKind::Cmd => "cmd",
            FaultKind::Event => "event",
            FaultKind::Wqe => "wqe",
            FaultKind::Packet => "packet",
            FaultKind::Dma => "dma",
            FaultKind::Health => "health",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Of the occasions that match, those on which the rule acts. Counted for each rule and function (or port).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasions {
    /// From this one on, 1 is the first.
    pub nth: u64,
    /// Then each that is this many further on.
    pub every: u64,
    /// Of those, this share: numerator and denominator. Which ones is a hash of the card's seed, the function's name, the
    /// rule and the count.
    pub chance: Option<(u32, u32)>,
    /// How often the rule acts in all; without limit if `None`.
    pub times: Option<u64>,
}

/// Whether a rule acts in place of what it is about, or when that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In its place: it is not executed.
    Before,
    /// It was executed.
    After,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A command: this outbox status. By name or number.
    Status(String),
    /// A command: this outbox syndrome. A WQE: the syndrome of an error CQE. Health: `synd` of the health buffer. By name or
    /// number.
    Syndrome(String),
    /// A command: this delivery status of its entry. By name or number.
    Delivery(String),
    /// A command: a field of the output (`out.…`) gets this value.
    Field {
        /// The field's path, with `out.`.
        path: String,
        /// A number or a name.
        value: String,
    },
    /// A command, a frame, an event is lost; a completion is not written; what was written does not arrive.
    Drop,
    /// It waits until the rule is released.
    Hold,
    /// It waits this many nanoseconds.
    Delay(u64),
    /// A command is announced twice, an event or a frame comes twice.
    Twice,
    /// The event of a command names this slot too.
    IdleSlot(u8),
    /// The firmware, the queue or the health counter stands still until it is reset.
    Hang,
    /// A memory request is completed with this status.
    Error(String),
    /// Health: the buffer tells, the firmware goes on.
    Report,
}

/// A fault rule whose form is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it is about.
    pub kind: FaultKind,
    /// Only what concerns this function.
    pub function: Option<FunctionName>,
    /// What else must hold: the words of its kind with their values, `in.FIELD` among them.
    pub matches: Vec<(String, String)>,
    /// On which occasions.
    pub occasions: Occasions,
    /// Before or after; as fits the actions if it does not say.
    pub stage: Option<Stage>,
    /// What it does, at least one thing.
    pub actions: Vec<Action>,
    /// The rule as it was written, without its name, one blank between words.
    pub text: String,
}

impl FaultRule {
    /// The value of the match `key`.
    pub fn matched(&self, key: &str) -> Option<&str> {
        self.matches.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The rules of a list of words, as a shell hands them over: words that are whole rules are one each, else all of them
    /// are one rule.
    pub fn of_words(words: &[String]) -> Vec<String> {
        if words.iter().all(|word| word.contains("=>") && word.contains(' ')) {
            words.to_vec()
        } else {
            vec![words.join(" ")]
        }
    }
}

impl FromStr for FaultRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FaultRule::parse(text)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Whether a rule can be called that.
pub fn good_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests;
