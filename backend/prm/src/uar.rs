//! Offsets of the doorbells in a 4 KiB UAR page, and of the records in a doorbell record.

use crate::names::{Named, constant};

/// CQ doorbell, 8 bytes: arm (`MLX5_CQ_DOORBELL` in doorbell.h).
pub const CQ_DOORBELL: u64 = 0x20;
/// EQ doorbell, 4 bytes: consumer index and arm (`MLX5_EQ_DOORBELL_OFFSET` in eq.c).
pub const EQ_ARM: u64 = 0x40;
/// EQ doorbell, 4 bytes: consumer index without arming, two dwords after [`EQ_ARM`] (`mlx5_eq_update_ci` in eq.c).
pub const EQ_UPDATE: u64 = 0x48;
/// First BlueFlame register, which is the send doorbell too (`MLX5_BF_OFFSET` in doorbell.h).
pub const BF_START: u64 = 0x800;
/// After the last BlueFlame register.
pub const BF_END: u64 = 0x1000;
/// Half a BlueFlame register of `1 << LOG_BF_REG_SIZE` bytes: the driver may use either half (wc.c).
pub const BF_BUF_SIZE: u64 = (1 << LOG_BF_REG_SIZE) / 2;
/// The value of the capability `log_bf_reg_size` with which [`BFREGS_PER_UAR`] registers end at [`BF_END`].
pub const LOG_BF_REG_SIZE: u32 = 9;
/// BlueFlame registers in a page (`MLX5_BFREGS_PER_UAR` in device.h).
pub const BFREGS_PER_UAR: u64 = 4;
/// Size of a UAR page in bytes (`MLX5_ADAPTER_PAGE_SIZE` in device.h).
pub const PAGE_SIZE: u64 = 4096;

/// Byte offset, in a work queue's doorbell record, of the receive counter (`MLX5_RCV_DBR` in qp.h, times 4).
pub const RCV_DBR: u64 = 0;
/// Byte offset, in a work queue's doorbell record, of the send counter (`MLX5_SND_DBR` in qp.h, times 4).
pub const SND_DBR: u64 = 4;
/// Byte offset, in a CQ's doorbell record, of the consumer index (`set_ci_db` in cq.h).
pub const CQ_SET_CI_DB: u64 = 0;
/// Byte offset, in a CQ's doorbell record, of the arm word (`arm_db` in cq.h).
pub const CQ_ARM_DB: u64 = 4;

/// The offsets that the kernel has a name for.
pub(crate) static CONSTANTS: &[Named] = &[
    constant("CQ_DOORBELL", CQ_DOORBELL, "MLX5_CQ_DOORBELL"),
    constant("EQ_ARM", EQ_ARM, "MLX5_EQ_DOORBELL_OFFSET"),
    constant("BF_START", BF_START, "MLX5_BF_OFFSET"),
    constant("BFREGS_PER_UAR", BFREGS_PER_UAR, "MLX5_BFREGS_PER_UAR"),
    constant("RCV_DBR", RCV_DBR / 4, "MLX5_RCV_DBR"),
    constant("SND_DBR", SND_DBR / 4, "MLX5_SND_DBR"),
];
