//! A card in the same thread, run by the stepping executor: the driver's waiting is what lets it run. Which of its tasks
//! is next is drawn from a seed and time passes by steps, so that a run can be repeated to the byte.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlx5emu_card::function::front::BAR0_SIZE;
use mlx5emu_card::{
    Card, Front, FunctionSetup, PageCounts, PageManner, Personality, PortSetup, ResetKind, VfPageCounts,
};
use mlx5emu_pci_model::testing::TestSpace;
use mlx5emu_server::stepper::Stepper;

use crate::arena::Arena;
use crate::error::Result;
use crate::host::Host;

/// Vectors of each function.
const VECTORS: u16 = 8;
/// Bytes of memory of each function.
const MEMORY: usize = 64 << 20;
/// A wait is given up after this many looks.
const PATIENCE: u32 = 1_000_000;
/// The card is taken to be in an endless loop after this many steps without a pause.
const MAX_STEPS: u64 = 2_000_000;
/// Transfers that the log of one step holds.
const STEP_TRANSFERS: usize = 1 << 16;
/// Bytes of a log that nobody asked for, after which it is thrown away.
const LOG_UNASKED: usize = 1 << 16;

/// A card, its functions' memories, and the order of events.
pub struct World {
    stepper: Stepper<TestSpace>,
    spaces: Vec<TestSpace>,
    logs: bool,
    looks: u64,
}

/// A world that several drivers share.
pub type SharedWorld = Rc<RefCell<World>>;

/// A card with two ports wired to each other, a function each.
pub fn two_ports() -> Personality {
    let function = |n: u16| FunctionSetup {
        name: format!("pf{n}"),
        port: usize::from(n),
        vport: 0,
        of_host: false,
        vhca_id: n + 1,
        vectors: VECTORS,
        bar0: BAR0_SIZE,
    };
    Personality {
        version: (28, 40, 1000),
        psid: "MT_EMU0000001".into(),
        system_image_guid: 0x0200_0003_0000_0001,
        pages: PageCounts { boot: 17, init: 900, event: 33 },
        vf_pages: VfPageCounts { enable: 6, init: 10 },
        seed: 0,
        page_manner: PageManner::default(),
        timeouts: None,
        hash_key: (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210),
        ports: vec![
            PortSetup { mac: [2, 0, 0, 0, 0, 1], speed_mbps: 100_000, peer: Some(1) },
            PortSetup { mac: [2, 0, 0, 0, 0, 2], speed_mbps: 100_000, peer: Some(0) },
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
        let stepper = Stepper::new(Card::new(personality, spaces.clone()), seed);
        // The executor logs by default, which is slow; see `start_log`.
        spaces.iter().for_each(|space| drop(space.stop_log()));
        Self { stepper, spaces, logs: false, looks: 0 }
    }

    /// A machine for each function.
    pub fn hosts(self) -> (SharedWorld, Vec<InProcess>) {
        let parts: Vec<_> = self
            .spaces
            .iter()
            .enumerate()
            .filter_map(|(f, space)| Some((space.clone(), self.stepper.front(f)?)))
            .collect();
        let world = Rc::new(RefCell::new(self));
        let hosts = parts.into_iter().map(|(space, front)| InProcess {
            world: Rc::clone(&world),
            front,
            arena: Arena::new(space.base(), MEMORY as u64),
            space,
        });
        let hosts = hosts.collect();
        (world, hosts)
    }

    /// The card.
    pub fn card(&mut self) -> &mut Card<TestSpace> {
        self.stepper.card()
    }

    /// The time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.stepper.now()
    }

    /// Does one thing, or lets time pass up to the next timer. `false`: nothing will ever happen by itself.
    pub fn step(&mut self) -> bool {
        let alive = self.stepper.step() || self.stepper.sleep();
        if !self.logs && self.stepper.log().len() > LOG_UNASKED {
            drop(self.stepper.take_log());
        }
        alive
    }

    /// Steps until nothing is left to do now; timers that are not due stay. `false`: there is no end to it.
    #[must_use]
    pub fn settle(&mut self) -> bool {
        self.stepper.run_until_idle(MAX_STEPS).is_ok()
    }

    /// Resets a function. What the executor has half done stays half done: the card must notice by itself.
    pub fn reset(&mut self, f: usize, kind: ResetKind) {
        self.stepper.reset(f, kind);
    }

    /// Begins the log of every step, command, transfer and message.
    pub fn start_log(&mut self) {
        drop(self.stepper.take_log());
        self.logs = true;
        self.spaces.iter().for_each(|space| space.start_log(STEP_TRANSFERS));
    }

    /// The log so far; it goes on, empty.
    pub fn take_log(&mut self) -> String {
        self.stepper.take_log()
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
        let now = self.world.borrow().now();
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
        // What a device still reads from memory that was given back must show: it is filled with something odd.
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
        // One to six steps at a time, in turn: the driver looks too early, or late.
        world.looks += 1;
        let steps = 1 + world.looks % 6;
        let mut alive = false;
        for _ in 0..steps {
            alive |= world.step();
        }
        alive && waited < PATIENCE
    }

    fn now(&self) -> u64 {
        self.world.borrow().now()
    }
}
