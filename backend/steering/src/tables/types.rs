//! What steering commands are about: identifiers, table types, actions, destinations, limits.

use smallvec::SmallVec;

use super::error::Error;
use crate::key::{MatchCriteria, MatchParam};
use crate::packet::VlanTag;

macro_rules! ids {
    ($( $(#[$doc:meta])* $name:ident; )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
    )* };
}

ids! {
    /// `table_id`: 1 to 2^24 - 1.
    TableId;
    /// `group_id`: 1 to 2^24 - 1.
    GroupId;
    /// `flow_counter_id`: 1 to 2^32 - 1.
    CounterId;
    /// `modify_header_id`: 1 to 2^32 - 1.
    ModifyHeaderId;
}

/// `table_type` (`enum fs_flow_table_type` in the kernel's `fs_core.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the kernel's")]
pub enum TableType {
    NicRx = 0x0,
    NicTx = 0x1,
    EswEgressAcl = 0x2,
    EswIngressAcl = 0x3,
    Fdb = 0x4,
    SnifferRx = 0x5,
    SnifferTx = 0x6,
    RdmaRx = 0x7,
    RdmaTx = 0x8,
    PortSel = 0x9,
    FdbRx = 0xa,
    FdbTx = 0xb,
    RdmaTransportRx = 0xd,
    RdmaTransportTx = 0xe,
}

impl TableType {
    /// All types.
    pub const ALL: [Self; 14] = [
        Self::NicRx,
        Self::NicTx,
        Self::EswEgressAcl,
        Self::EswIngressAcl,
        Self::Fdb,
        Self::SnifferRx,
        Self::SnifferTx,
        Self::RdmaRx,
        Self::RdmaTx,
        Self::PortSel,
        Self::FdbRx,
        Self::FdbTx,
        Self::RdmaTransportRx,
        Self::RdmaTransportTx,
    ];

    /// The type with this number.
    pub fn from_raw(raw: u8) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|t| *t as u8 == raw).ok_or(Error::UnknownTableType(raw))
    }

    /// What becomes of a packet that misses in a table with the default miss action.
    ///
    /// Tables on the way of a transmitted packet and access lists only add to what happens without them; where a table
    /// is what finds the receiver (NIC_RX, FDB), nobody receives what it misses.
    pub fn default_miss(self) -> DefaultMiss {
        match self {
            Self::NicRx | Self::Fdb | Self::FdbRx | Self::FdbTx | Self::SnifferRx | Self::SnifferTx | Self::PortSel => {
                DefaultMiss::Drop
            }
            Self::NicTx
            | Self::EswEgressAcl
            | Self::EswIngressAcl
            | Self::RdmaRx
            | Self::RdmaTx
            | Self::RdmaTransportRx
            | Self::RdmaTransportTx => DefaultMiss::Allow,
        }
    }
}

/// See [`TableType::default_miss`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultMiss {
    /// The packet is dropped.
    Drop,
    /// The packet goes on as if there were no tables of this type.
    Allow,
}

/// Where a set of tables hangs: a type, and the vport that it acts for (`vport_number` with `other_vport`, else the
/// function's own). Each has at most one root; jumps and misses stay inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    /// `table_type`.
    pub table_type: TableType,
    /// The vport.
    pub vport: u16,
}

impl Namespace {
    /// The tables of `table_type` that act for `vport`.
    pub const fn new(table_type: TableType, vport: u16) -> Self {
        Self { table_type, vport }
    }
}

/// `table_miss_action` (`MLX5_FLOW_TABLE_MISS_ACTION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Miss {
    /// 0: the type's default, see [`TableType::default_miss`].
    #[default]
    Default,
    /// 1: on to `table_miss_id`.
    Table(TableId),
    /// 2: on to the other domain's tables (RDMA_RX to NIC_RX); the caller knows them.
    SwitchDomain,
}

/// CREATE_FLOW_TABLE: `flow_table_context`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    /// Where the table belongs.
    pub namespace: Namespace,
    /// `level`: a jump must go to a higher one.
    pub level: u8,
    /// `log_size`: the table has 2^log_size indexes. It is sparse: only entries cost memory.
    pub log_size: u8,
    /// `table_miss_action` and `table_miss_id`.
    pub miss: Miss,
    /// `reformat_en`, kept for QUERY_FLOW_TABLE.
    pub reformat_en: bool,
    /// `decap_en`, kept for QUERY_FLOW_TABLE.
    pub decap_en: bool,
    /// `termination_table`, kept for QUERY_FLOW_TABLE.
    pub termination_table: bool,
}

impl TableSpec {
    /// A table of `namespace` at `level` with 2^`log_size` indexes, the default miss action and no flags.
    pub const fn new(namespace: Namespace, level: u8, log_size: u8) -> Self {
        Self {
            namespace,
            level,
            log_size,
            miss: Miss::Default,
            reformat_en: false,
            decap_en: false,
            termination_table: false,
        }
    }
}

/// CREATE_FLOW_GROUP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    /// `start_flow_index`.
    pub start: u32,
    /// `end_flow_index`, itself part of the group.
    pub end: u32,
    /// `match_criteria_enable`.
    pub criteria: MatchCriteria,
    /// `match_criteria`.
    pub mask: MatchParam,
}

/// `action` of a flow context (`MLX5_FLOW_CONTEXT_ACTION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(pub u32);

impl Actions {
    /// The packet leaves the tables as if there were none.
    pub const ALLOW: u32 = 0x1;
    /// The packet is dropped.
    pub const DROP: u32 = 0x2;
    /// The packet goes to every destination of the list.
    pub const FWD_DEST: u32 = 0x4;
    /// The packet is counted by every counter of the list.
    pub const COUNT: u32 = 0x8;
    /// Not supported.
    pub const PACKET_REFORMAT: u32 = 0x10;
    /// Not supported.
    pub const DECAP: u32 = 0x20;
    /// The modify-header object is applied.
    pub const MOD_HDR: u32 = 0x40;
    /// The outermost VLAN tag is removed.
    pub const VLAN_POP: u32 = 0x80;
    /// `push_vlan` becomes the outermost tag.
    pub const VLAN_PUSH: u32 = 0x100;
    /// A second VLAN tag is removed.
    pub const VLAN_POP_2: u32 = 0x400;
    /// `push_vlan_2` becomes the outermost tag, outside `push_vlan`.
    pub const VLAN_PUSH_2: u32 = 0x800;

    /// All that this card does.
    pub const SUPPORTED: u32 = Self::ALLOW
        | Self::DROP
        | Self::FWD_DEST
        | Self::COUNT
        | Self::MOD_HDR
        | Self::VLAN_POP
        | Self::VLAN_PUSH
        | Self::VLAN_POP_2
        | Self::VLAN_PUSH_2;

    /// Those that change a packet's VLAN tags.
    pub(super) const VLAN: u32 = Self::VLAN_POP | Self::VLAN_PUSH | Self::VLAN_POP_2 | Self::VLAN_PUSH_2;

    /// Whether a bit, or any of several, is set.
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// One of an entry's destinations, `dest_format_struct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A vport; 0xffff is the uplink. `vhca_id` is that of its e-switch manager, if
    /// `destination_eswitch_owner_vhca_id_valid`.
    Vport {
        /// The vport.
        vport: u16,
        /// `destination_eswitch_owner_vhca_id`.
        vhca_id: Option<u16>,
    },
    /// Another table of the same namespace, of a higher level.
    Table(TableId),
    /// A TIR; whether it exists is the caller's to check.
    Tir(u32),
    /// A function's receive side, by vhca_id.
    VhcaRx(u16),
    /// The wire.
    Uplink {
        /// `destination_eswitch_owner_vhca_id`.
        vhca_id: Option<u16>,
    },
    /// The root of another type, of the same vport (`destination_table_type`).
    TableType(TableType),
}

impl Destination {
    /// `destination_type` VPORT (`MLX5_IFC_FLOW_DESTINATION_TYPE_*`).
    pub const VPORT: u8 = 0x0;
    /// `destination_type` FLOW_TABLE.
    pub const FLOW_TABLE: u8 = 0x1;
    /// `destination_type` TIR.
    pub const TIR: u8 = 0x2;
    /// `destination_type` VHCA_RX.
    pub const VHCA_RX: u8 = 0x4;
    /// `destination_type` UPLINK.
    pub const UPLINK: u8 = 0x8;
    /// `destination_type` TABLE_TYPE.
    pub const TABLE_TYPE: u8 = 0xa;

    /// Checks a destination of a command.
    ///
    /// # Errors
    /// A type that is unknown or not supported (FLOW_SAMPLER), an id that does not fit, an unknown table type, a packet
    /// reformat.
    pub fn from_raw(raw: &RawDestination) -> Result<Self, Error> {
        let unsupported = Error::UnsupportedDestination(raw.destination_type);
        let id16 = u16::try_from(raw.destination_id).map_err(|_| unsupported);
        if raw.packet_reformat {
            return Err(Error::DestinationReformat);
        }
        Ok(match raw.destination_type {
            Self::VPORT => Self::Vport { vport: id16?, vhca_id: raw.vhca_id },
            Self::FLOW_TABLE => Self::Table(TableId(raw.destination_id)),
            Self::TIR => Self::Tir(raw.destination_id),
            Self::VHCA_RX => Self::VhcaRx(id16?),
            Self::UPLINK => Self::Uplink { vhca_id: raw.vhca_id },
            Self::TABLE_TYPE => Self::TableType(TableType::from_raw(raw.table_type)?),
            _ => return Err(unsupported),
        })
    }
}

/// The fields of a `dest_format_struct`, as read from the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawDestination {
    /// `destination_type`.
    pub destination_type: u8,
    /// `destination_id`, 24 bits.
    pub destination_id: u32,
    /// `destination_eswitch_owner_vhca_id`, if `destination_eswitch_owner_vhca_id_valid`.
    pub vhca_id: Option<u16>,
    /// `destination_table_type`.
    pub table_type: u8,
    /// `packet_reformat`.
    pub packet_reformat: bool,
}

/// A destination list. One destination is the usual case.
pub type Destinations = SmallVec<[Destination; 1]>;
/// A counter list. At most one counter is the usual case.
pub type CounterIds = SmallVec<[CounterId; 1]>;

/// SET_FTE: `flow_context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowContext {
    /// `group_id`.
    pub group: GroupId,
    /// `flow_tag`, 24 bits; 0 leaves the tag that an earlier table set.
    pub flow_tag: u32,
    /// `action`.
    pub action: Actions,
    /// `match_value`; bits outside the group's mask do not count.
    pub value: MatchParam,
    /// The destination list, with FWD_DEST.
    pub destinations: Destinations,
    /// The counter list, with COUNT.
    pub counters: CounterIds,
    /// `modify_header_id`, with MOD_HDR.
    pub modify_header: ModifyHeaderId,
    /// `push_vlan`, with VLAN_PUSH.
    pub push_vlan: VlanTag,
    /// `push_vlan_2`, with VLAN_PUSH_2.
    pub push_vlan_2: VlanTag,
}

impl FlowContext {
    /// An entry of `group` for packets that look like `value`, with `action` and nothing else.
    pub fn new(group: GroupId, value: MatchParam, action: u32) -> Self {
        Self {
            group,
            flow_tag: 0,
            action: Actions(action),
            value,
            destinations: Destinations::new(),
            counters: CounterIds::new(),
            modify_header: ModifyHeaderId(0),
            push_vlan: VlanTag::default(),
            push_vlan_2: VlanTag::default(),
        }
    }

    /// An entry that forwards to `destinations`.
    pub fn forward(group: GroupId, value: MatchParam, destinations: &[Destination]) -> Self {
        Self { destinations: Destinations::from_slice(destinations), ..Self::new(group, value, Actions::FWD_DEST) }
    }
}

/// `modify_enable_mask` of SET_FTE with `op_mod` 1 (`MLX5_SET_FTE_MODIFY_ENABLE_MASK_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModifyMask(pub u8);

impl ModifyMask {
    /// `action`, with the modify header and the VLAN tags that belong to it.
    pub const ACTION: u8 = 1 << 0;
    /// `flow_tag`.
    pub const FLOW_TAG: u8 = 1 << 1;
    /// The destination list.
    pub const DESTINATION_LIST: u8 = 1 << 2;
    /// The counter list.
    pub const FLOW_COUNTERS: u8 = 1 << 3;

    pub(crate) const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// Quotas of one [`Steering`](super::Steering). Every one bounds memory that a guest can make the card use, or work that a
/// packet can cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Flow tables.
    pub tables: usize,
    /// Flow groups in all tables.
    pub groups: usize,
    /// Different masks in one table: each is a hash probe for every packet that passes it.
    pub masks_per_table: usize,
    /// Flow entries in all tables.
    pub entries: usize,
    /// Destinations in all entries.
    pub destinations: usize,
    /// Destinations of one entry (`log_max_destination`).
    pub destinations_per_entry: usize,
    /// Counters of one entry.
    pub counters_per_entry: usize,
    /// Flow counters, those of bulks included.
    pub counters: usize,
    /// Modify-header objects.
    pub modify_headers: usize,
    /// Actions of one modify-header object (`max_modify_header_actions`).
    pub modify_actions: usize,
    /// `log_max_ft_size`.
    pub log_table_size: u8,
    /// `max_ft_level`.
    pub level: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tables: 4096,
            groups: 1 << 16,
            masks_per_table: 256,
            entries: 4 << 20,
            destinations: 8 << 20,
            destinations_per_entry: 1024,
            counters_per_entry: 4,
            counters: 1 << 20,
            modify_headers: 1 << 16,
            modify_actions: 16,
            log_table_size: 24,
            level: 128,
        }
    }
}
