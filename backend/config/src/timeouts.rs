//! `[timeouts]`: how long the driver is to wait for the firmware, as the firmware tells it.

/// The driver's time-outs in milliseconds, each 1 to [`Timeouts::MAX_MS`]; `None` leaves the driver its own. Named as
/// `enum mlx5_timeouts_types` (`lib/tout.h`) has them, `MLX5_TO_FW_INIT_MS` is `fw_init`. Those that the driver does not
/// ask the firmware for are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the firmware has initialized itself (`cmd_q_init_to` of the initialization segment; the driver's own: 2 s).
    pub fw_init: Option<u32>,
    /// Until a command is answered (`cmd_exec_to` of the initialization segment; the driver's own: 60 s).
    pub cmd: Option<u32>,
    /// Until the link is back after it was toggled (2 s; this and what follows: register DTOR).
    pub pci_toggle: Option<u32>,
    /// Between looks at the health of the firmware (2 s).
    pub health_poll_interval: Option<u32>,
    /// Until a full dump is taken (60 s).
    pub full_crdump: Option<u32>,
    /// Until the firmware is reset (60 s), beside `pci_toggle`.
    pub fw_reset: Option<u32>,
    /// Until queues are flushed after an error (2 s).
    pub flush_on_error: Option<u32>,
    /// Until a synchronized reset goes on (5 s), beside `teardown`.
    pub pci_sync_update: Option<u32>,
    /// Until a function is torn down fast (3 s).
    pub teardown: Option<u32>,
    /// Until the embedded controller is active again (5 s).
    pub fsm_reactivate: Option<u32>,
    /// Until a function has returned its pages (5 s).
    pub reclaim_pages: Option<u32>,
    /// Until the VFs have returned theirs (120 s).
    pub reclaim_vfs_pages: Option<u32>,
    /// Until the driver has unloaded for a reset (300 s).
    pub reset_unload: Option<u32>,
}

impl Timeouts {
    /// The longest: the registers have 20 bits.
    pub const MAX_MS: u32 = (1 << 20) - 1;

    /// Every key with its value.
    pub(crate) fn keys(&mut self) -> [(&'static str, &mut Option<u32>); 13] {
        [
            ("fw_init", &mut self.fw_init),
            ("cmd", &mut self.cmd),
            ("pci_toggle", &mut self.pci_toggle),
            ("health_poll_interval", &mut self.health_poll_interval),
            ("full_crdump", &mut self.full_crdump),
            ("fw_reset", &mut self.fw_reset),
            ("flush_on_error", &mut self.flush_on_error),
            ("pci_sync_update", &mut self.pci_sync_update),
            ("teardown", &mut self.teardown),
            ("fsm_reactivate", &mut self.fsm_reactivate),
            ("reclaim_pages", &mut self.reclaim_pages),
            ("reclaim_vfs_pages", &mut self.reclaim_vfs_pages),
            ("reset_unload", &mut self.reset_unload),
        ]
    }
}
