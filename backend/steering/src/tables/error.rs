//! Why a steering command is refused, and the status that the firmware gives for it.

use super::types::{CounterId, GroupId, ModifyHeaderId, TableId, TableType};

/// The status of a command's output that an error maps to. Named as in the PRM's table of command status codes
/// (`MLX5_CMD_STAT_*` in `include/linux/mlx5/device.h`); the numbers are `prm`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `BAD_PARAM`: a field has a value that it cannot have.
    BadParam,
    /// `BAD_RES`: no such object.
    BadResource,
    /// `RES_BUSY`: the object is used by another one.
    ResourceBusy,
    /// `LIM_ERR`: a limit or quota is exceeded.
    ExceedLimit,
    /// `BAD_RES_STATE`: the object's state does not allow the operation.
    BadResourceState,
    /// `IX_ERR`: an index is out of range.
    BadIndex,
    /// `NO_RES`: no object of this kind is left.
    NoResources,
}

/// A refused steering command. The text says what the driver did wrong; [`Error::status`] is the answer that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such flow table, or it is of another type or vport.
    #[error("there is no flow table {0:?} of this type and vport")]
    NoTable(TableId),
    /// No such flow group in this table.
    #[error("there is no flow group {0:?} in this table")]
    NoGroup(GroupId),
    /// No entry at this index.
    #[error("there is no flow entry at index {0:#x}")]
    NoEntry(u32),
    /// No such flow counter.
    #[error("there is no flow counter {0:?}")]
    NoCounter(CounterId),
    /// No such modify-header object.
    #[error("there is no modify header {0:?}")]
    NoModifyHeader(ModifyHeaderId),
    /// An unknown table type.
    #[error("flow table type {0:#x} does not exist")]
    UnknownTableType(u8),
    /// A table larger than the limit.
    #[error("log_size {log_size} is above {max}")]
    TableTooLarge {
        /// The size that was asked for.
        log_size: u8,
        /// The limit.
        max: u8,
    },
    /// A level above the limit.
    #[error("level {level} is above {max}")]
    LevelTooHigh {
        /// The level that was asked for.
        level: u8,
        /// The limit.
        max: u8,
    },
    /// A table that misses to itself.
    #[error("a flow table cannot miss to itself")]
    MissToSelf,
    /// A group whose first index is above its last.
    #[error("flow group from {start:#x} to {end:#x}: the end is before the start")]
    GroupReversed {
        /// First index.
        start: u32,
        /// Last index.
        end: u32,
    },
    /// A group, or an entry's index, outside its table.
    #[error("flow index {index:#x} is outside the table of {size:#x} entries")]
    OutsideTable {
        /// The index.
        index: u32,
        /// Number of entries of the table.
        size: u32,
    },
    /// An entry's index outside its group.
    #[error("flow index {index:#x} is outside its flow group")]
    OutsideGroup {
        /// The index.
        index: u32,
    },
    /// A group that shares indexes with another.
    #[error("the flow group overlaps the flow group that starts at {start:#x}")]
    GroupOverlap {
        /// First index of the other group.
        start: u32,
    },
    /// A mask that covers what this card does not match.
    #[error("the match criteria cover dword {dword} bits {bits:#x}, which this card does not match")]
    UnsupportedMatch {
        /// Dword of `fte_match_param`.
        dword: u16,
        /// The bits.
        bits: u32,
    },
    /// An entry at an index that has one.
    #[error("there is a flow entry at index {0:#x} already")]
    EntryExists(u32),
    /// Not exactly one of ALLOW, DROP and FWD_DEST.
    #[error("action {0:#x} does not have exactly one of ALLOW, DROP and FWD_DEST")]
    TerminalActions(u32),
    /// Action bits that this card does not have.
    #[error("action bits {0:#x} are not supported")]
    UnsupportedAction(u32),
    /// FWD_DEST without destinations, or destinations without FWD_DEST, or too many.
    #[error("{count} destinations with action {action:#x}")]
    DestinationCount {
        /// Length of the destination list.
        count: usize,
        /// The action bits.
        action: u32,
    },
    /// An unknown destination type.
    #[error("destination type {0:#x} is not supported")]
    UnsupportedDestination(u8),
    /// A destination with a packet reformat of its own.
    #[error("a destination with its own packet reformat is not supported")]
    DestinationReformat,
    /// A jump that does not raise the level.
    #[error("a forward from level {from} to flow table {table:?} of level {to} does not raise the level")]
    LevelNotRaised {
        /// Level of the entry's table.
        from: u8,
        /// The destination.
        table: TableId,
        /// Its level.
        to: u8,
    },
    /// A destination table of another type or vport.
    #[error("flow table {table:?} is of type {found:?}, not {expected:?}, or of another vport")]
    OtherNamespace {
        /// The table.
        table: TableId,
        /// Its type.
        found: TableType,
        /// The type that is needed.
        expected: TableType,
    },
    /// COUNT without counters, or counters without COUNT, or too many.
    #[error("{count} flow counters with action {action:#x}")]
    CounterCount {
        /// Length of the counter list.
        count: usize,
        /// The action bits.
        action: u32,
    },
    /// A VLAN push with a tag protocol that is none.
    #[error("ethertype {0:#06x} is not that of a VLAN tag")]
    NotVlan(u16),
    /// A modify-header action that is malformed.
    #[error("modify header action {index}: {what}")]
    BadModifyAction {
        /// Its position in the list.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A modify-header object of another table type.
    #[error("modify header {0:?} is for another type of flow table")]
    ModifyHeaderType(ModifyHeaderId),
    /// An object that others still use.
    #[error("{what} is in use by {users} {by}")]
    InUse {
        /// What it is.
        what: &'static str,
        /// How many use it.
        users: usize,
        /// What uses it.
        by: &'static str,
    },
    /// A quota is used up.
    #[error("no more {what}: the quota is {max}")]
    Quota {
        /// What there are too many of.
        what: &'static str,
        /// The quota.
        max: usize,
    },
    /// A list in one command is too long.
    #[error("{count} {what} in one command, at most {max}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
}

impl Error {
    /// The status of the command's output.
    pub fn status(&self) -> Status {
        match self {
            Self::NoTable(_) | Self::NoGroup(_) | Self::NoCounter(_) | Self::NoModifyHeader(_) => Status::BadResource,
            Self::NoEntry(_) | Self::OutsideTable { .. } | Self::OutsideGroup { .. } => Status::BadIndex,
            Self::EntryExists(_) => Status::BadResourceState,
            Self::InUse { .. } => Status::ResourceBusy,
            Self::Quota { .. } => Status::NoResources,
            Self::TooMany { .. } | Self::TableTooLarge { .. } | Self::LevelTooHigh { .. } => Status::ExceedLimit,
            Self::UnknownTableType(_)
            | Self::MissToSelf
            | Self::GroupReversed { .. }
            | Self::GroupOverlap { .. }
            | Self::UnsupportedMatch { .. }
            | Self::TerminalActions(_)
            | Self::UnsupportedAction(_)
            | Self::DestinationCount { .. }
            | Self::UnsupportedDestination(_)
            | Self::DestinationReformat
            | Self::LevelNotRaised { .. }
            | Self::OtherNamespace { .. }
            | Self::CounterCount { .. }
            | Self::NotVlan(_)
            | Self::BadModifyAction { .. }
            | Self::ModifyHeaderType(_) => Status::BadParam,
        }
    }
}
