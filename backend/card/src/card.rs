//! The card: its functions and ports, and what executors call.

use std::sync::Arc;

use mlx5emu_pci_model::{DmaError, DmaSpace};
use parking_lot::Mutex;

use crate::commands::record::Recorder;
use crate::ethernet::port::Port;
use crate::ethernet::send::Burst;
use crate::function::Function;
use crate::function::front::Front;

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
    /// Its VHCA id, unique in the card and not zero.
    pub vhca_id: u16,
    /// Its MSI-X vectors.
    pub vectors: u16,
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
    /// Firmware pages.
    pub pages: PageCounts,
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
}

/// What a reset took out of a function; the executor drops it when the gate is free again.
#[must_use = "drop it outside the gate"]
pub struct Garbage(#[allow(dead_code)] pub(crate) Box<dyn std::any::Any + Send>);

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

/// Doorbells of one kind that are looked at in one go.
const DOORBELLS: usize = 256;

/// A card. `M` is a function's view of the memory behind its link.
pub struct Card<M> {
    pub(crate) personality: Personality,
    pub(crate) functions: Vec<Function<M>>,
    pub(crate) ports: Vec<Port>,
    pub(crate) recorder: Recorder,
    /// Bursts to use again.
    bursts: Mutex<Vec<Burst>>,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// A card whose functions, in the order of `personality.functions`, see the spaces in `spaces`.
    pub fn new(personality: Personality, spaces: Vec<M>) -> Self {
        let ports = personality.ports.iter().map(Port::new).collect();
        let functions = personality
            .functions
            .iter()
            .zip(spaces)
            .enumerate()
            .map(|(index, (setup, space))| Function::new(index, setup, &personality, space))
            .collect();
        Self { personality, functions, ports, recorder: Recorder::default(), bursts: Mutex::default() }
    }

    /// Number of functions.
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// Name of a function.
    pub fn function_name(&self, f: FunctionIndex) -> &str {
        self.functions.get(f).map_or("?", |f| f.name.as_str())
    }

    /// The register file of a function: shared with its I/O thread.
    pub fn front(&self, f: FunctionIndex) -> Option<Arc<Front>> {
        self.functions.get(f).map(|f| f.front.clone())
    }

    /// A function's space.
    pub fn space(&self, f: FunctionIndex) -> Option<&M> {
        self.functions.get(f).map(|f| &f.space)
    }

    /// A function's space, to change its maps.
    pub fn space_mut(&mut self, f: FunctionIndex) -> Option<&mut M> {
        self.functions.get_mut(f).map(|f| &mut f.space)
    }

    /// The commands that were executed.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// A function's reset generation.
    pub fn generation(&self, f: FunctionIndex) -> u64 {
        self.functions.get(f).map_or(0, |f| f.generation)
    }

    /// Resets a function: everything it had is taken out, commands in flight are forgotten, its port goes down if no
    /// other function keeps it up. DMA that is in progress elsewhere ended before the gate was exclusive.
    pub fn reset(&mut self, f: FunctionIndex, kind: ResetKind, now: u64) -> Garbage {
        let Some(old) = self.functions.get(f) else { return Garbage(Box::new(())) };
        let (port, generation, front) = (old.port, old.generation + 1, old.front.clone());
        let fresh = self.functions[f].fresh_state(&self.personality);
        let garbage = std::mem::replace(&mut self.functions[f].state, fresh);
        self.functions[f].page_totals.forgotten += u64::from(garbage.pages.held());
        self.functions[f].generation = generation;
        front.reset();
        self.set_port_admin(port, false, now);
        log::info!("{}: reset ({kind:?})", self.function_name(f));
        Garbage(Box::new(garbage))
    }

    /// Serves what `f`'s doorbells ask for: EQ and CQ doorbells, frames put aside, and one burst of one send queue
    /// (gate shared).
    pub fn serve(&self, f: FunctionIndex, now: u64) -> Result<Served, NeedsFetch> {
        let mut served = Served::default();
        let Some(function) = self.functions.get(f) else { return Ok(served) };
        let front = &function.front;
        let needs = |error| match error {
            DmaError::Fetch { addr, len } => NeedsFetch { function: f, addr, len },
            // Only fetches come here: everything else became a completion or a log line where it happened.
            _ => NeedsFetch { function: f, addr: 0, len: 0 },
        };
        let mut numbers = Vec::new();
        front.eqs.pending.take(DOORBELLS, &mut numbers);
        numbers.drain(..).for_each(|n| function.eq_doorbell(n));
        front.cqs.pending.take(DOORBELLS, &mut numbers);
        numbers.drain(..).for_each(|n| function.cq_doorbell(n, now));
        function.retry_backlog(now).map_err(needs)?;
        self.bring_in(f, now, &mut served.wake);
        let mut turn = function.state.ethernet.turn.lock();
        if turn.is_empty() {
            front.sends.take(DOORBELLS, &mut numbers);
            turn.extend(numbers.drain(..));
        }
        let next = turn.pop_front();
        let others = !turn.is_empty();
        drop(turn);
        if let Some(sqn) = next {
            let mut burst = self.bursts.lock().pop().unwrap_or_default();
            let result = self.send_burst(f, sqn, now, &mut burst, &mut served.wake);
            self.bursts.lock().push(burst);
            match result {
                Ok(false) => {}
                Ok(true) => {
                    front.sends.mark(sqn);
                }
                Err(error) => {
                    front.sends.mark(sqn);
                    return Err(needs(error));
                }
            }
        }
        served.more = others || front.has_work();
        Ok(served)
    }

    /// Does what is due at `now` (gate shared).
    pub fn run_timers(&self, f: FunctionIndex, now: u64) {
        if let Some(function) = self.functions.get(f) {
            function.run_cq_timers(now);
        }
    }

    /// When [`Card::run_timers`] or [`Card::resumable`] has something to do next.
    pub fn next_deadline(&self, f: FunctionIndex) -> Option<u64> {
        let function = self.functions.get(f)?;
        let timer = function.state.cq_timers.lock().first().map(|(at, _)| *at);
        [timer, self.parked_deadline(f)].into_iter().flatten().min()
    }

    /// Whether `f` has work that no doorbell announces: frames put aside, send queues whose turn comes.
    pub fn has_work(&self, f: FunctionIndex) -> bool {
        self.functions.get(f).is_some_and(|f| {
            f.front.has_work()
                || !f.state.ethernet.backlog.lock().is_empty()
                || !f.state.ethernet.turn.lock().is_empty()
        })
    }

    /// The function fails for good, as firmware that asserts does: its health buffer tells, its counter stops, its
    /// commands are never answered. Others go on.
    pub fn fail_function(&self, f: FunctionIndex, synd: u8) {
        if let Some(function) = self.functions.get(f) {
            function.front.die(synd);
        }
    }
}
