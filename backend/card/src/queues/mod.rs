//! UARs, event queues, completion queues, and the buffers behind all queues.

pub mod buffer;
pub mod cq;
pub mod eq;
pub mod uar;

use crate::function::front::{FIRST_UAR, UAR_END};
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
}

impl Queues {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            uars: Table::new("UAR", FIRST_UAR, UAR_END - FIRST_UAR),
            eqs: Table::new("EQ", 1, MAX_EQS),
            cqs: Table::new("CQ", 1, 1 << LOG_MAX_CQ),
        }
    }
}

impl Default for Queues {
    fn default() -> Self {
        Self::new()
    }
}
