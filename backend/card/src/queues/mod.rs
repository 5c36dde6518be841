//! UARs, event queues, completion queues, and the buffers behind all queues.

pub mod buffer;
pub mod compression;
pub mod cq;
pub mod eq;
pub mod uar;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::function::front::{BAR0_SIZE, FIRST_UAR, UAR_PAGE};
use crate::table::Table;
use cq::Cq;
use eq::Eq;

/// Event queues a function may have: `max_num_eqs` of the capabilities.
pub const MAX_EQS: u32 = 64;
/// log2 of the completion queues a function may have: `log_max_cq`.
pub const LOG_MAX_CQ: u32 = 14;
/// log2 of the entries of a completion queue: `log_max_cq_sz`.
pub const LOG_MAX_CQ_SZ: u32 = 22;
/// log2 of the entries of an event queue: `log_max_eq_sz`.
pub const LOG_MAX_EQ_SZ: u32 = 22;

/// A function's UARs, EQs and CQs.
pub struct Queues {
    /// UAR pages: the value is unused.
    pub uars: Table<()>,
    /// Event queues.
    pub eqs: Table<Eq>,
    /// Completion queues.
    pub cqs: Table<Cq>,
    /// CQs with completions that are being compressed, and whether there are any: a burst closes what it opened, so it
    /// needs to see no other's.
    compressing: Mutex<Vec<u32>>,
    any_compressing: AtomicBool,
}

impl Queues {
    /// Nothing yet, for a function whose BAR0 is `bar0` bytes long.
    pub fn new(bar0: u64) -> Self {
        let uar_end = (bar0.min(BAR0_SIZE) / UAR_PAGE) as u32;
        Self {
            uars: Table::new("UAR", FIRST_UAR, uar_end.saturating_sub(FIRST_UAR)),
            eqs: Table::new("EQ", 1, MAX_EQS),
            cqs: Table::new("CQ", 1, 1 << LOG_MAX_CQ),
            compressing: Mutex::default(),
            any_compressing: AtomicBool::new(false),
        }
    }

    /// CQ `cqn` has completions that must be written at the end of the burst.
    fn open_session(&self, cqn: u32) {
        let mut open = self.compressing.lock();
        open.push(cqn);
        self.any_compressing.store(true, Relaxed);
    }

    fn take_open_sessions(&self) -> Vec<u32> {
        if !self.any_compressing.load(Relaxed) {
            return Vec::new();
        }
        let mut open = self.compressing.lock();
        self.any_compressing.store(false, Relaxed);
        std::mem::take(&mut *open)
    }
}
