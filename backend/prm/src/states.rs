//! States and types of queues, functions and ports.

use crate::names::open_enums;

open_enums! {
    /// State of an SQ (`MLX5_SQC_STATE_*` in mlx5_ifc.h).
    SqState(u8, "SQ state", "MLX5_SQC_STATE_") { RST = 0x0, RDY = 0x1, ERR = 0x3 }

    /// State of an RQ (`MLX5_RQC_STATE_*` in mlx5_ifc.h).
    RqState(u8, "RQ state", "MLX5_RQC_STATE_") { RST = 0x0, RDY = 0x1, ERR = 0x3 }

    /// State of an RMP (`MLX5_RMPC_STATE_*` in mlx5_ifc.h).
    RmpState(u8, "RMP state", "MLX5_RMPC_STATE_") { RDY = 0x1, ERR = 0x3 }

    /// State of a QP (`enum mlx5_qp_state` in qp.h; mlx5_ifc.h counts `SQD` differently, and the driver uses these).
    QpState(u8, "QP state", "MLX5_QP_STATE_") {
        RST = 0, INIT = 1, RTR = 2, RTS = 3, SQER = 4, SQD = 5, ERR = 6, SQ_DRAINING = 7, SUSPENDED = 9,
    }

    /// Status of an EQ (`MLX5_EQC_STATUS_*` in mlx5_ifc.h).
    EqStatus(u8, "EQ status", "MLX5_EQC_STATUS_") { OK = 0x0, EQ_WRITE_FAILURE = 0xa }

    /// State of an EQ (`MLX5_EQC_ST_*` in mlx5_ifc.h).
    EqState(u8, "EQ state", "MLX5_EQC_ST_") { ARMED = 0x9, FIRED = 0xa }

    /// Status of a CQ (`MLX5_CQC_STATUS_*` in mlx5_ifc.h).
    CqStatus(u8, "CQ status", "MLX5_CQC_STATUS_") { OK = 0x0, CQ_OVERFLOW = 0x9, CQ_WRITE_FAIL = 0xa }

    /// State of a function (`enum mlx5_ifc_vhca_state` in mlx5_ifc.h).
    VhcaState(u8, "VHCA state", "MLX5_VHCA_STATE_") {
        INVALID = 0x0, ALLOCATED = 0x1, ACTIVE = 0x2, IN_USE = 0x3, TEARDOWN_REQUEST = 0x4,
    }

    /// State of a CQ (`MLX5_CQC_ST_*` in mlx5_ifc.h).
    CqState(u8, "CQ state", "MLX5_CQC_ST_") {
        SOLICITED_NOTIFICATION_REQUEST_ARMED = 0x6, NOTIFICATION_REQUEST_ARMED = 0x9, FIRED = 0xa,
    }

    /// `cqe_sz` of a CQ (`CQE_STRIDE_*` in cq.h).
    CqeSize(u8, "CQE size", "CQE_") { STRIDE_64 = 0, STRIDE_128 = 1, STRIDE_128_PAD = 2 }

    /// `cq_period_mode` (`MLX5_CQ_PERIOD_MODE_*` in mlx5_ifc.h).
    CqPeriodMode(u8, "CQ period mode", "MLX5_CQ_PERIOD_MODE_") { START_FROM_EQE = 0x0, START_FROM_CQE = 0x1 }

    /// `op_mod` of MODIFY_CQ (`MLX5_MODIFY_CQ_IN_OP_MOD_*` in mlx5_ifc.h).
    ModifyCqMode(u16, "MODIFY_CQ op_mod", "MLX5_MODIFY_CQ_IN_OP_MOD_") { MODIFY_CQ = 0x0, RESIZE_CQ = 0x1 }

    /// `wq_type` of a work queue (`MLX5_WQ_TYPE_*` in mlx5_ifc.h).
    WqType(u8, "WQ type", "MLX5_WQ_TYPE_") {
        LINKED_LIST = 0x0, CYCLIC = 0x1, LINKED_LIST_STRIDING_RQ = 0x2, CYCLIC_STRIDING_RQ = 0x3,
    }

    /// `mem_rq_type` of an RQ (`MLX5_RQC_MEM_RQ_TYPE_*` in mlx5_ifc.h).
    MemRqType(u8, "RQ memory type", "MLX5_RQC_MEM_RQ_TYPE_") { MEMORY_RQ_INLINE = 0x0, MEMORY_RQ_RMP = 0x1 }

    /// `disp_type` of a TIR (`MLX5_TIRC_DISP_TYPE_*` in mlx5_ifc.h).
    TirDispType(u8, "TIR dispatch type", "MLX5_TIRC_DISP_TYPE_") { DIRECT = 0x0, INDIRECT = 0x1 }

    /// `rx_hash_fn` of a TIR (`MLX5_RX_HASH_FN_*` in mlx5_ifc.h).
    RxHashFn(u8, "RX hash function", "MLX5_RX_HASH_FN_") { NONE = 0x0, INVERTED_XOR8 = 0x1, TOEPLITZ = 0x2 }

    /// Bits of `self_lb_block` of a TIR (`MLX5_TIRC_SELF_LB_BLOCK_*` in mlx5_ifc.h).
    SelfLbBlock(u8, "self loopback block", "MLX5_TIRC_SELF_LB_BLOCK_") { BLOCK_UNICAST = 0x1, BLOCK_MULTICAST = 0x2 }

    /// Bits of `selected_fields` of a hash field selector (`MLX5_HASH_FIELD_SEL_*` in device.h).
    HashField(u32, "hash field", "MLX5_HASH_FIELD_SEL_") {
        SRC_IP = 0x1, DST_IP = 0x2, L4_SPORT = 0x4, L4_DPORT = 0x8, IPSEC_SPI = 0x10,
    }

    /// `l3_prot_type` of a hash field selector (`MLX5_L3_PROT_TYPE_*` in device.h).
    L3ProtType(u8, "layer 3 protocol", "MLX5_L3_PROT_TYPE_") { IPV4 = 0, IPV6 = 1 }

    /// `l4_prot_type` of a hash field selector (`MLX5_L4_PROT_TYPE_*` in device.h).
    L4ProtType(u8, "layer 4 protocol", "MLX5_L4_PROT_TYPE_") { TCP = 0, UDP = 1 }

    /// Access mode of a memory key, `access_mode_4_2` and `access_mode_1_0` together (`MLX5_MKC_ACCESS_MODE_*` in
    /// mlx5_ifc.h).
    MkeyAccessMode(u8, "mkey access mode", "MLX5_MKC_ACCESS_MODE_") {
        PA = 0x0, MTT = 0x1, KLMS = 0x2, KSM = 0x3, SW_ICM = 0x4, MEMIC = 0x5, CROSSING = 0x6,
    }

    /// `op_mod` of QUERY_PAGES (`MLX5_QUERY_PAGES_IN_OP_MOD_*` in mlx5_ifc.h).
    QueryPagesMode(u16, "QUERY_PAGES op_mod", "MLX5_QUERY_PAGES_IN_OP_MOD_") {
        BOOT_PAGES = 0x1, INIT_PAGES = 0x2, REGULAR_PAGES = 0x3,
    }

    /// `op_mod` of MANAGE_PAGES (`MLX5_MANAGE_PAGES_IN_OP_MOD_*` in mlx5_ifc.h): the driver cannot give, gives, takes back.
    ManagePagesMode(u16, "MANAGE_PAGES op_mod", "MLX5_MANAGE_PAGES_IN_OP_MOD_") {
        ALLOCATION_FAIL = 0x0, ALLOCATION_SUCCESS = 0x1, HCA_RETURN_PAGES = 0x2,
    }

    /// `profile` of TEARDOWN_HCA (`MLX5_TEARDOWN_HCA_IN_PROFILE_*` in mlx5_ifc.h).
    TeardownProfile(u16, "teardown profile", "MLX5_TEARDOWN_HCA_IN_PROFILE_") {
        GRACEFUL_CLOSE = 0x0, FORCE_CLOSE = 0x1, PREPARE_FAST_TEARDOWN = 0x2,
    }

    /// `nic_interface` of the initialization segment (`MLX5_INITIAL_SEG_NIC_INTERFACE_*` in mlx5_ifc.h).
    NicInterface(u8, "NIC interface state", "MLX5_INITIAL_SEG_NIC_INTERFACE_") {
        FULL_DRIVER = 0x0, DISABLED = 0x1, NO_DRAM_NIC = 0x2, SW_RESET = 0x7,
    }

    /// `synd` of the health buffer (`MLX5_INITIAL_SEG_HEALTH_SYNDROME_*` in mlx5_ifc.h).
    HealthSyndrome(u8, "health syndrome", "MLX5_INITIAL_SEG_HEALTH_SYNDROME_") {
        FW_INTERNAL_ERR = 0x1, DEAD_IRISC = 0x7, HW_FATAL_ERR = 0x8, FW_CRC_ERR = 0x9, ICM_FETCH_PCI_ERR = 0xa,
        ICM_PAGE_ERR = 0xb, ASYNCHRONOUS_EQ_BUF_OVERRUN = 0xc, EQ_IN_ERR = 0xd, EQ_INV = 0xe, FFSER_ERR = 0xf,
        HIGH_TEMP_ERR = 0x10, ICM_PCI_POISONED_ERR = 0x12, TRUST_LOCKDOWN_ERR = 0x13,
    }

    /// Vport numbers that are not a VF's (vport.h).
    VportNumber(u16, "vport", "MLX5_VPORT_") { HOST_PF = 0x0, FIRST_HOST_VF = 0x1, ECPF = 0xfffe, UPLINK = 0xffff }

    /// `op_mod` of QUERY_VPORT_STATE and MODIFY_VPORT_STATE (`MLX5_VPORT_STATE_OP_MOD_*` in mlx5_ifc.h).
    VportStateMode(u16, "vport state op_mod", "MLX5_VPORT_STATE_OP_MOD_") {
        VNIC_VPORT = 0x0, ESW_VPORT = 0x1, UPLINK = 0x2,
    }

    /// `admin_state` of a vport (`MLX5_VPORT_ADMIN_STATE_*` in device.h).
    VportAdminState(u8, "vport admin state", "MLX5_VPORT_ADMIN_STATE_") { DOWN = 0x0, UP = 0x1, AUTO = 0x2 }

    /// `state` of a vport (`MLX5_QUERY_VPORT_STATE_OUT_STATE_*` in mlx5_ifc.h).
    VportState(u8, "vport state", "MLX5_QUERY_VPORT_STATE_OUT_STATE_") { DOWN = 0x0, UP = 0x1 }

    /// `allowed_list_type` of a NIC vport context (`MLX5_NVPRT_LIST_TYPE_*` in device.h).
    NicVportListType(u8, "vport list type", "MLX5_NVPRT_LIST_TYPE_") { UC = 0x0, MC = 0x1, VLAN = 0x2 }
}
