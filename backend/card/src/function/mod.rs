//! A function: its register file, HCA state, capabilities, firmware pages and objects.

pub mod caps;
pub mod front;
pub mod hca;
pub mod pages;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mlx5emu_pci_model::DmaSpace;
use parking_lot::Mutex;

use crate::card::{FunctionIndex, FunctionSetup, Personality};
use crate::commands::queue::Command;
use crate::error::Wait;
use crate::eswitch::vport::NicVport;
use crate::ethernet::Ethernet;
use crate::limiter::Limiter;
use crate::memory::Memory;
use crate::queues::Queues;
use crate::rdma::Rdma;
use caps::Capabilities;
use front::Front;
use pages::{PageTotals, Pages};

/// Where a function is between ENABLE_HCA and DISABLE_HCA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HcaState {
    /// Before ENABLE_HCA.
    Disabled,
    /// After ENABLE_HCA or TEARDOWN_HCA.
    Enabled,
    /// After INIT_HCA.
    Initialized,
}

/// What a reset throws away.
pub struct State {
    /// Where it is.
    pub hca: HcaState,
    /// `current_issi`.
    pub issi: u16,
    /// Capabilities, current and maximum.
    pub caps: Capabilities,
    /// Firmware pages.
    pub pages: Pages,
    /// EQs, CQs, UARs.
    pub queues: Queues,
    /// PDs, mkeys, transport domains.
    pub memory: Memory,
    /// SQs, RQs, TISs, TIRs, RQTs, counters, flow tables.
    pub ethernet: Ethernet,
    /// XRC domains.
    pub rdma: Rdma,
    /// The function's own vport.
    pub vport: NicVport,
    /// Commands that wait.
    pub parked: Vec<(Box<Command>, Wait)>,
    /// Commands whose wait is over.
    pub resumed: VecDeque<Box<Command>>,
    /// CQs whose moderation timer runs: (deadline, cqn).
    pub cq_timers: Mutex<std::collections::BTreeSet<(u64, u32)>>,
    /// Opcodes whose commands are held (fault rules and tests).
    pub holds: Vec<u16>,
    /// What SET_DRIVER_VERSION said.
    pub driver_version: String,
}

/// One function of the card.
pub struct Function<M> {
    /// Its name.
    pub name: String,
    /// Its index in the card.
    pub index: FunctionIndex,
    /// The port that it is on.
    pub port: usize,
    /// How it was set up.
    pub setup: FunctionSetup,
    /// Its register file.
    pub front: Arc<Front>,
    /// Its view of guest memory.
    pub space: M,
    /// Raised by each reset: what was begun before is dropped.
    pub generation: u64,
    /// Messages about what its driver did wrong.
    pub log: Limiter,
    /// Pages given and returned since the card started.
    pub page_totals: PageTotals,
    /// Objects that were alive when the driver tore the HCA down last: its leaks.
    pub left_at_teardown: BTreeMap<&'static str, u32>,
    /// Everything that a reset throws away.
    pub state: State,
}

impl<M: DmaSpace + 'static> Function<M> {
    pub(crate) fn new(index: FunctionIndex, setup: &FunctionSetup, personality: &Personality, space: M) -> Self {
        Self {
            name: setup.name.clone(),
            index,
            port: setup.port,
            front: Arc::new(Front::new(personality.version)),
            space,
            generation: 1,
            log: Limiter::default(),
            page_totals: PageTotals::default(),
            left_at_teardown: BTreeMap::new(),
            state: State::new(setup, personality),
            setup: setup.clone(),
        }
    }

    pub(crate) fn fresh_state(&self, personality: &Personality) -> State {
        State::new(&self.setup, personality)
    }
}

impl State {
    fn new(setup: &FunctionSetup, personality: &Personality) -> Self {
        let mac = personality.ports.get(setup.port).map_or([0; 6], |p| p.mac);
        Self {
            hca: HcaState::Disabled,
            issi: 0,
            caps: Capabilities::new(setup, personality),
            pages: Pages::default(),
            queues: Queues::new(),
            memory: Memory::new(),
            ethernet: Ethernet::new(personality.hash_key),
            rdma: Rdma::new(),
            vport: NicVport::new(mac, personality.system_image_guid),
            parked: Vec::new(),
            resumed: VecDeque::new(),
            cq_timers: Mutex::default(),
            holds: Vec::new(),
            driver_version: String::new(),
        }
    }

    /// Kinds of objects alive, with their number.
    pub fn live_objects(&self) -> BTreeMap<&'static str, u32> {
        let (q, m) = (&self.queues, &self.memory);
        let mut all = vec![
            (q.uars.kind(), q.uars.len()),
            (q.eqs.kind(), q.eqs.len()),
            (q.cqs.kind(), q.cqs.len()),
            (m.pds.kind(), m.pds.len()),
            (m.domains.kind(), m.domains.len()),
            (m.mkeys.kind(), m.mkeys.len()),
            (self.rdma.xrcds.kind(), self.rdma.xrcds.len()),
        ];
        all.extend(self.ethernet.live_objects());
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }
}
