//! Why a command is refused, and what it may wait for.

use std::borrow::Cow;

use mlx5emu_prm::opcode::Status;

/// What a handler answers when it does not answer "done".
#[derive(Debug)]
pub enum Stop {
    /// The command failed: outbox status, syndrome, and what the driver did wrong, for the log.
    Refused(Refusal),
    /// The command is parked until this comes about, then its handler runs again.
    Wait(Wait),
}

/// A failed command.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Outbox status.
    pub status: Status,
    /// Outbox syndrome: see [`Syndrome`].
    pub syndrome: Syndrome,
    /// What was wrong, for the log.
    pub why: Cow<'static, str>,
}

/// What a parked command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The time, in nanoseconds of the card's clock.
    Until(u64),
    /// The release of the fault rule with this number.
    Hold(u32),
    /// Pages, from the PF: until this time at the latest.
    Pages(u64),
}

impl Wait {
    /// When it is over at the latest, if that is known.
    pub fn deadline(self) -> Option<u64> {
        match self {
            Self::Until(at) | Self::Pages(at) => Some(at),
            Self::Hold(_) => None,
        }
    }
}

/// The outcome of a handler.
pub type Done = Result<(), Stop>;

macro_rules! syndromes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// The syndromes of this card's firmware. A real card's are not published; these are grouped by what they are
        /// about (0x1xxx the interface, 0x2xxx pages, 0x3xxx objects, 0x4xxx flow steering, 0x5xxx ports and vports).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Syndrome {
            $($(#[$doc])* $name = $value,)*
        }

        impl Syndrome {
            /// Every syndrome.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name, as the documentation has it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

syndromes! {
    /// No such opcode in this firmware.
    UnknownOpcode = 0x1001,
    /// The opcode is known, this op_mod is not.
    UnknownOpMod = 0x1002,
    /// The input is shorter than the command's fixed part.
    ShortInput = 0x1003,
    /// The output buffer is shorter than the command's fixed part.
    ShortOutput = 0x1004,
    /// The command is not allowed before ENABLE_HCA, before INIT_HCA or after TEARDOWN_HCA, or twice.
    WrongHcaState = 0x1005,
    /// The function named in the command does not exist, or may not be named by this function.
    WrongFunction = 0x1006,
    /// A field that must be zero, or within a range, is not.
    BadField = 0x1007,
    /// A capability is set that is not supported, or above its maximum.
    BadCapability = 0x1008,
    /// The register is not known or not for this function.
    UnknownRegister = 0x1009,
    /// A fault rule says that the command fails.
    Injected = 0x10fe,
    /// The firmware's own mistake.
    Internal = 0x10ff,
    /// The firmware was not given the pages that it asked for.
    PagesMissing = 0x2001,
    /// A page given twice, misaligned, or at address 0.
    BadPage = 0x2002,
    /// More pages than the firmware takes.
    TooManyPages = 0x2003,
    /// The id in QUERY_PAGES or MANAGE_PAGES names no function in the mode that `icm_mng_function_id_mode` chose.
    WrongPageId = 0x2004,
    /// The object named does not exist.
    NoSuchObject = 0x3001,
    /// The object is used by another one.
    ObjectInUse = 0x3002,
    /// No number is left for another object of this type.
    NoMoreObjects = 0x3003,
    /// A queue's geometry (size, page size, offset, number of pages) does not fit together.
    BadGeometry = 0x3004,
    /// The object is not in the state that the command names.
    WrongObjectState = 0x3005,
    /// The table, group or entry is refused: the detail is in the log.
    BadSteering = 0x4001,
    /// Not possible with this table type.
    BadTableType = 0x4002,
    /// The vport named does not exist, or may not be named by this function.
    WrongVport = 0x5001,
    /// The port named does not exist.
    WrongPort = 0x5002,
    /// An MTU outside the port's range.
    BadMtu = 0x5003,
}

/// Refuses with `status` and `syndrome`.
pub fn refuse<T>(status: Status, syndrome: Syndrome, why: impl Into<Cow<'static, str>>) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal { status, syndrome, why: why.into() }))
}

/// BAD_PARAM.
pub fn bad_param<T>(syndrome: Syndrome, why: impl Into<Cow<'static, str>>) -> Result<T, Stop> {
    refuse(Status::BAD_PARAM, syndrome, why)
}

/// BAD_RESOURCE: the object named does not exist.
pub fn no_such<T>(kind: &str, number: u32) -> Result<T, Stop> {
    refuse(Status::BAD_RESOURCE, Syndrome::NoSuchObject, format!("{kind} {number:#x} does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syndromes_are_distinct() {
        let mut values: Vec<u32> = Syndrome::ALL.iter().map(|s| *s as u32).collect();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), Syndrome::ALL.len());
    }
}
