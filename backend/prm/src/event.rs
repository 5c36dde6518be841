//! Events: types and subtypes of event queue entries.

use crate::names::open_enums;

open_enums! {
    /// Type of an event (`enum mlx5_event` in device.h).
    Event(u8, "event", "MLX5_EVENT_TYPE_") {
        COMP = 0x0, PATH_MIG = 0x1, COMM_EST = 0x2, SQ_DRAINED = 0x3, CQ_ERROR = 0x4, WQ_CATAS_ERROR = 0x5,
        PATH_MIG_FAILED = 0x7, INTERNAL_ERROR = 0x8, PORT_CHANGE = 0x9, CMD = 0xa, PAGE_REQUEST = 0xb,
        PAGE_FAULT = 0xc, NIC_VPORT_CHANGE = 0xd, ESW_FUNCTIONS_CHANGED = 0xe, VHCA_STATE_CHANGE = 0xf,
        WQ_INVAL_REQ_ERROR = 0x10, WQ_ACCESS_ERROR = 0x11, SRQ_CATAS_ERROR = 0x12, SRQ_LAST_WQE = 0x13,
        SRQ_RQ_LIMIT = 0x14, GPIO_EVENT = 0x15, PORT_MODULE_EVENT = 0x16, TEMP_WARN_EVENT = 0x17, XRQ_ERROR = 0x18,
        REMOTE_CONFIG = 0x19, DB_BF_CONGESTION = 0x1a, STALL_EVENT = 0x1b, DCT_DRAINED = 0x1c,
        DCT_KEY_VIOLATION = 0x1d, FPGA_ERROR = 0x20, FPGA_QP_ERROR = 0x21, GENERAL_EVENT = 0x22,
        MONITOR_COUNTER = 0x24, PPS_EVENT = 0x25, DEVICE_TRACER = 0x26, OBJECT_CHANGE = 0x27,
    }

    /// Subtype of `PORT_CHANGE` (`MLX5_PORT_CHANGE_SUBTYPE_*` in device.h).
    PortChange(u8, "port change", "MLX5_PORT_CHANGE_SUBTYPE_") {
        DOWN = 1, ACTIVE = 4, INITIALIZED = 5, LID = 6, PKEY = 7, GUID = 8, CLIENT_REREG = 9,
    }

    /// Subtype of `GENERAL_EVENT` (`MLX5_GENERAL_SUBTYPE_*` in device.h).
    GeneralEvent(u8, "general event", "MLX5_GENERAL_SUBTYPE_") {
        DELAY_DROP_TIMEOUT = 0x1, PCI_POWER_CHANGE_EVENT = 0x5, FW_LIVE_PATCH_EVENT = 0x7,
        PCI_SYNC_FOR_FW_UPDATE_EVENT = 0x8,
    }

    /// Syndrome of `CQ_ERROR` (`MLX5_CQ_ERROR_SYNDROME_*` in mlx5_ifc.h).
    CqErrorSyndrome(u8, "CQ error syndrome", "MLX5_CQ_ERROR_SYNDROME_") {
        CQ_OVERRUN = 0x1, CQ_ACCESS_VIOLATION_ERROR = 0x2,
    }
}
