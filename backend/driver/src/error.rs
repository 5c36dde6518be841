//! What can go wrong.

use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};

/// Why the driver could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device did not do in time what was waited for.
    #[error("timeout: {0}")]
    Timeout(String),
    /// The device refused to take a command.
    #[error("{opcode}: delivery status {status}")]
    Delivery {
        /// The command.
        opcode: Opcode,
        /// Delivery status of the command queue entry.
        status: DeliveryStatus,
    },
    /// A command failed.
    #[error("{opcode}: {status}, syndrome {syndrome:#x}")]
    Refused {
        /// The command.
        opcode: Opcode,
        /// Outbox status.
        status: Status,
        /// Outbox syndrome.
        syndrome: u32,
    },
    /// The device did something that would break a real driver.
    #[error("the device misbehaves: {0}")]
    Device(String),
    /// The device lacks something that the driver needs.
    #[error("not supported by the device: {0}")]
    Unsupported(String),
    /// No memory that the device can reach is left.
    #[error("no DMA memory is left ({0} bytes asked)")]
    NoMemory(usize),
    /// All command slots are in use.
    #[error("all command slots are in use")]
    NoSlot,
    /// A queue is full.
    #[error("the queue is full")]
    Full,
    /// The caller asked for something impossible.
    #[error("{0}")]
    Usage(String),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// [`Error::Device`] with a formatted text.
macro_rules! misbehaves {
    ($($arg:tt)*) => { $crate::error::Error::Device(format!($($arg)*)) };
}
pub(crate) use misbehaves;
