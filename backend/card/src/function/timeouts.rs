//! How long the driver is to wait, as the firmware tells it: two registers of the initialization segment, and DTOR. The
//! driver reads them if `cmd_q_init_to` is not zero, else its own hold (`lib/tout.c`).

use mlx5emu_prm::Area;
use mlx5emu_prm::layouts::default_timeout;

use crate::error::Done;

/// Time-outs in milliseconds, the unit 0 of all these registers; below 2^20.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// `cmd_q_init_to`: until the firmware has initialized itself. Not 0.
    pub fw_init: u32,
    /// `cmd_exec_to`: until a command is answered.
    pub cmd: u32,
    /// Fields of DTOR (`dtor_reg`). One that is not here leaves the driver its own.
    pub dtor: Vec<(Area, u32)>,
}

impl Timeouts {
    /// What the driver has without being told (`tout_def_sw_val`).
    pub const DRIVERS_FW_INIT: u32 = 2000;
    /// Likewise for commands.
    pub const DRIVERS_CMD: u32 = 60_000;

    /// The register DTOR.
    pub(crate) fn dtor(told: Option<&Self>, output: &mut [u8]) -> Done {
        output.fill(0);
        for (field, ms) in told.iter().flat_map(|timeouts| &timeouts.dtor) {
            default_timeout::to_value.set(field.of_mut(output), u64::from(*ms));
        }
        Ok(())
    }
}
