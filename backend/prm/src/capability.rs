//! Capability groups.

use crate::field::Layout;
use crate::layouts;
use crate::names::open_enums;

open_enums! {
    /// Type of a capability group: bits 15 to 1 of `op_mod` of QUERY_HCA_CAP (`enum mlx5_cap_type` in device.h).
    CapType(u16, "capability group", "MLX5_CAP_") {
        GENERAL = 0x0, ETHERNET_OFFLOADS = 0x1, ODP = 0x2, ATOMIC = 0x3, ROCE = 0x4, IPOIB_OFFLOADS = 0x5,
        IPOIB_ENHANCED_OFFLOADS = 0x6, FLOW_TABLE = 0x7, ESWITCH_FLOW_TABLE = 0x8, ESWITCH = 0x9, QOS = 0xc,
        DEBUG = 0xd, DEV_MEM = 0xf, TLS = 0x11, VDPA_EMULATION = 0x13, DEV_EVENT = 0x14, IPSEC = 0x15, CRYPTO = 0x1a,
        SHAMPO = 0x1d, PSP = 0x1e, MACSEC = 0x1f, GENERAL_2 = 0x20, PORT_SELECTION = 0x25, ADV_VIRTUALIZATION = 0x26,
        ADV_RDMA = 0x28, TLP_EMULATION = 0x2a,
    }

    /// Which values of a capability: bit 0 of `op_mod` of QUERY_HCA_CAP (`enum mlx5_cap_mode` in device.h).
    CapMode(u16, "capability mode", "HCA_CAP_OPMOD_GET_") { MAX = 0, CUR = 1 }
}

impl CapType {
    /// Splits `op_mod` of QUERY_HCA_CAP into group and mode.
    pub const fn from_op_mod(op_mod: u16) -> (Self, CapMode) {
        (Self(op_mod >> 1), CapMode(op_mod & 1))
    }

    /// The layout of the group's 4 KiB, if it is one that the card knows.
    pub fn layout(self) -> Option<&'static Layout> {
        Some(match self {
            Self::GENERAL => &layouts::cmd_hca_cap::LAYOUT,
            Self::ETHERNET_OFFLOADS | Self::IPOIB_OFFLOADS | Self::IPOIB_ENHANCED_OFFLOADS => {
                &layouts::per_protocol_networking_offload_caps::LAYOUT
            }
            Self::ODP => &layouts::odp_cap::LAYOUT,
            Self::ATOMIC => &layouts::atomic_caps::LAYOUT,
            Self::ROCE => &layouts::roce_cap::LAYOUT,
            Self::FLOW_TABLE => &layouts::flow_table_nic_cap::LAYOUT,
            Self::ESWITCH_FLOW_TABLE => &layouts::flow_table_eswitch_cap::LAYOUT,
            Self::ESWITCH => &layouts::e_switch_cap::LAYOUT,
            Self::QOS => &layouts::qos_cap::LAYOUT,
            Self::DEBUG => &layouts::debug_cap::LAYOUT,
            Self::GENERAL_2 => &layouts::cmd_hca_cap_2::LAYOUT,
            Self::PORT_SELECTION => &layouts::port_selection_cap::LAYOUT,
            _ => return None,
        })
    }
}
