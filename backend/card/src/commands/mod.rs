//! The command interface: fetching, executing and answering commands, and the opcode table.

pub mod opcodes;
pub mod queue;
pub mod record;
