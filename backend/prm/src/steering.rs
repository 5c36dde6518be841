//! Numbers of flow steering.

use crate::names::open_enums;

open_enums! {
    /// `table_type` of the flow table commands (`enum fs_flow_table_type` in fs.h).
    TableType(u8, "flow table type", "FS_FT_") {
        NIC_RX = 0x0, NIC_TX = 0x1, ESW_EGRESS_ACL = 0x2, ESW_INGRESS_ACL = 0x3, FDB = 0x4, SNIFFER_RX = 0x5,
        SNIFFER_TX = 0x6, RDMA_RX = 0x7, RDMA_TX = 0x8, PORT_SEL = 0x9, FDB_RX = 0xa, FDB_TX = 0xb,
        RDMA_TRANSPORT_RX = 0xd, RDMA_TRANSPORT_TX = 0xe,
    }

    /// `table_miss_action` (`MLX5_FLOW_TABLE_MISS_ACTION_*` in mlx5_ifc.h).
    MissAction(u8, "miss action", "MLX5_FLOW_TABLE_MISS_ACTION_") { DEF = 0, FWD = 1, SWITCH_DOMAIN = 2 }

    /// Bits of `modify_field_select` of MODIFY_FLOW_TABLE (`MLX5_MODIFY_FLOW_TABLE_*` in mlx5_ifc.h).
    ModifyFlowTable(u16, "flow table field", "MLX5_MODIFY_FLOW_TABLE_") {
        MISS_TABLE_ID = 0x1, LAG_NEXT_TABLE_ID = 0x8000,
    }

    /// Bits of `match_criteria_enable` (`MLX5_MATCH_*` in device.h).
    MatchCriteria(u8, "match criteria", "MLX5_MATCH_") {
        OUTER_HEADERS = 0x1, MISC_PARAMETERS = 0x2, INNER_HEADERS = 0x4, MISC_PARAMETERS_2 = 0x8,
        MISC_PARAMETERS_3 = 0x10, MISC_PARAMETERS_4 = 0x20, MISC_PARAMETERS_5 = 0x40,
    }

    /// Bits of `action` of a flow entry (`MLX5_FLOW_CONTEXT_ACTION_*` in mlx5_ifc.h).
    FlowAction(u16, "flow action", "MLX5_FLOW_CONTEXT_ACTION_") {
        ALLOW = 0x1, DROP = 0x2, FWD_DEST = 0x4, COUNT = 0x8, PACKET_REFORMAT = 0x10, DECAP = 0x20, MOD_HDR = 0x40,
        VLAN_POP = 0x80, VLAN_PUSH = 0x100, VLAN_POP_2 = 0x400, VLAN_PUSH_2 = 0x800, CRYPTO_DECRYPT = 0x1000,
        CRYPTO_ENCRYPT = 0x2000, EXECUTE_ASO = 0x4000,
    }

    /// `destination_type` of a flow entry's destination (`MLX5_IFC_FLOW_DESTINATION_TYPE_*` in mlx5_ifc.h).
    DestinationType(u8, "flow destination type", "MLX5_IFC_FLOW_DESTINATION_TYPE_") {
        VPORT = 0x0, FLOW_TABLE = 0x1, TIR = 0x2, VHCA_RX = 0x4, FLOW_SAMPLER = 0x6, UPLINK = 0x8, TABLE_TYPE = 0xa,
    }

    /// `flow_source` of a flow entry (`MLX5_FLOW_CONTEXT_FLOW_SOURCE_*` in mlx5_ifc.h).
    FlowSource(u8, "flow source", "MLX5_FLOW_CONTEXT_FLOW_SOURCE_") { ANY_VPORT = 0x0, UPLINK = 0x1, LOCAL_VPORT = 0x2 }

    /// Numbers of the bits of `modify_enable_mask` of SET_FTE (`MLX5_SET_FTE_MODIFY_ENABLE_MASK_*` in mlx5_ifc.h).
    SetFteModify(u8, "flow entry field", "MLX5_SET_FTE_MODIFY_ENABLE_MASK_") {
        ACTION = 0x0, FLOW_TAG = 0x1, DESTINATION_LIST = 0x2, FLOW_COUNTERS = 0x3, IPSEC_OBJ_ID = 0x4,
    }
}
