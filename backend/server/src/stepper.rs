//! The executor for tests, fuzzers and replay: one thread, a virtual clock, and a seed that chooses what is next.
//!
//! A command's fetch, execution and answer are steps of their own, so that whatever other threads could do in between
//! happens here in between too. The same seed and the same inputs give the same log, byte for byte.
//!
//! ```
//! use mlx5emu_card::Card;
//! use mlx5emu_pci_model::testing::TestSpace;
//! use mlx5emu_server::stepper::{Stepper, test_personality};
//!
//! let spaces = vec![TestSpace::new(1 << 20), TestSpace::new(1 << 20)];
//! let mut stepper = Stepper::new(Card::new(test_personality(), spaces), 7);
//! // A driver would ring the first doorbell here, through `stepper.front(0)`.
//! assert!(stepper.run_until_idle(1000).is_ok());
//! ```

use std::fmt::Write;
use std::sync::Arc;

use mlx5emu_card::function::front::BAR0_SIZE;
use mlx5emu_card::{
    Card, Front, FunctionIndex, FunctionSetup, PageCounts, Personality, PortSetup, ResetKind, VfPageCounts,
};
use mlx5emu_pci_model::testing::{TestSpace, TransferKind};
use mlx5emu_vfio_user::FunctionMemory;
use parking_lot::RwLock;

use crate::space::{Outside, Space};
use crate::step::{self, Current, Fetch, Gate, Step};

/// Nanoseconds that one step takes.
const STEP_NS: u64 = 250;
/// Transfers of one function that one step can log.
const TRANSFERS: usize = 1 << 16;

/// A memory that tells what was done with it.
pub trait Traced: Space {
    /// Begins to take notes.
    fn start_trace(&self);

    /// Adds what was noted since the last time to `log`, a line each.
    fn take_trace(&self, log: &mut String);
}

impl Traced for TestSpace {
    fn start_trace(&self) {
        self.start_log(TRANSFERS);
    }

    fn take_trace(&self, log: &mut String) {
        let mut data = Vec::new();
        for transfer in self.take_log() {
            if transfer.kind == TransferKind::Msi {
                let _ = writeln!(log, "  msi {}", transfer.addr);
                continue;
            }
            data.clear();
            data.resize(transfer.len, 0);
            self.peek(transfer.addr, &mut data);
            let (kind, addr, len) = (transfer.kind, transfer.addr, transfer.len);
            // Writing to a String cannot fail.
            let _ = writeln!(log, "  {kind:?} {addr:#x}+{len} {:?} {:016x}", transfer.attrs, digest(&data));
        }
    }
}

/// A machine's memory takes no notes: it is for measurements, not for replay.
impl Traced for FunctionMemory {
    fn start_trace(&self) {}

    fn take_trace(&self, _: &mut String) {}
}

/// FNV-1a, 64 bits: to see that bytes differ, not to protect them.
fn digest(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64's finalizer: the n-th number of a seed without the ones before it.
fn draw(seed: u64, n: u64) -> u64 {
    let mut x = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What can be done next for one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Take a command whose wait is over.
    Resume,
    /// Copy the next command.
    Fetch,
    /// Execute it.
    Execute,
    /// Answer it.
    Answer,
    /// Run timers that are due.
    Timers,
    /// Serve doorbells and queues, one burst.
    Serve,
}

/// More steps than allowed were taken and there is still something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("still busy after {0} steps")]
pub struct StillBusy(pub u64);

struct Seat {
    front: Arc<Front>,
    outside: Arc<dyn Outside>,
    current: Current,
    ready: bool,
}

/// A card that does one thing at a time.
pub struct Stepper<M: Traced> {
    gate: Gate<M>,
    seats: Vec<Seat>,
    seed: u64,
    steps: u64,
    now: u64,
    log: String,
    logged_commands: u64,
}

impl<M: Traced> Stepper<M> {
    /// Runs `card`; `seed` chooses the order of its steps.
    pub fn new(card: Card<M>, seed: u64) -> Self {
        let seats = (0..card.function_count()).filter_map(|f| {
            let space = card.space(f)?;
            space.start_trace();
            Some(Seat { front: card.front(f)?, outside: space.outside(), current: Current::default(), ready: false })
        });
        Self {
            seats: seats.collect(),
            gate: RwLock::new(card),
            seed,
            steps: 0,
            now: 1,
            log: String::new(),
            logged_commands: 0,
        }
    }

    /// The clock, nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The card, to be looked at or changed between two steps.
    pub fn card(&mut self) -> &mut Card<M> {
        self.gate.get_mut()
    }

    /// The register file of function `f`, for a driver.
    pub fn front(&self, f: FunctionIndex) -> Option<Arc<Front>> {
        self.seats.get(f).map(|seat| Arc::clone(&seat.front))
    }

    /// Has the queues of `f` looked at though no doorbell was rung.
    pub fn wake(&mut self, f: FunctionIndex) {
        if let Some(seat) = self.seats.get_mut(f) {
            seat.ready = true;
        }
    }

    /// Resets function `f`.
    pub fn reset(&mut self, f: FunctionIndex, kind: ResetKind) {
        let now = self.now;
        drop(self.card().reset(f, kind, now));
        let _ = writeln!(self.log, "{} reset {f} {kind:?}", self.now);
    }

    /// Everything that can be done now.
    pub fn tasks(&self) -> Vec<(FunctionIndex, Task)> {
        let card = self.gate.read();
        let mut tasks = Vec::new();
        for (f, seat) in self.seats.iter().enumerate() {
            let due = |at: Option<u64>| at.is_some_and(|at| at <= self.now);
            let free = seat.current.is_free();
            let able = [
                (Task::Resume, free && due(card.parked_deadline(f))),
                (Task::Fetch, free && seat.front.first_slot().is_some()),
                (Task::Execute, seat.current.is_fetched()),
                (Task::Answer, seat.current.is_executed()),
                (Task::Timers, due(card.timer_deadline(f))),
                (Task::Serve, seat.ready || card.rung(f) || due(card.flow_deadline(f))),
            ];
            tasks.extend(able.into_iter().filter(|(_, able)| *able).map(|(task, _)| (f, task)));
        }
        tasks
    }

    /// Does one of the things that can be done now. False: there is none.
    pub fn step(&mut self) -> bool {
        let tasks = self.tasks();
        if tasks.is_empty() {
            return false;
        }
        let (f, task) = tasks[(draw(self.seed, self.steps) % tasks.len() as u64) as usize];
        self.steps += 1;
        self.now += STEP_NS;
        let step = self.run(f, task);
        let _ = writeln!(self.log, "{} {f} {task:?} {step:?}", self.now);
        if let Step::Fetch(fetch) = step {
            self.stage(f, task, fetch);
        } else {
            self.seats[f].outside.settle();
        }
        self.take_notes();
        true
    }

    /// Steps until nothing is left to do at this time.
    ///
    /// # Errors
    /// `max` steps were not enough.
    pub fn run_until_idle(&mut self, max: u64) -> Result<u64, StillBusy> {
        let from = self.steps;
        while self.step() {
            if self.steps - from >= max {
                return Err(StillBusy(max));
            }
        }
        Ok(self.steps - from)
    }

    /// Lets time pass up to the next deadline. False: there is none.
    pub fn sleep(&mut self) -> bool {
        let card = self.gate.get_mut();
        let of = |f| [card.parked_deadline(f), card.next_deadline(f)];
        let Some(at) = (0..self.seats.len()).flat_map(of).flatten().min() else { return false };
        self.now = self.now.max(at);
        true
    }

    /// What happened: steps, commands, transfers with a digest of their data, messages.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The log so far; a new one begins.
    pub fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    fn run(&mut self, f: FunctionIndex, task: Task) -> Step {
        let (gate, now) = (&self.gate, self.now);
        let seat = &mut self.seats[f];
        match task {
            Task::Resume => step::resume(gate, f, &mut seat.current, now),
            Task::Fetch => step::fetch(gate, f, &mut seat.current, now),
            Task::Execute => step::execute(gate, &mut seat.current, now),
            Task::Answer => step::answer(gate, f, &mut seat.current, now),
            Task::Timers => step::timers(gate, f, now),
            Task::Serve => {
                seat.ready = false;
                self.serve(f)
            }
        }
    }

    fn serve(&mut self, f: FunctionIndex) -> Step {
        let card = self.gate.get_mut();
        let served = card.serve(f, self.now);
        if card.port_uplink(f).is_some_and(|uplink| uplink.flush()) {
            // Whoever sends by this wire waited for that.
            self.seats.iter_mut().for_each(|seat| seat.ready = true);
        }
        match served {
            Ok(served) => {
                for other in served.wake.into_iter().chain(served.more.then_some(f)) {
                    self.wake(other);
                }
                Step::Done
            }
            Err(needs) => Step::Fetch(Fetch { function: needs.function, addr: needs.addr, len: needs.len }),
        }
    }

    fn stage(&mut self, f: FunctionIndex, task: Task, fetch: Fetch) {
        if let Some(owner) = self.seats.get(fetch.function)
            && let Err(why) = owner.outside.stage(fetch.addr, fetch.len)
        {
            let _ = writeln!(self.log, "  not fetched: {why}");
        }
        if task == Task::Serve {
            self.wake(f);
        }
    }

    fn take_notes(&mut self) {
        let card = self.gate.get_mut();
        for record in card.recorder().since(self.logged_commands) {
            self.logged_commands = record.seq;
            let _ = writeln!(
                self.log,
                "  command {} of {} slot {}: {} {:#x} -> {} {:#x} in {:016x} out {:02x?} {}+{}",
                record.seq,
                record.function,
                record.slot,
                record.opcode,
                record.op_mod,
                record.status,
                record.syndrome,
                digest(&record.input),
                record.output,
                record.started,
                record.took,
            );
        }
        for f in 0..self.seats.len() {
            if let Some(space) = card.space(f) {
                space.take_trace(&mut self.log);
            }
        }
    }
}

/// A card for tests: two ports wired to each other, a function each, and nothing that differs from run to run.
pub fn test_personality() -> Personality {
    let function = |n: u16| FunctionSetup {
        name: format!("pf{n}"),
        port: n.into(),
        vport: 0,
        of_host: false,
        vhca_id: n + 1,
        vectors: 8,
        bar0: BAR0_SIZE,
    };
    let port = |n: u8| PortSetup { mac: [2, 0, 0, 0, 0, n + 1], speed_mbps: 100_000, peer: Some(usize::from(1 - n)) };
    Personality {
        version: (28, 43, 1000),
        psid: "EMU0000000001".into(),
        system_image_guid: 0x0200_0003_0000_0001,
        pages: PageCounts { boot: 3, init: 5, event: 7 },
        vf_pages: VfPageCounts { enable: 6, init: 10 },
        seed: 0,
        page_manner: mlx5emu_card::PageManner::default(),
        timeouts: None,
        hash_key: (1, 2),
        ports: vec![port(0), port(1)],
        functions: vec![function(0), function(1)],
    }
}
