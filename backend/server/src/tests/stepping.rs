//! The stepping executor, driven by two drivers: the same seed gives the same log, byte for byte.

use std::cell::RefCell;
use std::rc::Rc;

use mlx5emu_card::Card;
use mlx5emu_driver::arena::Arena;
use mlx5emu_driver::error::Result;
use mlx5emu_driver::{Config, Driver, Host, NetConfig};
use mlx5emu_pci_model::testing::TestSpace;

use super::machine::frame;
use crate::stepper::{Stepper, test_personality};

const RAM_AT: u64 = 0x4000_0000;
const RAM: usize = 8 << 20;
/// A wait is given up after so many looks.
const PATIENCE: u32 = 100_000;

/// A machine in the same thread: while its driver waits, the card takes steps.
struct Seat {
    stepper: Rc<RefCell<Stepper<TestSpace>>>,
    f: usize,
    space: TestSpace,
    arena: Arena,
}

fn seats(seed: u64) -> (Rc<RefCell<Stepper<TestSpace>>>, [Seat; 2]) {
    let spaces = [0, 1].map(|_| TestSpace::with_base(RAM_AT, RAM));
    let stepper = Rc::new(RefCell::new(Stepper::new(Card::new(test_personality(), spaces.to_vec()), seed)));
    let mut f = 0..;
    let seats = spaces.map(|space| Seat {
        stepper: Rc::clone(&stepper),
        f: f.next().unwrap(),
        space,
        arena: Arena::new(RAM_AT, RAM as u64),
    });
    (stepper, seats)
}

impl Host for Seat {
    fn bar_read32(&mut self, offset: u64) -> u32 {
        let stepper = self.stepper.borrow();
        let mut data = [0; 4];
        stepper.front(self.f).unwrap().bar_read(stepper.now(), offset, &mut data);
        u32::from_be_bytes(data)
    }

    fn bar_write32(&mut self, offset: u64, value: u32) {
        self.stepper.borrow().front(self.f).unwrap().bar_write(offset, &value.to_be_bytes());
    }

    fn bar_write64(&mut self, offset: u64, value: u64) {
        self.stepper.borrow().front(self.f).unwrap().bar_write(offset, &value.to_be_bytes());
    }

    fn dma_alloc(&mut self, len: usize, align: usize) -> Result<u64> {
        let iova = self.arena.alloc(len, align)?;
        self.space.poke(iova, &vec![0; len]);
        Ok(iova)
    }

    fn dma_free(&mut self, iova: u64) {
        self.arena.free(iova);
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
        8
    }

    fn interrupts(&mut self, vector: u16) -> u64 {
        self.space.msi_count(vector)
    }

    fn relax(&mut self, waited: u32) -> bool {
        let mut stepper = self.stepper.borrow_mut();
        (stepper.step() || stepper.sleep()) && waited < PATIENCE
    }

    fn now(&self) -> u64 {
        self.stepper.borrow().now()
    }
}

fn small() -> Config {
    Config { log_cmd_eq: 6, log_async_eq: 6, ..Config::default() }
}

/// Up, a few frames both ways, down; the log of all of it.
fn life(seed: u64, frames: u32) -> String {
    let (stepper, seats) = seats(seed);
    let [mut a, mut b] = seats.map(|seat| Driver::probe(seat, small()).unwrap());
    for driver in [&mut a, &mut b] {
        driver.open(NetConfig::default()).unwrap();
    }
    let (mac_a, mac_b) = (a.net().unwrap().mac, b.net().unwrap().mac);
    for number in 0..frames {
        let (there, back) = (frame(mac_b, mac_a, 200, number), frame(mac_a, mac_b, 1400, number));
        a.send(&there).unwrap();
        b.send(&back).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, there);
        assert_eq!(a.recv_wait().unwrap().frame, back);
    }
    for driver in [a, b] {
        let (seat, farewell) = driver.remove().unwrap();
        assert_eq!(farewell.pages_given, farewell.pages_returned);
        assert_eq!(seat.dma_in_use(), 0);
    }
    stepper.borrow_mut().take_log()
}

#[test]
fn a_hundred_seeds_give_the_same_log_twice() {
    let mut first = String::new();
    let mut orders = 0;
    for seed in 0..100 {
        let log = life(seed, 4);
        assert!(log == life(seed, 4), "seed {seed}: two runs differ");
        assert!(log.contains("ENABLE_HCA") && log.contains("msi"), "the log must say something");
        orders += u32::from(log != first);
        first = log;
    }
    assert!(orders > 90, "the seeds must lead to different orders: {orders}");
}

#[test]
fn memory_by_message_changes_nothing_but_the_order() {
    let (stepper, seats) = seats(5);
    for seat in &seats {
        seat.space.set_remote(RAM_AT..RAM_AT + RAM as u64);
    }
    for seat in seats {
        // By polling: an event in memory that is not there is lost.
        let config = Config { events: false, page_requests: false, ..small() };
        let driver = Driver::probe(seat, config).unwrap();
        let (seat, farewell) = driver.remove().unwrap();
        assert_eq!((farewell.pages_given, seat.dma_in_use()), (farewell.pages_returned, 0));
    }
    assert!(stepper.borrow().log().contains("Fetch("));
}
