//! A card in the same thread: the driver's waiting is what lets it run. Which of its tasks is next is drawn from a seed,
//! and time passes by steps, so that a run can be repeated to the byte.
//!
//! Commands are run in their three parts (fetch, execute, answer) with other tasks in between, as threads would.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlx5emu_card::card::{Card, FunctionSetup, PageCounts, Personality, PortSetup, ResetKind};
use mlx5emu_card::commands::queue::{Command, Reply};
use mlx5emu_card::function::front::Front;
use mlx5emu_pci_model::DmaError;
use mlx5emu_pci_model::testing::TestSpace;

use crate::arena::Arena;
use crate::error::Result;
use crate::host::Host;

/// Vectors of each function.
const VECTORS: u16 = 8;
/// Bytes of memory of each function.
const MEMORY: usize = 96 << 20;
/// Nanoseconds that one step takes.
const STEP_NS: u64 = 250;
/// A wait is given up after this many steps.
const PATIENCE: u32 = 2_000_000;
/// Transfers kept of each function's log.
const LOG_LIMIT: usize = 1 << 22;

/// One thing that the card may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Go on with a command whose wait is over.
    Resume,
    /// Copy a command that was rung for.
    Fetch,
    /// Execute the command that was copied.
    Execute,
    /// Answer the command that was executed.
    Finish,
    /// Serve doorbells and queues.
    Serve,
    /// Run timers.
    Timers,
}

/// A function and what is unfinished of it.
struct Seat {
    space: TestSpace,
    front: Arc<Front>,
    fetched: Option<Box<Command>>,
    reply: Option<Reply>,
    ready: bool,
}

/// A card, its functions' memories, and the order of events.
pub struct World {
    /// The card.
    pub card: Card<TestSpace>,
    /// The time, in nanoseconds.
    pub now: u64,
    seats: Vec<Seat>,
    seed: u64,
    draws: u64,
    steps: u64,
}

/// A world that several drivers share.
pub type SharedWorld = Rc<RefCell<World>>;

/// A card with two ports wired to each other, a function each.
pub fn two_ports() -> Personality {
    let function =
        |n: u16| FunctionSetup { name: format!("pf{n}"), port: usize::from(n), vhca_id: n + 1, vectors: VECTORS };
    Personality {
        version: (28, 40, 1000),
        psid: "MT_EMU0000001".into(),
        system_image_guid: 0x0200_0003_0000_0001,
        pages: PageCounts { boot: 17, init: 900, event: 33 },
        hash_key: (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210),
        ports: vec![
            PortSetup { mac: [2, 0, 0, 0, 0, 1], peer: Some(1) },
            PortSetup { mac: [2, 0, 0, 0, 0, 2], peer: Some(0) },
        ],
        functions: vec![function(0), function(1)],
    }
}

impl World {
    /// A world with a card of `personality`; `seed` draws the order of its tasks.
    pub fn new(personality: Personality, seed: u64) -> Self {
        let count = personality.functions.len();
        // One memory below 4 GiB, the others above: addresses have more than 32 bits.
        let spaces: Vec<_> = (0..count as u64).map(|n| TestSpace::with_base(n << 33 | 0x4000_0000, MEMORY)).collect();
        let card = Card::new(personality, spaces.clone());
        let seats = spaces
            .into_iter()
            .enumerate()
            .filter_map(|(f, space)| {
                let front = card.front(f)?;
                Some(Seat { space, front, fetched: None, reply: None, ready: false })
            })
            .collect();
        Self { card, now: 1, seats, seed, draws: 0, steps: 0 }
    }

    /// A machine for each function.
    pub fn hosts(self) -> (SharedWorld, Vec<InProcess>) {
        let seats: Vec<_> = self.seats.iter().map(|s| (s.space.clone(), s.front.clone())).collect();
        let world = Rc::new(RefCell::new(self));
        let hosts = seats
            .into_iter()
            .map(|(space, front)| InProcess {
                world: Rc::clone(&world),
                front,
                arena: Arena::new(space.base(), MEMORY as u64),
                space,
            })
            .collect();
        (world, hosts)
    }

    /// The next draw: a number below `bound`.
    fn draw(&mut self, bound: usize) -> usize {
        self.draws += 1;
        // SplitMix64: each draw is a hash of the seed and its count.
        let mut x = self.seed.wrapping_add(self.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % (bound.max(1) as u64)) as usize
    }

    fn tasks(&self) -> Vec<(usize, Task)> {
        let mut tasks = Vec::new();
        for (f, seat) in self.seats.iter().enumerate() {
            if seat.reply.is_some() {
                tasks.push((f, Task::Finish));
            } else if seat.fetched.is_some() {
                tasks.push((f, Task::Execute));
            } else {
                if seat.front.first_slot().is_some() {
                    tasks.push((f, Task::Fetch));
                }
                if self.card.parked_deadline(f).is_some_and(|at| at <= self.now) {
                    tasks.push((f, Task::Resume));
                }
            }
            let front = &seat.front;
            if seat.ready || !(front.sends.is_empty() && front.cqs.pending.is_empty() && front.eqs.pending.is_empty()) {
                tasks.push((f, Task::Serve));
            }
            if self.card.next_deadline(f).is_some_and(|at| at <= self.now) {
                tasks.push((f, Task::Timers));
            }
        }
        tasks
    }

    /// Does one thing, or lets time pass up to the next timer. `false`: nothing will ever happen by itself.
    pub fn step(&mut self) -> bool {
        let tasks = self.tasks();
        if tasks.is_empty() {
            return self.sleep();
        }
        let (f, task) = tasks[self.draw(tasks.len())];
        self.now += STEP_NS;
        self.steps += 1;
        if let Err((f, error)) = self.run(f, task)
            && let (DmaError::Fetch { addr, len }, Some(seat)) = (error, self.seats.get_mut(f))
        {
            seat.space.fetch(addr, len);
            seat.ready = true;
        }
        true
    }

    /// Steps until nothing is left to do now; timers that are not due stay.
    pub fn settle(&mut self) {
        for _ in 0..PATIENCE {
            if self.tasks().is_empty() || !self.step() {
                return;
            }
        }
    }

    fn sleep(&mut self) -> bool {
        let deadlines = (0..self.seats.len()).flat_map(|f| [self.card.parked_deadline(f), self.card.next_deadline(f)]);
        match deadlines.flatten().min() {
            Some(at) => {
                self.now = self.now.max(at);
                true
            }
            None => false,
        }
    }

    fn run(&mut self, f: usize, task: Task) -> Result<(), (usize, DmaError)> {
        let now = self.now;
        let own = |error| (f, error);
        match task {
            Task::Resume => {
                if let Some(command) = self.card.resumable(f, now) {
                    self.seats[f].fetched = Some(command);
                }
            }
            Task::Fetch => self.seats[f].fetched = self.card.fetch_command(f, now).map_err(own)?,
            Task::Execute => {
                if let Some(command) = self.seats[f].fetched.take() {
                    self.seats[f].reply = self.card.execute(command, now);
                }
            }
            Task::Finish => {
                if let Some(reply) = &self.seats[f].reply {
                    self.card.finish(reply, now).map_err(own)?;
                    self.seats[f].reply = None;
                }
            }
            Task::Serve => {
                self.seats[f].ready = false;
                let served = self.card.serve(f, now).map_err(|needs| {
                    self.seats[f].ready = true;
                    (needs.function, DmaError::Fetch { addr: needs.addr, len: needs.len })
                })?;
                self.seats[f].ready = served.more;
                for other in served.wake {
                    self.seats[other].ready = true;
                }
            }
            Task::Timers => self.card.run_timers(f, now),
        }
        Ok(())
    }

    /// Resets a function. What an executor would have half done stays half done: the card must notice by itself.
    pub fn reset(&mut self, f: usize, kind: ResetKind) {
        drop(self.card.reset(f, kind, self.now));
    }

    /// A function's memory.
    pub fn space(&self, f: usize) -> Option<&TestSpace> {
        self.seats.get(f).map(|seat| &seat.space)
    }

    /// Begins the record of every transfer.
    pub fn start_log(&self) {
        self.seats.iter().for_each(|seat| seat.space.start_log(LOG_LIMIT));
    }

    /// Everything that happened: commands, then every transfer and message of each function.
    pub fn take_log(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for record in self.card.recorder().since(0) {
            let _ = writeln!(text, "{record:?}");
        }
        for seat in &self.seats {
            for transfer in seat.space.take_log() {
                let _ = writeln!(text, "{transfer:?}");
            }
            let _ = writeln!(text, "lost {}", seat.space.lost());
        }
        let _ = writeln!(text, "{} steps, {} ns", self.steps, self.now);
        text
    }
}

/// One function's machine.
pub struct InProcess {
    world: SharedWorld,
    front: Arc<Front>,
    space: TestSpace,
    arena: Arena,
}

impl InProcess {
    /// The world.
    pub fn world(&self) -> &SharedWorld {
        &self.world
    }

    /// The function's memory, as the device sees it.
    pub fn space(&self) -> &TestSpace {
        &self.space
    }

    /// The function's register file.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// A write to BAR 0 of any size.
    pub fn bar_write(&mut self, offset: u64, data: &[u8]) {
        self.front.bar_write(offset, data);
    }

    /// A read of BAR 0 of any size.
    pub fn bar_read(&mut self, offset: u64, data: &mut [u8]) {
        let now = self.world.borrow().now;
        self.front.bar_read(now, offset, data);
    }
}

impl Host for InProcess {
    fn bar_read32(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.bar_read(offset, &mut data);
        u32::from_be_bytes(data)
    }

    fn bar_write32(&mut self, offset: u64, value: u32) {
        self.bar_write(offset, &value.to_be_bytes());
    }

    fn bar_write64(&mut self, offset: u64, value: u64) {
        self.bar_write(offset, &value.to_be_bytes());
    }

    fn dma_alloc(&mut self, len: usize, align: usize) -> Result<u64> {
        let iova = self.arena.alloc(len, align)?;
        self.space.poke(iova, &vec![0; len]);
        Ok(iova)
    }

    fn dma_free(&mut self, iova: u64) {
        // What a device still writes to memory that was given back must show: it is filled with something odd.
        if let Some(len) = self.arena.free(iova) {
            self.space.poke(iova, &vec![0xd5; len as usize]);
        }
    }

    fn dma_in_use(&self) -> usize {
        self.arena.in_use()
    }

    fn mem_read(&self, iova: u64, buf: &mut [u8]) {
        if !self.space.peek(iova, buf) {
            buf.fill(0xff);
        }
    }

    fn mem_write(&mut self, iova: u64, data: &[u8]) {
        self.space.poke(iova, data);
    }

    fn load_acquire_u8(&self, iova: u64) -> u8 {
        let mut byte = [0xff];
        self.space.peek(iova, &mut byte);
        byte[0]
    }

    fn store_release_be32(&mut self, iova: u64, value: u32) {
        self.space.poke(iova, &value.to_be_bytes());
    }

    fn vectors(&self) -> u16 {
        VECTORS
    }

    fn interrupts(&mut self, vector: u16) -> u64 {
        self.space.msi_count(vector)
    }

    fn relax(&mut self, waited: u32) -> bool {
        let mut world = self.world.borrow_mut();
        // A few steps at a time: the driver may look too early, or late.
        let steps = 1 + world.draw(6);
        let mut alive = false;
        for _ in 0..steps {
            alive |= world.step();
        }
        alive && waited < PATIENCE
    }

    fn now(&self) -> u64 {
        self.world.borrow().now
    }
}
