//! Frames that a function sends to itself: they never see the wire.
//!
//! Three have a say. The frame's address decides whether the vport would receive it at all; the vport's context may switch
//! local loopback off (`disable_uc_local_lb`, `disable_mc_local_lb`); and a TIR takes frames of its own transport domain
//! only if it says so. The field is called `self_lb_block` in `mlx5_ifc.h` and its bits `BLOCK_*`, but drivers set them to
//! get such frames, as the name of the mask in MODIFY_TIR (`self_lb_en`) has it.

use mlx5emu_prm::layouts::{nic_vport_context, tirc};
use mlx5emu_prm::states::SelfLbBlock;
use mlx5emu_steering::key::Registers;

use super::objects::Tir;
use crate::eswitch::vport::NicVport;

/// Where a frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The wire.
    Wire,
    /// Another vport of the e-switch.
    Vport(u16),
    /// A send queue of this very function, and its transport domain.
    Own(Option<u32>),
}

/// What is known of a frame that comes to a function, and is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Where it comes from.
    pub source: Source,
    /// The metadata registers that the e-switch lets through to the function's receive tables.
    pub regs: Registers,
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        Self { source, regs: Registers::default() }
    }
}

/// The queue that sends a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sender {
    /// Its number; 0 for what comes from the wire.
    pub sqn: u32,
    /// The transport domain of its TIS.
    pub domain: Option<u32>,
}

/// Where a frame that a function sends goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the wire.
    Out,
    /// Back to the function, and not to the wire.
    Back,
    /// Both.
    OutAndBack,
}

pub(super) fn is_multicast(frame: &[u8]) -> bool {
    frame.first().is_some_and(|b| b & 1 == 1)
}

impl NicVport {
    /// Where a frame that this vport sends goes.
    pub(crate) fn way_of(&self, frame: &[u8]) -> Way {
        let Some(address) = frame.first_chunk::<6>() else { return Way::Out };
        if is_multicast(frame) {
            let off = nic_vport_context::disable_mc_local_lb.is_set(self.context());
            if off || !self.listens_to(*address) { Way::Out } else { Way::OutAndBack }
        } else {
            let off = nic_vport_context::disable_uc_local_lb.is_set(self.context());
            if off || !self.has_address(*address) { Way::Out } else { Way::Back }
        }
    }
}

impl Tir {
    /// Whether the TIR takes a frame from `source`.
    pub(crate) fn takes(&self, source: Source, multicast: bool) -> bool {
        let bit = if multicast { SelfLbBlock::BLOCK_MULTICAST } else { SelfLbBlock::BLOCK_UNICAST };
        match source {
            Source::Own(Some(domain)) if domain == self.domain() => {
                tirc::self_lb_block.get(self.context()) & u64::from(bit.0) != 0
            }
            _ => true,
        }
    }
}
