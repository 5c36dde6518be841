//! What comes of a packet: its copies, where they go, and what the tables changed about them.

use smallvec::SmallVec;

use super::types::{TableId, TableType};
use crate::key::Registers;
use crate::packet::{VlanTag, ethernet};

/// Tables that one packet visits at most, all copies together.
pub const MAX_HOPS: u32 = 64;
/// VLAN tags that tables can push on one packet. A packet with more is dropped.
pub const MAX_PUSHED: usize = 4;

/// What a packet may still cost. The caller keeps it across several evaluations of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Tables to visit.
    pub hops: u32,
    /// Verdicts to give.
    pub copies: u32,
}

impl Budget {
    /// [`MAX_HOPS`] tables and `copies` verdicts.
    pub const fn new(copies: u32) -> Self {
        Self { hops: MAX_HOPS, copies }
    }
}

/// Where a copy of the packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// On, as if there were no tables of this type.
    Allow,
    /// To a vport; 0xffff is the uplink.
    Vport {
        /// The vport.
        vport: u16,
        /// `destination_eswitch_owner_vhca_id`, if valid.
        vhca_id: Option<u16>,
    },
    /// To the wire.
    Uplink {
        /// `destination_eswitch_owner_vhca_id`, if valid.
        vhca_id: Option<u16>,
    },
    /// To a TIR.
    Tir(u32),
    /// To the receive side of the function with this vhca_id.
    VhcaRx(u16),
    /// To the root of another type.
    TableType(TableType),
    /// A table with `table_miss_action` SWITCH_DOMAIN missed: to the other domain's root.
    SwitchDomain,
}

/// How the VLAN tags of a packet changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VlanEdit {
    popped: u8,
    pushed: [VlanTag; MAX_PUSHED],
    pushed_count: u8,
}

impl VlanEdit {
    /// `tag` becomes the outermost one.
    pub fn pushing(tag: VlanTag) -> Self {
        let mut edit = Self::default();
        edit.push(tag);
        edit
    }

    /// The outermost tag goes; the frame has one.
    pub fn popping() -> Self {
        Self { popped: 1, ..Self::default() }
    }

    /// Number of the frame's own tags that are gone, outermost first.
    pub fn popped(&self) -> usize {
        usize::from(self.popped)
    }

    /// The new tags, innermost first.
    pub fn pushed(&self) -> &[VlanTag] {
        self.pushed.get(..usize::from(self.pushed_count)).unwrap_or(&[])
    }

    /// Whether the frame goes on as it is.
    pub fn is_none(&self) -> bool {
        self.popped == 0 && self.pushed_count == 0
    }

    /// The frame's new beginning (addresses and new tags; the bytes, and how many), and the offset in the frame where the
    /// rest continues.
    pub fn head(&self, frame: &[u8]) -> ([u8; ethernet::ADDRESSES + MAX_PUSHED * ethernet::VLAN_LEN], usize, usize) {
        let mut head = [0; ethernet::ADDRESSES + MAX_PUSHED * ethernet::VLAN_LEN];
        if let (Some(to), Some(from)) = (head.get_mut(..ethernet::ADDRESSES), frame.get(..ethernet::ADDRESSES)) {
            to.copy_from_slice(from);
        }
        let mut len = ethernet::ADDRESSES;
        for tag in self.pushed().iter().rev() {
            if let Some(to) = head.get_mut(len..len + ethernet::VLAN_LEN) {
                to.copy_from_slice(&tag.to_bytes());
            }
            len += ethernet::VLAN_LEN;
        }
        (head, len, (ethernet::ADDRESSES + self.popped() * ethernet::VLAN_LEN).min(frame.len()))
    }

    /// The edited frame in `out`, which is emptied first.
    pub fn apply(&self, frame: &[u8], out: &mut Vec<u8>) {
        let (head, len, rest) = self.head(frame);
        out.clear();
        out.extend_from_slice(head.get(..len).unwrap_or(&[]));
        out.extend_from_slice(frame.get(rest..).unwrap_or(&[]));
    }

    /// The packet's tags now, outermost first.
    pub(super) fn tags(&self, own: &[VlanTag]) -> SmallVec<[VlanTag; MAX_PUSHED + 2]> {
        let left = own.get(self.popped()..).unwrap_or(&[]);
        self.pushed().iter().rev().chain(left).copied().collect()
    }

    /// Removes the outermost tag, of `own` if none was pushed. A packet without tags stays as it is.
    pub(super) fn pop(&mut self, own: usize) {
        if self.pushed_count > 0 {
            self.pushed_count -= 1;
        } else if self.popped() < own {
            self.popped += 1;
        }
    }

    /// Adds a tag outside the others; false if there is no room.
    pub(super) fn push(&mut self, tag: VlanTag) -> bool {
        match self.pushed.get_mut(usize::from(self.pushed_count)) {
            Some(slot) => {
                *slot = tag;
                self.pushed_count += 1;
                true
            }
            None => false,
        }
    }
}

/// One copy of the packet that leaves the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Where it goes.
    pub target: Target,
    /// The flow tag: the last one set that is not zero.
    pub flow_tag: u32,
    /// The metadata registers.
    pub regs: Registers,
    /// How its VLAN tags changed.
    pub vlan: VlanEdit,
}

/// The copies of a packet. Up to four need no allocation.
pub type Verdicts = SmallVec<[Verdict; 4]>;

/// What else happened on the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// There is no root: nothing was done, the caller decides.
    pub no_root: bool,
    /// Copies that an entry dropped.
    pub dropped: u32,
    /// Copies that no entry wanted, dropped by default.
    pub missed: u32,
    /// The budget was used up: copies are missing.
    pub over_budget: bool,
    /// The table where the last copy was dropped, by an entry or by a miss.
    pub ended_in: Option<TableId>,
}
