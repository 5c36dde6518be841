//! Registers of a UAR page: offsets in the 4 KiB page. Source: the kernel's `MLX5_CQ_DOORBELL`, `MLX5_EQ_DOORBEL_OFFSET`
//! (arm at +0, update without arm at +8), `MLX5_BFREGS_PER_UAR`/`MLX5_BF_OFFSET`.

/// CQ doorbell: 8 bytes, `sn[29:28] cmd[24] ci[23:0]`, then the CQ number.
pub const CQ_DOORBELL: u64 = 0x20;
/// EQ doorbell that arms: 4 bytes, `eqn[31:24] ci[23:0]`.
pub const EQ_ARM: u64 = 0x40;
/// EQ doorbell that only updates the consumer index: 4 bytes.
pub const EQ_UPDATE: u64 = 0x48;
/// First BlueFlame register.
pub const BF_START: u64 = 0x800;
/// End of the BlueFlame registers (four of `1 << log_bf_reg_size` bytes).
pub const BF_END: u64 = 0x1000;
/// Each BlueFlame register is two buffers of this size, which the driver may use in turn.
pub const BF_BUF_SIZE: u64 = 0x100;
