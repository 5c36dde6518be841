//! The e-switch of a port: its vports, who manages them, and the way of a frame between them.
//!
//! Vport 0 is the PF, n is VF n - 1, 0x8000 + n is SF n, and 0xffff is the wire. If an embedded CPU manages the e-switch, its PF
//! (the ECPF) is vport 0xfffe, and 0 to n are the PF and VFs of the host ([`host`]). 0x4000 + n are functions of others, if an
//! e-switch may have some ([`adjacent`]). The PF manages: its commands may name another
//! vport or function ([`manager`]), its FDB and ACLs decide where frames go ([`switch`]). What a vport is told by its PF
//! outlives the resets of its function and is kept here; what its own driver sets is the vport's ([`vport`]).

pub mod adjacent;
pub mod context;
pub mod host;
mod inspect;
pub mod l2;
pub mod manager;
pub(crate) mod scheduling;
pub mod sub_functions;
pub mod switch;
pub mod vport;

use std::collections::BTreeMap;

use mlx5emu_prm::layouts::esw_vport_context;

use l2::L2Entry;
use scheduling::Scheduling;
use sub_functions::Vhca;

/// The PF; a host's, if an embedded CPU manages the e-switch.
pub const PF_VPORT: u16 = 0;
/// The PF of an embedded CPU (`MLX5_VPORT_ECPF` in `include/linux/mlx5/vport.h`).
pub const ECPF_VPORT: u16 = 0xfffe;
/// The first vport of a function of another PF. The number is this firmware's own: the driver is told it.
pub const ADJACENT_BASE: u16 = 0x4000;
/// The first SF (`sf_base_id`). The number is this firmware's own: above all VFs, below those that mean something
/// (`MLX5_VPORT_ECPF` and up in the kernel's `include/linux/mlx5/vport.h`).
pub const SF_BASE_ID: u16 = 0x8000;
/// The wire.
pub const UPLINK: u16 = 0xffff;

/// `admin_state` of a vport (`MLX5_VPORT_ADMIN_STATE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum AdminState {
    /// Always down.
    Down = 0,
    /// Always up: vports reach each other even without a wire.
    Up = 1,
    /// As the port's link is.
    #[default]
    Auto = 2,
}

/// What a PF says of a vport.
#[derive(Debug)]
pub struct VportAdmin {
    /// ENABLE_HCA by the PF: the function may be used. Of an adjacent function: its vport is connected.
    pub enabled: bool,
    /// Its link.
    pub state: AdminState,
    /// Its permanent address, if the PF gave it one.
    pub mac: Option<[u8; 6]>,
    /// Its node GUID, if the PF gave it one.
    pub node_guid: Option<u64>,
    /// Changes of its context that the PF wants to be told of, once.
    pub armed: ContextChange,
    /// Its state.
    pub vhca: Vhca,
    /// Its e-switch context.
    pub context: Box<[u8; esw_vport_context::SIZE]>,
}

impl Default for VportAdmin {
    fn default() -> Self {
        Self {
            enabled: false,
            state: AdminState::default(),
            mac: None,
            node_guid: None,
            armed: ContextChange::default(),
            vhca: Vhca::default(),
            context: Box::new([0; esw_vport_context::SIZE]),
        }
    }
}

/// Parts of a vport's NIC context that change (`event_on_*` of `nic_vport_context`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContextChange {
    /// Its unicast list or permanent address.
    pub unicast: bool,
    /// Its multicast list.
    pub multicast: bool,
    /// Its promiscuous bits.
    pub promisc: bool,
}

impl ContextChange {
    /// Everything.
    pub(crate) const ALL: Self = Self { unicast: true, multicast: true, promisc: true };

    /// Whether both have something in common.
    fn meets(self, other: Self) -> bool {
        self.unicast && other.unicast || self.multicast && other.multicast || self.promisc && other.promisc
    }
}

/// What the PF of a port keeps of its e-switch.
#[derive(Default)]
pub struct Eswitch {
    /// By vport; those of whom nothing was said are absent.
    pub vports: BTreeMap<u16, VportAdmin>,
    /// The L2 table (MPFS): which addresses the wire's side lets in.
    pub l2: BTreeMap<u32, L2Entry>,
    /// Rates and shares of its vports.
    pub(crate) scheduling: Scheduling,
}

impl Eswitch {
    /// What is said of `vport`, to change it.
    pub(crate) fn vport_mut(&mut self, vport: u16) -> &mut VportAdmin {
        self.vports.entry(vport).or_default()
    }
}
