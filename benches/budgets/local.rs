//! A card in this process over memory as the product has it (a mapped, sealed file), without sockets and threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlx5emu_card::{Card, Front};
use mlx5emu_driver::Host;
use mlx5emu_driver::arena::Arena;
use mlx5emu_driver::error::Result;
use mlx5emu_driver::in_process::two_ports;
use mlx5emu_pci_model::{Attrs, DmaSpace};
use mlx5emu_server::stepper::Stepper;
use mlx5emu_vfio_user::{Backing, FunctionMemory, Irqs, Mapping, Perm};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::Outcome;

/// Bytes of memory of each function.
const RAM: u64 = 64 << 20;
/// Where it begins.
const RAM_AT: u64 = 0x1_0000_0000;
const VECTORS: u16 = 4;
/// Steps after which the card is taken to be in an endless loop.
const MAX_STEPS: u64 = 1_000_000;
/// Looks after which a wait is given up.
const PATIENCE: u32 = 1_000_000;

/// The card and the executor that runs it between measurements.
pub(crate) type Engine = Rc<RefCell<Stepper<FunctionMemory>>>;

/// One function's machine.
pub(crate) struct Local {
    engine: Engine,
    f: usize,
    front: Arc<Front>,
    irqs: Arc<Irqs>,
    counts: Vec<u64>,
    arena: Arena,
}

fn memory(irqs: &Arc<Irqs>) -> Outcome<FunctionMemory> {
    let fd = rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, RAM)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK)?;
    let mut memory = FunctionMemory::new(Arc::clone(irqs));
    let perm = Perm { read: true, write: true };
    let backing = Backing::open(&fd, 0, RAM, true).map_err(|e| format!("guest memory: {e}"))?;
    memory.map(Mapping { first: RAM_AT, last: RAM_AT + RAM - 1, perm, backing })?;
    memory.set_bus_master(true);
    Ok(memory)
}

/// Two machines with a port each, wired to each other.
pub(crate) fn machines() -> Outcome<(Engine, Vec<Local>)> {
    let personality = two_ports();
    let irqs: Vec<_> = personality.functions.iter().map(|_| Arc::new(Irqs::new(VECTORS))).collect();
    let spaces = irqs.iter().map(memory).collect::<Outcome<Vec<_>>>()?;
    let engine = Rc::new(RefCell::new(Stepper::new(Card::new(personality, spaces), 1)));
    let machine = |(f, irqs)| {
        let front = engine.borrow().front(f).ok_or("a function without registers")?;
        let (counts, arena) = (vec![0; usize::from(VECTORS)], Arena::new(RAM_AT, RAM));
        Ok(Local { engine: Rc::clone(&engine), f, front, irqs, counts, arena })
    };
    let machines = irqs.into_iter().enumerate().map(machine).collect::<Outcome<Vec<_>>>()?;
    Ok((engine, machines))
}

impl Local {
    fn with_memory<R>(&self, look: impl FnOnce(&FunctionMemory) -> R) -> Option<R> {
        self.engine.borrow_mut().card().space(self.f).map(look)
    }
}

impl Host for Local {
    fn bar_read32(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.front.bar_read(self.now(), offset, &mut data);
        u32::from_be_bytes(data)
    }

    fn bar_write32(&mut self, offset: u64, value: u32) {
        self.front.bar_write(offset, &value.to_be_bytes());
    }

    fn bar_write64(&mut self, offset: u64, value: u64) {
        self.front.bar_write(offset, &value.to_be_bytes());
    }

    fn dma_alloc(&mut self, len: usize, align: usize) -> Result<u64> {
        let iova = self.arena.alloc(len, align)?;
        self.mem_write(iova, &vec![0; len]);
        Ok(iova)
    }

    fn dma_free(&mut self, iova: u64) {
        let _ = self.arena.free(iova);
    }

    fn dma_in_use(&self) -> usize {
        self.arena.in_use()
    }

    fn mem_read(&self, iova: u64, buf: &mut [u8]) {
        if !self.with_memory(|memory| memory.peek(iova, buf).is_ok()).unwrap_or(false) {
            buf.fill(0xff);
        }
    }

    fn mem_write(&mut self, iova: u64, data: &[u8]) {
        // Outside of memory nothing happens.
        let _ = self.with_memory(|memory| memory.write(Attrs::PLAIN, iova, data));
    }

    fn load_acquire_u8(&self, iova: u64) -> u8 {
        let mut byte = [0xff];
        self.mem_read(iova, &mut byte);
        byte[0]
    }

    fn store_release_be32(&mut self, iova: u64, value: u32) {
        self.mem_write(iova, &value.to_be_bytes());
    }

    fn vectors(&self) -> u16 {
        VECTORS
    }

    fn interrupts(&mut self, vector: u16) -> u64 {
        for (n, count) in (0..VECTORS).zip(&mut self.counts) {
            *count += u64::from(self.irqs.is_pending(n));
        }
        self.irqs.clear_pending();
        self.counts[usize::from(vector)]
    }

    fn relax(&mut self, waited: u32) -> bool {
        let mut engine = self.engine.borrow_mut();
        let alive = engine.run_until_idle(MAX_STEPS).is_ok_and(|steps| steps > 0) || engine.sleep();
        drop(engine.take_log());
        alive && waited < PATIENCE
    }

    fn now(&self) -> u64 {
        self.engine.borrow().now()
    }
}
