//! The Ethernet side of a function: send and receive queues, TIS, TIR, RQT, queue counters, flow tables; and the ports.
//!
//! A packet's way: [`send`] → [`port`] → [`receive`] → [`deliver`]. Packets of one burst go it together.

mod ahead;
pub(crate) mod backlog;
pub mod deliver;
pub mod failure;
pub mod fec;
pub mod flow;
pub mod flow_counters;
pub(crate) mod loopback;
pub mod lro;
mod modify_headers;
pub mod objects;
pub mod pause;
pub mod port;
pub mod receive;
pub mod registers;
pub mod rq;
pub mod segment;
pub mod send;
pub mod shampo;
pub mod sq;
pub mod striding;
pub mod uplink;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mlx5emu_steering::tables::{HashKey, Limits, Steering};
use parking_lot::Mutex;

use crate::eswitch::scheduling::Hold;
use crate::faults::queue::Stalls;
use crate::table::Table;
use backlog::Backlog;
use objects::{Rqt, Tir, Tis};
use rq::Rq;
use sq::Sq;

/// log2 of the send and receive queues of a function together: `log_max_sq`, `log_max_rq`, `log_max_qp`.
pub const LOG_MAX_QUEUES: u32 = 14;
/// log2 of the TIRs: `log_max_tir`.
pub const LOG_MAX_TIR: u32 = 12;
/// log2 of the TISs: `log_max_tis`.
pub const LOG_MAX_TIS: u32 = 10;
/// log2 of the RQTs: `log_max_rqt`.
pub const LOG_MAX_RQT: u32 = 10;
/// log2 of an RQT's entries: `log_max_rqt_size`.
pub const LOG_MAX_RQT_SIZE: u32 = 11;
/// log2 of a work queue's entries: `log_max_wq_sz`.
pub const LOG_MAX_WQ_SIZE: u32 = 15;
/// log2 of the stride of a receive queue: `log_max_stride_sz_rq`.
pub const LOG_MAX_RQ_STRIDE: u32 = 10;
/// A basic block of a send queue: 64 bytes.
pub const WQEBB: usize = 64;
/// The longest send WQE: `max_wqe_sz_sq`.
pub const MAX_WQE_BYTES: usize = 1024;
/// The longest receive WQE: `max_wqe_sz_rq`.
pub const MAX_RQ_WQE_BYTES: usize = 1 << LOG_MAX_RQ_STRIDE;
/// log2 of the longest message that is segmented: `max_lso_cap`.
pub const LOG_MAX_LSO: u32 = 18;
/// Queue counter sets: their number is 8 bits wide.
pub const MAX_Q_COUNTERS: u32 = 255;
/// log2 of the addresses and VLANs in a vport's lists.
pub const LOG_MAX_UC_LIST: u32 = 7;
/// log2 of the multicast addresses in a vport's list.
pub const LOG_MAX_MC_LIST: u32 = 11;
/// log2 of the VLANs in a vport's list.
pub const LOG_MAX_VLAN_LIST: u32 = 12;
/// Levels of tables: with all its name spaces the driver needs 121 of them to receive, and in switchdev mode 186 of the FDB.
pub const MAX_FT_LEVEL: u32 = 255;
/// log2 of a table's entries: tables are sparse, this is the largest pool that the driver takes from.
pub const LOG_MAX_FT_SIZE: u32 = 22;
/// log2 of the entries of a table of the e-switch, sparse as well: the driver's bridge offload asks for 2^17
/// (`MLX5_ESW_BRIDGE_INGRESS_TABLE_SIZE`) and can take no port into a bridge without.
pub const LOG_MAX_FDB_SIZE: u32 = 22;
/// log2 of the flow tables.
pub const LOG_MAX_FT_NUM: u32 = 12;
/// log2 of the flow entries.
pub const LOG_MAX_FLOW: u32 = 20;
/// log2 of the destinations of an entry.
pub const LOG_MAX_DESTINATION: u32 = 5;
/// log2 of the counters of an entry: `log_max_flow_counter`.
pub const LOG_MAX_FLOW_COUNTER: u32 = 0;
/// Actions of a modify-header object: `max_modify_header_actions`.
pub const MAX_MODIFY_HEADER_ACTIONS: u32 = 16;
/// log2 of the modify-header objects: `log_max_modify_header_context`.
pub const LOG_MAX_MODIFY_HEADER: u32 = 16;
/// Flow counters: `max_flow_counter`.
pub const MAX_FLOW_COUNTERS: u32 = 1 << 16;
/// Sizes of bulks, a bit for each: `flow_counter_bulk_alloc`. Bit 0 is 128 counters.
pub const FLOW_COUNTER_BULK_ALLOC: u64 = 1;
/// log2 of the counters that are queried at once: `log_max_flow_counter_bulk`.
pub const LOG_MAX_FLOW_COUNTER_BULK: u32 = 10;
/// First number of a queue: SQs, RQs and (later) QPs share the numbers.
const FIRST_QUEUE: u32 = 0x40;

/// A work queue: send and receive queues share one number space.
#[allow(clippy::large_enum_variant, reason = "almost all queues are one of the two, and they are boxed nowhere else")]
pub enum Queue {
    /// Send queue.
    Send(Sq),
    /// Receive queue.
    Receive(Rq),
}

/// A set of queue counters.
#[derive(Debug, Default)]
pub struct QCounters {
    /// Packets dropped because no receive WQE was posted.
    pub out_of_buffer: AtomicU64,
}

/// Packets and octets.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: AtomicU64,
    /// Octets, without FCS.
    pub octets: AtomicU64,
}

impl Traffic {
    /// Counts frames.
    pub fn count(&self, frames: &[&[u8]]) {
        self.packets.fetch_add(frames.len() as u64, Relaxed);
        self.octets.fetch_add(frames.iter().map(|frame| frame.len() as u64).sum(), Relaxed);
    }

    /// Packets and octets so far.
    pub fn read(&self) -> (u64, u64) {
        (self.packets.load(Relaxed), self.octets.load(Relaxed))
    }
}

/// The Ethernet objects of a function.
pub struct Ethernet {
    /// Send and receive queues.
    pub queues: Table<Queue>,
    /// Transport interface sends.
    pub tis: Table<Tis>,
    /// Transport interface receives.
    pub tirs: Table<Tir>,
    /// Receive queue tables.
    pub rqts: Table<Rqt>,
    /// Queue counter sets.
    pub counters: Table<QCounters>,
    /// Flow tables.
    pub steering: Steering,
    /// Send queues to serve and receive queues to flush, in turn.
    pub(crate) turn: Mutex<VecDeque<u32>>,
    /// Send queues that fault rules delay.
    pub(crate) stalls: Stalls,
    /// What the scheduling of its e-switch holds back.
    pub(crate) hold: Hold,
    /// Receive queues with packets that grow: (deadline, rqn).
    pub(crate) merge_timers: Mutex<BTreeSet<(u64, u32)>>,
    /// Receive queues whose packets are due and wait for memory that only messages reach.
    pub(crate) overdue: Mutex<Vec<u32>>,
    /// A receive queue failed, and its function has yet to be told that there is something to flush.
    pub(crate) rq_failed: AtomicBool,
    /// Frames whose delivery waits for memory that only messages reach.
    pub(crate) backlog: Backlog,
}

impl Ethernet {
    /// Nothing yet. `hash_key` keys the flow tables' hashes.
    pub fn new(hash_key: (u64, u64)) -> Self {
        let limits = Limits {
            tables: 1 << LOG_MAX_FT_NUM,
            entries: 1 << LOG_MAX_FLOW,
            destinations_per_entry: 1 << LOG_MAX_DESTINATION,
            counters_per_entry: 1 << LOG_MAX_FLOW_COUNTER,
            counters: MAX_FLOW_COUNTERS as usize,
            modify_headers: 1 << LOG_MAX_MODIFY_HEADER,
            modify_actions: MAX_MODIFY_HEADER_ACTIONS as usize,
            log_table_size: LOG_MAX_FT_SIZE as u8,
            level: MAX_FT_LEVEL as u8,
            ..Limits::default()
        };
        Self {
            queues: Table::new("queue", FIRST_QUEUE, 1 << LOG_MAX_QUEUES),
            tis: Table::new("TIS", 1, 1 << LOG_MAX_TIS),
            tirs: Table::new("TIR", 1, 1 << LOG_MAX_TIR),
            rqts: Table::new("RQT", 1, 1 << LOG_MAX_RQT),
            counters: Table::new("queue counter set", 1, MAX_Q_COUNTERS),
            steering: Steering::new(HashKey([hash_key.0, hash_key.1]), limits),
            turn: Mutex::default(),
            stalls: Stalls::default(),
            hold: Hold::default(),
            merge_timers: Mutex::default(),
            overdue: Mutex::default(),
            rq_failed: AtomicBool::new(false),
            backlog: Backlog::default(),
        }
    }

    /// Kinds of objects with their number.
    pub fn live_objects(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("queue", self.queues.len()),
            ("TIS", self.tis.len()),
            ("TIR", self.tirs.len()),
            ("RQT", self.rqts.len()),
            ("queue counter set", self.counters.len()),
            ("flow table", self.steering.counts().tables as u32),
            ("flow counter", self.steering.counts().counters as u32),
            ("modify header", self.steering.counts().modify_headers as u32),
        ]
    }
}
