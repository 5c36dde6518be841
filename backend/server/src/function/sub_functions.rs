//! The SFs of a PF: register files in windows of its BAR2, one after the other. An SF is no PCI function: its requests and
//! interrupts are its PF's, and so are the maps of memory and the vectors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};

use mlx5emu_card::{Front, FunctionIndex, ResetKind};
use mlx5emu_config::SF_WINDOW_BYTES;
use mlx5emu_vfio_user::FunctionMemory;

use super::PciFunction;
use crate::threads::Threads;

/// The BAR that has the windows (`mlx5_sf_dev_table_create` in the driver's `sf/dev/dev.c`).
pub(super) const BAR: u32 = 2;

/// One SF.
pub(super) struct Window {
    pub(super) index: FunctionIndex,
    front: Arc<Front>,
    /// Doorbells were written since the engine was told last.
    rang: AtomicBool,
}

impl Window {
    /// The window of function `index`; `None` if the card has no such function.
    pub(super) fn new(index: FunctionIndex, engine: &Threads<FunctionMemory>) -> Option<Self> {
        Some(Self { index, front: engine.front(index)?, rang: AtomicBool::new(false) })
    }

    /// Whether doorbells were written since this was asked last.
    pub(super) fn take_rang(&self) -> bool {
        self.rang.load(Relaxed) && self.rang.swap(false, Relaxed)
    }
}

impl PciFunction {
    /// The window that an access of BAR2 is in, and where in it.
    fn window(&self, offset: u64) -> Option<(&Window, u64)> {
        let number = usize::try_from(offset / SF_WINDOW_BYTES).ok()?;
        Some((self.windows.get(number)?, offset % SF_WINDOW_BYTES))
    }

    pub(super) fn bar2_read(&self, offset: u64, buf: &mut [u8]) {
        self.traffic.bar_reads.fetch_add(1, Relaxed);
        match self.window(offset).filter(|_| self.answers()) {
            Some((window, at)) => window.front.bar_read(self.clock.now(), at, buf),
            None => buf.fill(0xff),
        }
    }

    pub(super) fn bar2_write(&self, offset: u64, data: &[u8]) {
        self.traffic.bar_writes.fetch_add(1, Relaxed);
        let Some((window, at)) = self.window(offset).filter(|_| self.answers()) else { return };
        if window.front.bar_write(at, data) {
            window.rang.store(true, Relaxed);
        }
        if window.front.take_switched_off() | window.front.take_sw_reset() {
            self.engine.reset(window.index, ResetKind::Software, |_| ());
        }
    }
}
