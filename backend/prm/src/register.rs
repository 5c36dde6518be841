//! Access registers.

use crate::names::open_enums;

open_enums! {
    /// Register that ACCESS_REG reads or writes (`MLX5_REG_*` in driver.h).
    Register(u16, "register", "MLX5_REG_") {
        QPTS = 0x4002, QETCR = 0x4005, QTCT = 0x400a, QPDPM = 0x4013, QCAM = 0x4019, DCBX_PARAM = 0x4020,
        DCBX_APP = 0x4021, FPGA_CAP = 0x4022, FPGA_CTRL = 0x4023, FPGA_ACCESS_REG = 0x4024, CORE_DUMP = 0x402e,
        PCAP = 0x5001, PMLP = 0x5002, PMTU = 0x5003, PTYS = 0x5004, PAOS = 0x5006, PFCC = 0x5007, PPCNT = 0x5008,
        PUDE = 0x5009, PPTB = 0x500b, PBMC = 0x500c, PELC = 0x500e, PVLC = 0x500f, PMPE = 0x5010, PMAOS = 0x5012,
        PPLM = 0x5023, PDDR = 0x5031, PPHCR = 0x503e, PCMR = 0x5041, PCAM = 0x507f, NODE_DESC = 0x6001,
        HOST_ENDIANNESS = 0x7004, MTCAP = 0x9009, MTMP = 0x900a, MCIA = 0x9014, MNVDA = 0x9024, MFRL = 0x9028,
        MLCR = 0x902b, MRTC = 0x902d, MTRC_CAP = 0x9040, MTRC_CONF = 0x9041, MTRC_STDB = 0x9042, MTRC_CTRL = 0x9043,
        MPEIN = 0x9050, MPCNT = 0x9051, MTPPS = 0x9053, MTPPSE = 0x9054, MTUTC = 0x9055, MPEGC = 0x9056,
        MPIR = 0x9059, MCQS = 0x9060, MCQI = 0x9061, MCC = 0x9062, MCDA = 0x9063, MCAM = 0x907f, MSECQ = 0x9155,
        MSEES = 0x9156, MIRC = 0x9162, MTPTM = 0x9180, MTCTR = 0x9181, MRTCQ = 0x9182, SBPR = 0xb001, SBCM = 0xb002,
        SBCAM = 0xb01f, RESOURCE_DUMP = 0xc000, NIC_CAP = 0xc00d, DTOR = 0xc00e, VHCA_ICM_CTRL = 0xc010,
    }

    /// `op_mod` of ACCESS_REG: which way (`mlx5_core_access_reg` passes `!write`, port.c).
    AccessRegMode(u16, "register access", "") {
        WRITE = 0 [""], READ = 1 [""],
    }

    /// Counter group of PPCNT (`MLX5_*_COUNTERS_GROUP` in device.h).
    PpcntGroup(u8, "PPCNT group", "MLX5_") {
        IEEE_802_3_COUNTERS_GROUP = 0x0, RFC_2863_COUNTERS_GROUP = 0x1, RFC_2819_COUNTERS_GROUP = 0x2,
        RFC_3635_COUNTERS_GROUP = 0x3, ETHERNET_EXTENDED_COUNTERS_GROUP = 0x5,
        PER_PRIORITY_COUNTERS_GROUP = 0x10, PER_TRAFFIC_CLASS_COUNTERS_GROUP = 0x11,
        PHYSICAL_LAYER_COUNTERS_GROUP = 0x12, PER_TRAFFIC_CLASS_CONGESTION_GROUP = 0x13,
        PHYSICAL_LAYER_STATISTICAL_GROUP = 0x16, PHYSICAL_LAYER_RECOVERY_GROUP = 0x1a,
        INFINIBAND_PORT_COUNTERS_GROUP = 0x20, RS_FEC_HISTOGRAM_GROUP = 0x23,
    }

    /// Port state in PAOS (`MLX5_PORT_UP`, `MLX5_PORT_DOWN`).
    PortStatus(u8, "port status", "MLX5_PORT_") {
        UP = 1, DOWN = 2,
    }

    /// Unit of a time-out in `default_timeout` and in the init segment (`lib/tout.c`).
    TimeoutUnit(u8, "time-out unit", "") {
        MILLISECONDS = 0 [""], SECONDS = 1 [""], MINUTES = 2 [""], HOURS = 3 [""],
    }
}
