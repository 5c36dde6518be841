//! A function: its register file, HCA state, capabilities, firmware pages and objects.

pub mod caps;
pub mod front;
pub mod gateway;
pub mod hca;
pub mod pages;
pub mod timeouts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_steering::tables::Packets;
use parking_lot::Mutex;

use crate::capture::Taps;
use crate::card::{FunctionIndex, FunctionSetup, Personality};
use crate::commands::queue::{Command, Parked};
use crate::eswitch::Eswitch;
use crate::eswitch::vport::NicVport;
use crate::ethernet::Ethernet;
use crate::faults::{Faults, HealthWatch, WaitingEvents, Watched};
use crate::limiter::Limiter;
use crate::memory::Memory;
use crate::queues::Queues;
use crate::queues::eq::EqKind;
use crate::rdma::Rdma;
use caps::Capabilities;
use front::Front;
use pages::{Canaries, PageTotals, Pages};

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
    /// Firmware pages that the function's driver gave.
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
    /// What a PF keeps of the vports of its e-switch.
    pub eswitch: Eswitch,
    /// Commands that wait.
    pub parked: Vec<Parked>,
    /// Commands whose wait is over.
    pub resumed: VecDeque<Box<Command>>,
    /// CQs whose moderation timer runs: (deadline, cqn).
    pub cq_timers: Mutex<std::collections::BTreeSet<(u64, u32)>>,
    /// Events that fault rules keep back.
    pub(crate) waiting_events: WaitingEvents,
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
    pub space: Watched<M>,
    pub(crate) taps: Arc<Taps>,
    pub(crate) faults: Arc<Faults>,
    /// Messages about what its driver did wrong.
    pub log: Limiter,
    /// Pages given for it and returned since the card started.
    pub page_totals: PageTotals,
    /// Pages that its driver gave for ids that are no function's.
    pub unknown_totals: BTreeMap<u16, PageTotals>,
    /// What became of the patterns in the pages that its driver gave.
    pub canaries: Canaries,
    /// Objects that were alive when the driver tore the HCA down last: its leaks.
    pub left_at_teardown: BTreeMap<&'static str, u32>,
    /// Interrupts of EQs that are still to be lost, by [`EqKind`] (`ctl inject msi-loss`).
    pub lose_interrupts: [AtomicU32; EqKind::COUNT],
    /// Packets of bursts, to use again.
    packets: Mutex<Vec<Packets>>,
    /// Everything that a reset throws away.
    pub state: State,
}

impl<M: DmaSpace + 'static> Function<M> {
    pub(crate) fn new(
        index: FunctionIndex,
        setup: &FunctionSetup,
        personality: &Personality,
        space: M,
        taps: &Arc<Taps>,
        faults: &Arc<Faults>,
    ) -> Self {
        let mut front = Front::new(personality.version);
        if let Some(timeouts) = &personality.timeouts {
            front = front.with_timeouts(timeouts);
        }
        front.watch_health(HealthWatch::new(faults, index));
        if setup.is_embedded_cpu() {
            front = front.of_embedded_cpu();
        }
        // A VF begins when its PF says so.
        front.set_initializing(!setup.is_pf());
        Self {
            name: setup.name.clone(),
            index,
            port: setup.port,
            front: Arc::new(front),
            space: Watched::new(space, faults, index),
            taps: Arc::clone(taps),
            faults: Arc::clone(faults),
            log: Limiter::default(),
            page_totals: PageTotals::default(),
            unknown_totals: BTreeMap::new(),
            canaries: Canaries::default(),
            left_at_teardown: BTreeMap::new(),
            lose_interrupts: Default::default(),
            packets: Mutex::default(),
            state: State::new(setup, personality),
            setup: setup.clone(),
        }
    }

    /// Room for packets that go through this function's tables together. Give it back with [`Function::return_packets`].
    pub(crate) fn borrow_packets(&self) -> Packets {
        self.packets.lock().pop().unwrap_or_default()
    }

    /// Takes back what [`Function::borrow_packets`] gave.
    pub(crate) fn return_packets(&self, packets: Packets) {
        self.packets.lock().push(packets);
    }

    pub(crate) fn is_pf(&self) -> bool {
        self.setup.is_pf()
    }
}

/// The permanent address of a host's PF: that of the port, which the embedded CPU has, changed where those of other ports of
/// the card are alike.
fn host_mac([a, b, c, d, e, f]: [u8; 6]) -> [u8; 6] {
    [a | 2, b, c, d ^ 0x80, e, f]
}

impl State {
    pub(crate) fn new(setup: &FunctionSetup, personality: &Personality) -> Self {
        // A VF has no address until its PF gives it one.
        let port = personality.ports.get(setup.port).map_or([0; 6], |port| port.mac);
        let mac = match setup {
            _ if setup.is_pf() => port,
            _ if setup.is_host_pf() => host_mac(port),
            _ => [0; 6],
        };
        Self {
            hca: HcaState::Disabled,
            issi: 0,
            caps: Capabilities::new(setup, personality),
            pages: Pages::new(personality.seed),
            queues: Queues::new(setup.bar0),
            memory: Memory::new(),
            ethernet: Ethernet::new(personality.hash_key),
            rdma: Rdma::new(),
            vport: NicVport::new(mac, personality.system_image_guid),
            eswitch: Eswitch::default(),
            parked: Vec::new(),
            resumed: VecDeque::new(),
            cq_timers: Mutex::default(),
            waiting_events: WaitingEvents::default(),
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
            ("scheduling element", self.eswitch.scheduling.len()),
        ];
        all.extend(self.ethernet.live_objects());
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }
}
