//! Numbers in work queue and completion queue entries.

use crate::names::{Named, constant, open_enums};

/// Size of a send queue's basic block in bytes (`MLX5_SEND_WQE_BB` in qp.h).
pub const SEND_WQE_BB: usize = 64;
/// Unit of a send WQE's `ds` in bytes (`MLX5_SEND_WQE_DS` in qp.h).
pub const SEND_WQE_DS: usize = 16;
/// The most blocks that one send WQE takes (`MLX5_SEND_WQE_MAX_WQEBBS` in qp.h).
pub const SEND_WQE_MAX_WQEBBS: usize = 16;
/// `lkey` that ends a scatter list where no other is announced (`MLX5_TERMINATE_SCATTER_LIST_LKEY` in qp.h).
pub const TERMINATE_SCATTER_LIST_LKEY: u32 = 0x100;

/// The sizes that the kernel has a name for.
pub(crate) static CONSTANTS: &[Named] = &[
    constant("SEND_WQE_BB", SEND_WQE_BB as u64, "MLX5_SEND_WQE_BB"),
    constant("SEND_WQE_DS", SEND_WQE_DS as u64, "MLX5_SEND_WQE_DS"),
    constant("SEND_WQE_MAX_WQEBBS", SEND_WQE_MAX_WQEBBS as u64, "MLX5_SEND_WQE_MAX_WQEBBS"),
    constant("TERMINATE_SCATTER_LIST_LKEY", TERMINATE_SCATTER_LIST_LKEY as u64, "MLX5_TERMINATE_SCATTER_LIST_LKEY"),
];

open_enums! {
    /// Opcode of a send WQE (`MLX5_OPCODE_*` in device.h).
    WqeOpcode(u8, "WQE opcode", "MLX5_OPCODE_") {
        NOP = 0x00, SEND_INVAL = 0x01, RDMA_WRITE = 0x08, RDMA_WRITE_IMM = 0x09, SEND = 0x0a, SEND_IMM = 0x0b,
        LSO = 0x0e, RDMA_READ = 0x10, ATOMIC_CS = 0x11, ATOMIC_FA = 0x12, ATOMIC_MASKED_CS = 0x14,
        ATOMIC_MASKED_FA = 0x15, BIND_MW = 0x18, CONFIG_CMD = 0x1f, SET_PSV = 0x20, GET_PSV = 0x21, CHECK_PSV = 0x22,
        DUMP = 0x23, UMR = 0x25, RGET_PSV = 0x26, RCHECK_PSV = 0x27, ENHANCED_MPSW = 0x29, FLOW_TBL_ACCESS = 0x2c,
        ACCESS_ASO = 0x2d,
    }

    /// Opcode of a CQE (`MLX5_CQE_*` in cq.h).
    CqeOpcode(u8, "CQE opcode", "MLX5_CQE_") {
        REQ = 0, RESP_WR_IMM = 1, RESP_SEND = 2, RESP_SEND_IMM = 3, RESP_SEND_INV = 4, RESIZE_CQ = 5, SIG_ERR = 12,
        REQ_ERR = 13, RESP_ERR = 14, INVALID = 15,
    }

    /// `syndrome` of an error CQE (`MLX5_CQE_SYNDROME_*` in cq.h).
    CqeSyndrome(u8, "CQE syndrome", "MLX5_CQE_SYNDROME_") {
        LOCAL_LENGTH_ERR = 0x01, LOCAL_QP_OP_ERR = 0x02, LOCAL_PROT_ERR = 0x04, WR_FLUSH_ERR = 0x05,
        MW_BIND_ERR = 0x06, BAD_RESP_ERR = 0x10, LOCAL_ACCESS_ERR = 0x11, REMOTE_INVAL_REQ_ERR = 0x12,
        REMOTE_ACCESS_ERR = 0x13, REMOTE_OP_ERR = 0x14, TRANSPORT_RETRY_EXC_ERR = 0x15, RNR_RETRY_EXC_ERR = 0x16,
        REMOTE_ABORTED_ERR = 0x22,
    }

    /// `l4_hdr_type` of a CQE (`CQE_L4_HDR_TYPE_*` in device.h).
    CqeL4HdrType(u8, "CQE layer 4 header type", "CQE_L4_HDR_TYPE_") {
        NONE = 0x0, TCP_NO_ACK = 0x1, UDP = 0x2, TCP_ACK_NO_DATA = 0x3, TCP_ACK_AND_DATA = 0x4,
    }

    /// `rss_htype_ip` of a CQE (`CQE_RSS_*` in device.h).
    CqeRssIp(u8, "CQE RSS address type", "CQE_RSS_") { IP_NONE = 0x0, IPV4 = 0x1, IPV6 = 0x2 }

    /// `rss_htype_l4` of a CQE (`CQE_RSS_L4_*` in device.h).
    CqeRssL4(u8, "CQE RSS protocol type", "CQE_RSS_L4_") { NONE = 0x0, TCP = 0x1, UDP = 0x2, IPSEC = 0x3 }

    /// Bits of `mkey_mask` of a UMR WQE: which fields of the memory key change (`MLX5_MKEY_MASK_*` in device.h).
    MkeyMask(u64, "mkey mask bit", "MLX5_MKEY_MASK_") {
        LEN = 0x1, PAGE_SIZE = 0x2, START_ADDR = 0x40, PD = 0x80, EN_RINVAL = 0x100, EN_SIGERR = 0x200,
        BSF_EN = 0x1000, KEY = 0x2000, QPN = 0x4000, LR = 0x2_0000, LW = 0x4_0000, RR = 0x8_0000, RW = 0x10_0000,
        A = 0x20_0000, SMALL_FENCE = 0x80_0000, RELAXED_ORDERING_WRITE = 0x200_0000, FREE = 0x2000_0000,
        PAGE_SIZE_5 = 0x400_0000_0000, RELAXED_ORDERING_READ = 0x8000_0000_0000,
    }
}
