//! Health syndromes that this executor sets: what the driver prints when a function dies.
//! Source: the kernel's `enum` of `MLX5_INITIAL_SEG_HEALTH_SYNDROME_*` / `mlx5_health_syndrome_str`.

/// Firmware internal error: a step panicked.
pub(crate) const FW_INTERNAL_ERR: u8 = 0x1;
/// A fetch from host memory failed: the client's memory is not usable.
pub(crate) const ICM_FETCH_PCI_ERR: u8 = 0xa;
