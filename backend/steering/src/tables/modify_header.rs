//! Modify-header objects: ordered lists of set, add and copy actions (`set_add_copy_action_in_auto`).
//!
//! The metadata registers can be changed. Fields of the frame cannot yet: such an action is refused when the object is made,
//! never ignored.

use smallvec::SmallVec;

use super::error::Error;
use super::types::TableType;
use crate::key::Registers;

/// `action_type` (`MLX5_ACTION_TYPE_*`).
mod action_type {
    pub(super) const SET: u8 = 1;
    pub(super) const ADD: u8 = 2;
    pub(super) const COPY: u8 = 3;
}

/// `field` of an action (`MLX5_ACTION_IN_FIELD_METADATA_REG_*`).
mod field {
    pub(super) const REG_A: u16 = 0x49;
    pub(super) const REG_B: u16 = 0x50;
    pub(super) const REG_C_0: u16 = 0x51;
    pub(super) const REG_C_7: u16 = 0x58;
}

/// A register that an action names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// `metadata_reg_a`.
    A,
    /// `metadata_reg_b`.
    B,
    /// `metadata_reg_c_0` to `metadata_reg_c_7`.
    C(u8),
}

impl Register {
    /// The register with this `field` number; `None` for a field of the frame.
    pub fn from_field(number: u16) -> Option<Self> {
        match number {
            field::REG_A => Some(Self::A),
            field::REG_B => Some(Self::B),
            field::REG_C_0..=field::REG_C_7 => Some(Self::C((number - field::REG_C_0) as u8)),
            _ => None,
        }
    }

    fn get(self, regs: &Registers) -> u32 {
        match self {
            Self::A => regs.a,
            Self::B => regs.b,
            Self::C(n) => regs.c.get(usize::from(n)).copied().unwrap_or(0),
        }
    }

    fn get_mut(self, regs: &mut Registers) -> &mut u32 {
        match self {
            Self::A => &mut regs.a,
            Self::B => &mut regs.b,
            // `from_field` makes no others; should there be one all the same, it is the last.
            Self::C(n) => &mut regs.c[usize::from(n.min(7))],
        }
    }
}

/// The fields of one 8-byte action, as read from the command; not all mean something for each type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawModifyAction {
    /// `action_type`: 1 set, 2 add, 3 copy.
    pub action_type: u8,
    /// `field`, or `src_field` of a copy.
    pub field: u16,
    /// `offset`, or `src_offset` of a copy: of the lowest bit.
    pub offset: u8,
    /// `length` in bits; 0 means 32.
    pub length: u8,
    /// `data` of set and add.
    pub data: u32,
    /// `dst_field` of a copy.
    pub dst_field: u16,
    /// `dst_offset` of a copy.
    pub dst_offset: u8,
}

/// One checked action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModifyAction {
    /// Bits `offset .. offset + length` of the register become the low bits of `data`.
    Set {
        /// The register.
        register: Register,
        /// Its lowest bit.
        offset: u8,
        /// Number of bits, 1 to 32.
        length: u8,
        /// The value.
        data: u32,
    },
    /// `data` is added to the register, modulo 2^32.
    Add {
        /// The register.
        register: Register,
        /// The summand.
        data: u32,
    },
    /// `length` bits are copied.
    Copy {
        /// From this register.
        src: Register,
        /// Lowest bit there.
        src_offset: u8,
        /// To this register.
        dst: Register,
        /// Lowest bit there.
        dst_offset: u8,
        /// Number of bits, 1 to 32.
        length: u8,
    },
}

fn low_bits(length: u8) -> u32 {
    u32::MAX >> (32 - u32::from(length.clamp(1, 32)))
}

fn deposit(into: &mut u32, offset: u8, length: u8, value: u32) {
    let mask = low_bits(length) << offset;
    *into = (*into & !mask) | ((value << offset) & mask);
}

impl ModifyAction {
    /// Checks an action of a command. `index` is its position, for the error.
    pub fn from_raw(index: usize, raw: &RawModifyAction) -> Result<Self, Error> {
        let bad = |what| Error::BadModifyAction { index, what };
        let register = |number| {
            Register::from_field(number).ok_or(bad("only the metadata registers can be modified, not frame fields"))
        };
        let length = if raw.length == 0 { 32 } else { raw.length };
        let in_range = |offset: u8| {
            if offset.saturating_add(length) <= 32 {
                Ok(offset)
            } else {
                Err(bad("offset and length exceed the field"))
            }
        };
        match raw.action_type {
            action_type::SET => {
                Ok(Self::Set { register: register(raw.field)?, offset: in_range(raw.offset)?, length, data: raw.data })
            }
            action_type::ADD => Ok(Self::Add { register: register(raw.field)?, data: raw.data }),
            action_type::COPY => Ok(Self::Copy {
                src: register(raw.field)?,
                src_offset: in_range(raw.offset)?,
                dst: register(raw.dst_field)?,
                dst_offset: in_range(raw.dst_offset)?,
                length,
            }),
            _ => Err(bad("the action type is none of set, add and copy")),
        }
    }

    fn apply(&self, regs: &mut Registers) {
        match *self {
            Self::Set { register, offset, length, data } => deposit(register.get_mut(regs), offset, length, data),
            Self::Add { register, data } => {
                let value = register.get_mut(regs);
                *value = value.wrapping_add(data);
            }
            Self::Copy { src, src_offset, dst, dst_offset, length } => {
                let value = src.get(regs) >> src_offset;
                deposit(dst.get_mut(regs), dst_offset, length, value);
            }
        }
    }
}

/// A modify-header object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyHeader {
    /// The type of table whose entries may use it.
    pub table_type: TableType,
    /// The actions, in the order in which they apply.
    pub actions: SmallVec<[ModifyAction; 2]>,
}

impl ModifyHeader {
    /// Applies all actions, in order.
    pub fn apply(&self, regs: &mut Registers) {
        for action in &self.actions {
            action.apply(regs);
        }
    }
}
