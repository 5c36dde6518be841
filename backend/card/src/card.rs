//! The card: its functions and ports, and what executors call.

use std::sync::Arc;

use mlx5emu_pci_model::DmaSpace;
use parking_lot::Mutex;

use crate::capture::Taps;
use crate::commands::record::Recorder;
use crate::eswitch::manager::{Vports, vports_of};
use crate::eswitch::{ADJACENT_BASE, ECPF_VPORT, PF_VPORT, SF_BASE_ID};
use crate::ethernet::Queue;
use crate::ethernet::port::Port;
use crate::ethernet::send::Burst;
use crate::faults::Faults;
use crate::faults::packet::DelayedFrames;
use crate::function::front::Front;
use crate::function::gateway::{Gateway, Semaphores};
use crate::function::pages::{PageManner, Pages};
use crate::function::timeouts::Timeouts;
use crate::function::{Function, State};
use crate::notices::USUAL_TEMPERATURE;
use crate::queues::eq::EqKind;

/// Index of a function in its card.
pub type FunctionIndex = usize;

/// How many pages of guest memory the firmware asks for, a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCounts {
    /// Before the capabilities are read (QUERY_PAGES op_mod 1).
    pub boot: u32,
    /// Before INIT_HCA (QUERY_PAGES op_mod 2).
    pub init: u32,
    /// By a page request event, once the driver listens to them.
    pub event: u32,
}

/// How many pages of guest memory the firmware asks a PF's driver for, a VF or SF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VfPageCounts {
    /// When the PF enables the VF.
    pub enable: u32,
    /// When the VF's driver initializes it; they go back when it is torn down.
    pub init: u32,
}

/// One port.
#[derive(Debug, Clone)]
pub struct PortSetup {
    /// Permanent address of the PF on this port.
    pub mac: [u8; 6],
    /// The fastest link that it makes, in Mbit/s.
    pub speed_mbps: u32,
    /// The port of this card that it is wired to, if any.
    pub peer: Option<usize>,
}

/// One function.
#[derive(Debug, Clone)]
pub struct FunctionSetup {
    /// Its name: `pf0`.
    pub name: String,
    /// The port that it is on.
    pub port: usize,
    /// Its vport on the port's e-switch: 0 is the PF, n is VF n - 1, [`SF_BASE_ID`] + n is SF n, [`ECPF_VPORT`] the PF of an
    /// embedded CPU, [`ADJACENT_BASE`] + n a function of another PF. Whoever manages others stands before them in the list.
    pub vport: u16,
    /// It is a function of the host whose e-switch an embedded CPU manages.
    pub of_host: bool,
    /// Its VHCA id. A card has each once and none is 0, unless a mistake of the firmware is to be seen.
    pub vhca_id: u16,
    /// Its MSI-X vectors; of an SF, those of its PF.
    pub vectors: u16,
    /// Length of its BAR0, or of an SF's window, in bytes: a multiple of 4 KiB, more than 16 of them and not more than 32 MiB.
    pub bar0: u64,
}

impl FunctionSetup {
    /// Whether it is the physical function that has the port and manages its e-switch. A host's PF is managed, as VFs are.
    pub fn is_pf(&self) -> bool {
        self.is_embedded_cpu() || self.vport == PF_VPORT && !self.of_host
    }

    /// Whether it is the PF of an embedded CPU (ECPF).
    pub fn is_embedded_cpu(&self) -> bool {
        self.vport == ECPF_VPORT
    }

    /// Whether it is the PF of a host whose e-switch an embedded CPU manages.
    pub fn is_host_pf(&self) -> bool {
        self.vport == PF_VPORT && self.of_host
    }

    /// Whether it is a function of another PF, which that one's firmware delegates to this e-switch.
    pub fn is_adjacent(&self) -> bool {
        (ADJACENT_BASE..SF_BASE_ID).contains(&self.vport)
    }

    /// Whether it is a subfunction (SF).
    pub fn is_sf(&self) -> bool {
        (SF_BASE_ID..ECPF_VPORT).contains(&self.vport)
    }
}

/// What a card is made of.
#[derive(Debug, Clone)]
pub struct Personality {
    /// Firmware version: major, minor, sub-minor.
    pub version: (u16, u16, u16),
    /// Parameter-set id, up to 16 bytes.
    pub psid: String,
    /// System image GUID.
    pub system_image_guid: u64,
    /// Firmware pages of a PF.
    pub pages: PageCounts,
    /// Firmware pages of a VF.
    pub vf_pages: VfPageCounts,
    /// The seed of every decision that hardware leaves to chance.
    pub seed: u64,
    /// How the firmware manages its pages, beside their number.
    pub page_manner: PageManner,
    /// How long the driver is to wait; `None` leaves it its own time-outs.
    pub timeouts: Option<Timeouts>,
    /// Key of the hashes that a guest could otherwise collide; constant under a stepper.
    pub hash_key: (u64, u64),
    /// The ports.
    pub ports: Vec<PortSetup>,
    /// The functions.
    pub functions: Vec<FunctionSetup>,
}

/// Why a function is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// Function-level reset.
    Flr,
    /// Software reset, which the driver asks the firmware for when that has failed.
    Software,
    /// Conventional reset, machine reset, or the client is gone: as after power-on.
    Conventional,
    /// The PF ended this VF or SF, by DISABLE_HCA or with a reset of its own.
    Disabled,
}

/// What a reset took out of a function; the executor drops it when the gate is free again.
#[must_use = "drop it outside the gate"]
pub struct Garbage(Vec<State>);

/// Memory that only the client reaches by message: fetch it outside the gate, then call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsFetch {
    /// The function whose space it is in.
    pub function: FunctionIndex,
    /// Address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
}

/// What [`Card::serve`] leaves.
#[derive(Debug, Default)]
pub struct Served {
    /// There is more to do for this function.
    pub more: bool,
    /// Functions that got frames which they must fetch memory for.
    pub wake: Vec<FunctionIndex>,
}

/// A card. `M` is a function's view of the memory behind its link.
pub struct Card<M> {
    pub(crate) personality: Personality,
    pub(crate) functions: Vec<Function<M>>,
    pub(crate) ports: Vec<Port>,
    /// Of the chip, in 1/8 degree Celsius.
    pub(crate) temperature: u64,
    /// Functions by port and vport.
    pub(crate) vports: Vec<Vports>,
    pub(crate) recorder: Recorder,
    semaphores: Arc<Semaphores>,
    pub(crate) taps: Arc<Taps>,
    pub(crate) faults: Arc<Faults>,
    /// Frames that fault rules make late.
    pub(crate) delayed: DelayedFrames,
    /// Bursts to use again.
    pub(crate) bursts: Mutex<Vec<Burst>>,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// A card whose functions, in the order of `personality.functions`, see the spaces in `spaces`.
    pub fn new(personality: Personality, spaces: Vec<M>) -> Self {
        let ports: Vec<Port> = personality.ports.iter().map(Port::new).collect();
        let taps = Arc::new(Taps::default());
        let faults = Arc::new(Faults::new(&personality));
        let vports = vports_of(&personality);
        let functions = personality
            .functions
            .iter()
            .zip(spaces)
            .enumerate()
            .map(|(index, (setup, space))| Function::new(index, setup, &personality, space, &taps, &faults))
            .collect();
        Self {
            personality,
            functions,
            ports,
            temperature: USUAL_TEMPERATURE,
            vports,
            recorder: Recorder::default(),
            taps,
            faults,
            delayed: DelayedFrames::default(),
            semaphores: Arc::default(),
            bursts: Mutex::default(),
        }
    }

    /// Number of functions.
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// Its PFs.
    pub fn physical_functions(&self) -> Vec<FunctionIndex> {
        self.functions.iter().filter(|function| function.is_pf()).map(|function| function.index).collect()
    }

    /// Name of a function.
    pub fn function_name(&self, f: FunctionIndex) -> &str {
        self.functions.get(f).map_or("?", |f| f.name.as_str())
    }

    /// The register file of a function: shared with its I/O thread.
    pub fn front(&self, f: FunctionIndex) -> Option<Arc<Front>> {
        self.functions.get(f).map(|f| f.front.clone())
    }

    /// A gateway to a function's registers, for the vendor-specific capability of its configuration space. VFs have none.
    pub fn gateway(&self, f: FunctionIndex) -> Option<Gateway> {
        let function = self.functions.get(f).filter(|function| function.is_pf())?;
        Some(Gateway::new(f, Arc::clone(&function.front), Arc::clone(&self.semaphores)))
    }

    /// The function that has the semaphore for software resets.
    pub fn sw_reset_owner(&self) -> Option<&str> {
        self.semaphores.sw_reset_owner().map(|f| self.function_name(f))
    }

    /// A function's space.
    pub fn space(&self, f: FunctionIndex) -> Option<&M> {
        self.functions.get(f).map(|f| f.space.inner())
    }

    /// A function's space, to change its maps.
    pub fn space_mut(&mut self, f: FunctionIndex) -> Option<&mut M> {
        self.functions.get_mut(f).map(|f| f.space.inner_mut())
    }

    /// The commands that were executed.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// A function's reset generation.
    pub fn generation(&self, f: FunctionIndex) -> u64 {
        self.functions.get(f).map_or(0, |f| f.front.life())
    }

    /// Resets a function: everything it had is taken out, commands in flight are forgotten, its port goes down if no
    /// other function keeps it up. DMA that is in progress elsewhere ended before the gate was exclusive.
    pub fn reset(&mut self, f: FunctionIndex, kind: ResetKind, now: u64) -> Garbage {
        let Some(old) = self.functions.get(f) else { return Garbage(Vec::new()) };
        let (port, front) = (old.port, old.front.clone());
        let fresh = self.fresh_state(f);
        let mut garbage = vec![std::mem::replace(&mut self.functions[f].state, fresh)];
        let pages = std::mem::replace(&mut garbage[0].pages, Pages::new(0));
        if let Some(p) = self.ports.get_mut(port) {
            p.pause.forget_function(f);
        }
        front.reset();
        log::info!("{}: reset ({kind:?})", self.function_name(f));
        let managed = self.managed(f).to_vec();
        self.has_left(f);
        self.lost_everything(f, &pages, now);
        for below in managed {
            // Without their PF there are no VFs and SFs.
            let Garbage(more) = self.reset(below, ResetKind::Disabled, now);
            garbage.extend(more);
        }
        let alive = self.functions[f].is_pf() || self.is_enabled(f);
        front.set_initializing(!alive);
        self.vhca_state_changed(f);
        Garbage(garbage)
    }

    /// The firmware of a function fails with an assertion and waits for a reset, or only says that something is wrong
    /// (`ctl inject health`).
    pub fn inject_health(&mut self, f: FunctionIndex, synd: u8, report: bool) {
        if let Some(function) = self.functions.get(f) {
            if report { function.front.report(synd) } else { function.front.assert(synd) }
        }
    }

    /// The health counter of a function stands still, or moves (`ctl inject heartbeat`).
    pub fn inject_heartbeat(&mut self, f: FunctionIndex, on: bool) {
        if let Some(function) = self.functions.get(f) {
            function.front.set_heartbeat(on);
        }
    }

    /// The next `count` interrupts of a function's EQs of this kind are lost (`ctl inject msi-loss`).
    pub fn inject_msi_loss(&mut self, f: FunctionIndex, kind: EqKind, count: u32) {
        if let Some(function) = self.functions.get_mut(f) {
            *function.lose_interrupts[kind as usize].get_mut() = count;
        }
    }

    /// A function's send queue executes nothing more until it is reset (`ctl inject stall`). False: it has no such queue.
    pub fn inject_stall(&mut self, f: FunctionIndex, sqn: u32) -> bool {
        let queue = self.functions.get_mut(f).and_then(|f| f.state.ethernet.queues.get_mut(sqn).ok());
        let Some(Queue::Send(sq)) = queue else { return false };
        sq.moving.get_mut().stalled = true;
        true
    }

    /// The cable of a port is cut, or mended (`ctl inject link`). False: there is no such port.
    pub fn inject_link(&mut self, port: usize, up: bool, now: u64) -> bool {
        let Some(found) = self.ports.get_mut(port) else { return false };
        found.cut = !up;
        self.update_link(port, now);
        true
    }

    /// The function fails for good, as firmware that asserts does: its health buffer tells, its counter stops, its
    /// commands are never answered. Others go on.
    pub fn fail_function(&self, f: FunctionIndex, synd: u8) {
        if let Some(function) = self.functions.get(f) {
            function.front.die(synd);
        }
    }
}
