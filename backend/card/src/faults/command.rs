//! Rules for commands: what they look for in one, and what they do with it. `commands/queue.rs` asks.

use std::sync::Arc;

use mlx5emu_config::fault::{FaultKind, Stage};
use mlx5emu_prm::Field;
use mlx5emu_prm::layouts::{cmd_in, cmd_out};
use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};

use super::{Faults, Rule, What};
use crate::card::FunctionIndex;
use crate::error::Wait;

/// `uid` of a command (`mlx5_ifc.h`, any `_in` structure that has one).
const UID: Field = Field::new("uid", 0x0, 15, 16);

/// What a rule looks for in a command.
#[derive(Debug, Default)]
pub(crate) struct CommandMatch {
    pub(super) opcode: Option<Opcode>,
    pub(super) op_mod: Option<u16>,
    pub(super) uid: Option<u16>,
    /// Fields of the input with their values.
    pub(super) fields: Vec<(Field, u64)>,
}

impl CommandMatch {
    fn fits(&self, input: &[u8]) -> bool {
        self.opcode.is_none_or(|opcode| u64::from(opcode.0) == cmd_in::opcode.get(input))
            && self.op_mod.is_none_or(|op_mod| u64::from(op_mod) == cmd_in::op_mod.get(input))
            && self.uid.is_none_or(|uid| u64::from(uid) == UID.get(input))
            && self.fields.iter().all(|(field, value)| field.get(input) == *value)
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is executed, or answered in place of that.
    Goes,
    /// It is never answered.
    Lost,
    /// Nor is any that comes after it.
    Hangs,
}

/// How long something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Until the rule is released.
    Hold,
    /// Nanoseconds.
    Delay(u64),
}

/// What a rule does with a command.
#[derive(Debug)]
pub(crate) struct CommandAct {
    pub(crate) stage: Stage,
    pub(crate) fate: Fate,
    pub(crate) delivery: Option<DeliveryStatus>,
    pub(crate) twice: bool,
    pub(crate) idle_slot: Option<u8>,
    pub(super) pause: Option<Pause>,
    pub(super) status: Option<(Status, u32)>,
    /// Fields of the output with their new values.
    pub(super) fields: Vec<(Field, u64)>,
    /// Number of the rule.
    pub(super) rule: u32,
}

impl CommandAct {
    /// What the command waits for from `now` on.
    pub(crate) fn wait(&self, now: u64) -> Option<Wait> {
        self.pause.map(|pause| match pause {
            Pause::Hold => Wait::Hold(self.rule),
            Pause::Delay(ns) => Wait::Until(now.saturating_add(ns)),
        })
    }

    /// Whether the answer is the rule's.
    pub(crate) fn forges(&self) -> bool {
        self.status.is_some() || self.delivery.is_some() || !self.fields.is_empty()
    }

    /// An answer of `len` bytes to a command that is not executed.
    pub(crate) fn forge(&self, len: usize) -> Vec<u8> {
        let mut output = vec![0; len];
        self.change(&mut output);
        output
    }

    /// Makes the answer what the rule says.
    pub(crate) fn change(&self, output: &mut [u8]) {
        if let Some((status, syndrome)) = self.status {
            cmd_out::status.set(output, u64::from(status.0));
            cmd_out::syndrome.set(output, u64::from(syndrome));
        }
        self.fields.iter().for_each(|(field, value)| field.set(output, *value));
    }
}

impl Faults {
    /// The rule that acts on this command of `f`.
    pub(crate) fn of_command(&self, f: FunctionIndex, input: &[u8]) -> Option<Arc<Rule>> {
        if !self.armed(FaultKind::Cmd) {
            return None;
        }
        self.ask(FaultKind::Cmd, f, |what| if let What::Command(wanted, _) = what { wanted.fits(input) } else { false })
    }
}
