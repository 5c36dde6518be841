//! The front of a function: what its I/O thread reads and writes without the gate.
//!
//! BAR reads are answered from atomics; values that move with time (health counter, internal timer) are computed at the
//! read. A BAR write becomes bounded state: a command slot in a queue of at most 32, a bit for a send queue to serve, a
//! last-value cell for a CQ or EQ doorbell. Nothing here grows with posted writes, and nothing here starts DMA.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use mlx5emu_prm::layouts::{health_buffer, mlx5_init_seg};
use mlx5emu_prm::uar;
use parking_lot::Mutex;

/// Size of BAR0: 8192 UAR pages of 4 KiB, as on real cards.
pub const BAR0_SIZE: u64 = 32 << 20;
/// Size of a UAR page.
pub const UAR_PAGE: u64 = 4096;
/// First UAR index handed out: the pages below hold the initialization segment and other registers.
pub const FIRST_UAR: u32 = 16;
/// UAR indices end here.
pub const UAR_END: u32 = (BAR0_SIZE / UAR_PAGE) as u32;
/// Command slots: `log_sz` of the initialization segment.
pub const LOG_CMD_SLOTS: u32 = 5;
/// Bytes between command queue entries: `log_stride`.
pub const LOG_CMD_STRIDE: u32 = 6;
/// CMD_IF_REV that the driver asks for.
const CMD_IF_REV: u32 = 5;
/// Numbers of queues (SQ, RQ, QP) and of CQs are below this.
pub const QUEUE_NUMBERS: u32 = 64 * 64 * 64;
/// Numbers of EQs are below this: an EQ number is 8 bits wide in the doorbell.
pub const EQ_NUMBERS: u32 = 256;
/// `initializing`, bit 30: the driver may write [`NicInterface::SwReset`] (`MLX5_FW_RESET_SUPPORTED_OFFSET`).
const SW_RESET_SUPPORTED: u32 = 1 << 30;
/// The health counter advances once in this many nanoseconds (the driver looks every two seconds or more).
const HEALTH_TICK_NS: u64 = 100_000_000;

/// `nic_interface` of the initialization segment (`MLX5_NIC_IFC_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NicInterface {
    /// Normal operation.
    Full = 0,
    /// The interface is down; the driver takes it for a fatal error while it is loaded.
    Disabled = 1,
    /// Software reset in progress.
    SwReset = 7,
}

/// A set of queue numbers to serve: three levels of 64-bit words, so that the next one is found in three steps.
pub struct PendingSet {
    top: AtomicU64,
    mid: Box<[AtomicU64]>,
    low: Box<[AtomicU64]>,
}

impl PendingSet {
    fn new() -> Self {
        let words = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        Self { top: AtomicU64::new(0), mid: words(64), low: words(4096) }
    }

    /// Marks `n`; numbers out of range are ignored. Says whether it was not marked before.
    pub fn mark(&self, n: u32) -> bool {
        let Some(low) = self.low.get((n / 64) as usize) else { return false };
        let fresh = low.fetch_or(1 << (n % 64), AcqRel) & (1 << (n % 64)) == 0;
        self.mid[(n / 4096) as usize].fetch_or(1 << (n / 64 % 64), AcqRel);
        self.top.fetch_or(1 << (n / 4096), AcqRel);
        fresh
    }

    /// Takes `n` out, if it is marked.
    pub fn unmark(&self, n: u32) {
        if let Some(low) = self.low.get((n / 64) as usize) {
            low.fetch_and(!(1 << (n % 64)), AcqRel);
        }
    }

    /// Takes every marked number out, lowest first, up to `limit`.
    pub fn take(&self, limit: usize, out: &mut Vec<u32>) {
        let mut top = self.top.swap(0, AcqRel);
        while top != 0 {
            let t = top.trailing_zeros();
            let mut mid = self.mid[t as usize].swap(0, AcqRel);
            while mid != 0 {
                let m = mid.trailing_zeros();
                let index = t * 64 + m;
                let mut low = self.low[index as usize].swap(0, AcqRel);
                while low != 0 && out.len() < limit {
                    out.push(index * 64 + low.trailing_zeros());
                    low &= low - 1;
                }
                if low != 0 {
                    // The limit was reached: put the rest back, with everything above it.
                    self.low[index as usize].fetch_or(low, AcqRel);
                    self.mid[t as usize].fetch_or(mid, AcqRel);
                    self.top.fetch_or(top, AcqRel);
                    return;
                }
                mid &= mid - 1;
            }
            top &= top - 1;
        }
    }

    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.top.load(Acquire) == 0
    }

    fn clear(&self) {
        let mut gone = Vec::new();
        self.take(usize::MAX, &mut gone);
    }
}

/// One doorbell written and not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doorbell {
    /// The UAR page that it came through.
    pub uar: u32,
    /// Arm (EQ), or the command bits of the first dword (CQ: bit 24 is "solicited only").
    pub arm: bool,
    /// CQ only: an event is asked for solicited completions only.
    pub solicited: bool,
    /// Consumer index, 24 bits.
    pub ci: u32,
}

const VALID: u64 = 1 << 63;
const ARM: u64 = 1 << 62;
const SOLICITED: u64 = 1 << 61;

impl Doorbell {
    fn pack(self) -> u64 {
        VALID
            | if self.arm { ARM } else { 0 }
            | if self.solicited { SOLICITED } else { 0 }
            | u64::from(self.uar) << 32
            | u64::from(self.ci & 0xff_ffff)
    }

    fn unpack(raw: u64) -> Option<Self> {
        (raw & VALID != 0).then_some(Self {
            uar: (raw >> 32) as u32 & 0xff_ffff,
            arm: raw & ARM != 0,
            solicited: raw & SOLICITED != 0,
            ci: raw as u32 & 0xff_ffff,
        })
    }
}

type Chunk = Box<[AtomicU64; 512]>;

/// Last-value cells, one a queue number, allocated in chunks when a number is first used.
pub struct Cells {
    chunks: Box<[OnceLock<Chunk>]>,
    /// Numbers whose cell was written and not yet taken.
    pub pending: PendingSet,
}

impl Cells {
    fn new(numbers: u32) -> Self {
        Self { chunks: (0..numbers.div_ceil(512)).map(|_| OnceLock::new()).collect(), pending: PendingSet::new() }
    }

    fn cell(&self, n: u32) -> Option<&AtomicU64> {
        let chunk = self.chunks.get((n / 512) as usize)?.get()?;
        chunk.get((n % 512) as usize)
    }

    /// Makes room for number `n`: called when the queue is created, so that doorbells for numbers that never existed
    /// allocate nothing.
    pub fn provide(&self, n: u32) {
        if let Some(chunk) = self.chunks.get((n / 512) as usize) {
            let chunk = chunk.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 512]));
            if let Some(cell) = chunk.get((n % 512) as usize) {
                cell.store(0, Release);
            }
        }
    }

    fn ring(&self, n: u32, bell: Doorbell) -> bool {
        let Some(cell) = self.cell(n) else { return false };
        // An arm request outlives a later update of the consumer index alone.
        let mut old = cell.load(Acquire);
        loop {
            let new = bell.pack() | (old & ARM);
            match cell.compare_exchange_weak(old, new, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        self.pending.mark(n)
    }

    /// Takes the doorbell of `n` out, if one was written.
    pub fn take(&self, n: u32) -> Option<Doorbell> {
        let cell = self.cell(n)?;
        if cell.load(Relaxed) == 0 {
            return None;
        }
        Doorbell::unpack(cell.swap(0, AcqRel))
    }
}

/// Command slots in the order in which their doorbells came.
#[derive(Default)]
struct SlotQueue {
    order: Vec<u8>,
    in_flight: u32,
}

/// The register file of one function.
pub struct Front {
    fw_rev: u32,
    fw_sub: u32,
    cmdq: AtomicU64,
    nic_interface: AtomicU32,
    initializing: AtomicU32,
    /// The driver asked for a software reset, and nobody has seen to it yet.
    sw_reset: AtomicBool,
    health: [AtomicU32; 16],
    health_stopped: AtomicBool,
    slots: Mutex<SlotQueue>,
    ignored_doorbells: AtomicU64,
    /// UAR pages that are allocated: doorbells through others are ignored, as on hardware.
    uars: Box<[AtomicU64]>,
    /// Send queues whose doorbell was rung.
    pub sends: PendingSet,
    /// CQ doorbells.
    pub cqs: Cells,
    /// EQ doorbells.
    pub eqs: Cells,
}

impl Front {
    /// A register file for firmware `major.minor.sub`.
    pub fn new(version: (u16, u16, u16)) -> Self {
        let front = Self {
            fw_rev: u32::from(version.1) << 16 | u32::from(version.0),
            fw_sub: u32::from(version.2),
            cmdq: AtomicU64::new(0),
            nic_interface: AtomicU32::new(NicInterface::Disabled as u32),
            initializing: AtomicU32::new(0),
            sw_reset: AtomicBool::new(false),
            health: [const { AtomicU32::new(0) }; 16],
            health_stopped: AtomicBool::new(false),
            slots: Mutex::default(),
            ignored_doorbells: AtomicU64::new(0),
            uars: (0..UAR_END / 64).map(|_| AtomicU64::new(0)).collect(),
            sends: PendingSet::new(),
            cqs: Cells::new(QUEUE_NUMBERS),
            eqs: Cells::new(EQ_NUMBERS),
        };
        front.reset();
        front
    }

    /// Back to the state after power-on (without the parts that never change). The interface is disabled until a driver
    /// writes the address of its command queue: the driver that had the function before, if there is one, sees by that
    /// what happened.
    pub fn reset(&self) {
        self.nic_interface.store(NicInterface::Disabled as u32, Release);
        self.cmdq.store(0, Release);
        self.initializing.store(SW_RESET_SUPPORTED, Release);
        self.sw_reset.store(false, Release);
        for word in &self.health {
            word.store(0, Release);
        }
        let fw_ver = u32::from(self.fw_rev as u16) << 24 | (self.fw_rev >> 16 & 0xff) << 16 | self.fw_sub & 0xffff;
        self.set_health(&health_buffer::fw_ver, u64::from(fw_ver));
        self.health_stopped.store(false, Release);
        *self.slots.lock() = SlotQueue::default();
        self.forget_queues();
    }

    /// Forgets UARs and queues, with every doorbell not yet looked at: they are gone.
    pub fn forget_queues(&self) {
        for word in &self.uars {
            word.store(0, Release);
        }
        self.sends.clear();
        self.cqs.pending.clear();
        self.eqs.pending.clear();
        for cells in [&self.cqs, &self.eqs] {
            for chunk in cells.chunks.iter().filter_map(OnceLock::get) {
                chunk.iter().for_each(|cell| cell.store(0, Release));
            }
        }
    }

    /// Address of the command queue page, as the driver wrote it.
    pub fn cmdq_address(&self) -> u64 {
        self.cmdq.load(Acquire) & !0xfff
    }

    /// The `nic_interface` field.
    pub fn nic_interface(&self) -> u32 {
        self.nic_interface.load(Acquire)
    }

    /// Whether the driver has asked for a software reset since the last time; the executor then resets the function.
    pub fn take_sw_reset(&self) -> bool {
        self.sw_reset.swap(false, AcqRel)
    }

    /// Sets a field of the health buffer.
    pub fn set_health(&self, field: &mlx5emu_prm::Field, value: u64) {
        let index = (field.bit / 32) as usize;
        let Some(word) = self.health.get(index) else { return };
        let mut bytes = [0u8; health_buffer::SIZE];
        let at = index * 4;
        bytes[at..at + 4].copy_from_slice(&word.load(Acquire).to_be_bytes());
        field.set(&mut bytes, value);
        word.store(u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]), Release);
    }

    /// The function stops as firmware that died does: the health counter stands still and `synd` tells why.
    pub fn die(&self, synd: u8) {
        self.set_health(&health_buffer::synd, u64::from(synd));
        self.health_stopped.store(true, Release);
    }

    /// How many doorbells were ignored because they named a slot in flight or a page that is not allocated.
    pub fn ignored_doorbells(&self) -> u64 {
        self.ignored_doorbells.load(Relaxed)
    }

    /// Allows or refuses doorbells through UAR page `index`.
    pub fn set_uar(&self, index: u32, allocated: bool) {
        if let Some(word) = self.uars.get((index / 64) as usize) {
            let bit = 1u64 << (index % 64);
            if allocated {
                word.fetch_or(bit, AcqRel);
            } else {
                word.fetch_and(!bit, AcqRel);
            }
        }
    }

    fn has_uar(&self, index: u32) -> bool {
        self.uars.get((index / 64) as usize).is_some_and(|w| w.load(Acquire) >> (index % 64) & 1 == 1)
    }

    /// The slot whose doorbell came first, without taking it out.
    pub fn first_slot(&self) -> Option<u8> {
        self.slots.lock().order.first().copied()
    }

    /// Takes `slot` out of the queue of doorbells; it stays in flight until [`Front::slot_done`].
    pub fn take_slot(&self, slot: u8) {
        self.slots.lock().order.retain(|s| *s != slot);
    }

    /// The slot may be used again. Called before its ownership bit is given back: a polling driver rings again at once.
    pub fn slot_done(&self, slot: u8) {
        self.slots.lock().in_flight &= !(1 << slot);
    }

    /// Bitmap of the slots in flight.
    pub fn slots_in_flight(&self) -> u32 {
        self.slots.lock().in_flight
    }

    /// Whether the engine has anything to do here.
    pub fn has_work(&self) -> bool {
        !self.sends.is_empty()
            || !self.cqs.pending.is_empty()
            || !self.eqs.pending.is_empty()
            || self.first_slot().is_some()
    }

    /// A read of BAR0 at `offset`. `now_ns` is the card's clock.
    pub fn bar_read(&self, now_ns: u64, offset: u64, data: &mut [u8]) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let bytes = self.register(now_ns, at & !3).to_be_bytes();
            let skip = (at & 3) as usize;
            let n = rest.len().min(4 - skip);
            rest[..n].copy_from_slice(&bytes[skip..skip + n]);
            rest = &mut rest[n..];
            at += n as u64;
        }
    }

    /// One dword of the initialization segment (`struct mlx5_init_seg`); everything else reads as zero.
    fn register(&self, now_ns: u64, offset: u64) -> u32 {
        let at = |field: &mlx5emu_prm::Field| u64::from(field.bit / 32 * 4);
        use mlx5_init_seg as seg;
        let health = seg::health.offset as u64;
        match offset {
            o if o == at(&seg::fw_rev) => self.fw_rev,
            o if o == at(&seg::cmdif_rev_fw_sub) => CMD_IF_REV << 16 | self.fw_sub,
            o if o == at(&seg::cmdq_addr_h) => (self.cmdq.load(Acquire) >> 32) as u32,
            o if o == at(&seg::cmdq_addr_l_sz) => {
                (self.cmdq_address() as u32) | self.nic_interface() << 8 | LOG_CMD_SLOTS << 4 | LOG_CMD_STRIDE
            }
            o if o == at(&seg::initializing) => self.initializing.load(Acquire),
            o if o >= health && o < health + health_buffer::SIZE as u64 => {
                self.health[((o - health) / 4) as usize].load(Acquire)
            }
            o if o == at(&seg::internal_timer_h) => (now_ns >> 32) as u32,
            o if o == at(&seg::internal_timer_l) => now_ns as u32,
            o if o == at(&seg::health_counter) => {
                if self.health_stopped.load(Acquire) {
                    1
                } else {
                    (now_ns / HEALTH_TICK_NS) as u32 % 0x7fff_ffff + 1
                }
            }
            _ => 0,
        }
    }

    /// A write to BAR0 at `offset`. Says whether the engine has something to do now.
    pub fn bar_write(&self, offset: u64, data: &[u8]) -> bool {
        if offset >= u64::from(FIRST_UAR) * UAR_PAGE {
            return self.uar_write((offset / UAR_PAGE) as u32, offset % UAR_PAGE, data);
        }
        let mut work = false;
        // The initialization segment is written in aligned dwords; an 8-byte write is two of them. Smaller or misaligned
        // writes have no defined meaning there and are ignored.
        if offset.is_multiple_of(4) {
            for (n, dword) in data.as_chunks::<4>().0.iter().enumerate() {
                work |= self.segment_write(offset + 4 * n as u64, u32::from_be_bytes(*dword));
            }
        }
        work
    }

    fn segment_write(&self, offset: u64, value: u32) -> bool {
        let at = |field: &mlx5emu_prm::Field| u64::from(field.bit / 32 * 4);
        use mlx5_init_seg as seg;
        if offset == at(&seg::cmdq_addr_h) {
            let low = self.cmdq.load(Acquire) & 0xffff_ffff;
            self.cmdq.store(u64::from(value) << 32 | low, Release);
        } else if offset == at(&seg::cmdq_addr_l_sz) {
            let high = self.cmdq.load(Acquire) & !0xffff_ffff;
            self.cmdq.store(high | u64::from(value & 0xffff_f000), Release);
            // The health code writes (current address | state << 8); a driver that loads writes the address alone.
            let state = value >> 8 & 7;
            if state == NicInterface::Full as u32 || state == NicInterface::Disabled as u32 {
                self.nic_interface.store(state, Release);
            } else if state == NicInterface::SwReset as u32 {
                self.nic_interface.store(state, Release);
                self.sw_reset.store(true, Release);
            }
        } else if offset == at(&seg::cmd_dbell) {
            return self.command_doorbell(value);
        }
        false
    }

    /// Lowest slot first; a slot already in flight is ignored (the driver never does that). Without an interface there is
    /// no queue to look into: that is a driver which has not noticed a reset yet.
    fn command_doorbell(&self, mut bits: u32) -> bool {
        if self.nic_interface() != NicInterface::Full as u32 {
            self.ignored_doorbells.fetch_add(1, Relaxed);
            return false;
        }
        let mut slots = self.slots.lock();
        let again = bits & slots.in_flight;
        if again != 0 {
            self.ignored_doorbells.fetch_add(1, Relaxed);
            bits &= !again;
        }
        slots.in_flight |= bits;
        let any = bits != 0;
        while bits != 0 {
            slots.order.push(bits.trailing_zeros() as u8);
            bits &= bits - 1;
        }
        any
    }

    fn uar_write(&self, index: u32, offset: u64, data: &[u8]) -> bool {
        if !self.has_uar(index) {
            self.ignored_doorbells.fetch_add(1, Relaxed);
            return false;
        }
        let dword = |n: usize| -> u32 { data.as_chunks::<4>().0.get(n).map_or(0, |d| u32::from_be_bytes(*d)) };
        match (offset, data.len()) {
            (uar::CQ_DOORBELL, 8) => {
                let first = dword(0);
                let bell = Doorbell { uar: index, arm: true, solicited: first >> 24 & 1 == 1, ci: first & 0xff_ffff };
                self.cqs.ring(dword(1) & 0xff_ffff, bell)
            }
            (uar::EQ_ARM | uar::EQ_UPDATE, 4) => {
                let bell =
                    Doorbell { uar: index, arm: offset == uar::EQ_ARM, solicited: false, ci: dword(0) & 0xff_ffff };
                self.eqs.ring(dword(0) >> 24, bell)
            }
            // Both halves of every BlueFlame register take the first 8 bytes of the control segment. The copy of the
            // whole WQE that a BlueFlame write may carry is not used (cap `bf` is 0): later bytes are ignored.
            (uar::BF_START..uar::BF_END, 8) if offset.is_multiple_of(uar::BF_BUF_SIZE) => {
                self.sends.mark(dword(1) >> 8)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_set_gives_back_what_was_marked_in_order_and_in_parts() {
        let set = PendingSet::new();
        for n in [5, 70, 4096, QUEUE_NUMBERS - 1, 63, 64] {
            assert!(set.mark(n));
        }
        assert!(!set.mark(5));
        assert!(!set.mark(QUEUE_NUMBERS));
        let mut out = Vec::new();
        set.take(3, &mut out);
        assert_eq!(out, [5, 63, 64]);
        assert!(!set.is_empty());
        set.take(10, &mut out);
        assert_eq!(out, [5, 63, 64, 70, 4096, QUEUE_NUMBERS - 1]);
        assert!(set.is_empty());
    }

    #[test]
    fn a_slot_in_flight_is_not_queued_twice() {
        let front = Front::new((28, 40, 1000));
        front.bar_write(0x14, &0x3456_7000u32.to_be_bytes());
        assert!(front.bar_write(0x18, &0b110u32.to_be_bytes()));
        assert!(!front.bar_write(0x18, &0b010u32.to_be_bytes()));
        assert_eq!(front.first_slot(), Some(1));
        front.take_slot(1);
        assert_eq!(front.first_slot(), Some(2));
        assert_eq!(front.ignored_doorbells(), 1);
        front.slot_done(1);
        assert!(front.bar_write(0x18, &0b010u32.to_be_bytes()));
    }

    #[test]
    fn command_queue_address_keeps_the_geometry_bits() {
        let front = Front::new((28, 40, 1000));
        front.bar_write(0x10, &0x12u32.to_be_bytes());
        front.bar_write(0x14, &0x3456_7000u32.to_be_bytes());
        assert_eq!(front.cmdq_address(), 0x12_3456_7000);
        let mut data = [0; 4];
        front.bar_read(0, 0x14, &mut data);
        assert_eq!(u32::from_be_bytes(data), 0x3456_7056);
    }

    #[test]
    fn without_an_interface_there_are_no_commands() {
        let front = Front::new((28, 40, 1000));
        assert!(!front.bar_write(0x18, &1u32.to_be_bytes()));
        assert_eq!((front.nic_interface(), front.first_slot(), front.ignored_doorbells()), (1, None, 1));
        front.bar_write(0x14, &0x3456_7000u32.to_be_bytes());
        assert!(front.bar_write(0x18, &1u32.to_be_bytes()));
        front.reset();
        assert_eq!((front.nic_interface(), front.first_slot()), (1, None));
    }

    #[test]
    fn a_software_reset_is_asked_for_once() {
        let front = Front::new((28, 40, 1000));
        front.bar_write(0x14, &0x3456_7000u32.to_be_bytes());
        assert!(!front.take_sw_reset());
        front.bar_write(0x14, &0x3456_7700u32.to_be_bytes());
        assert_eq!(front.nic_interface(), 7);
        assert!(front.take_sw_reset() && !front.take_sw_reset());
        front.reset();
        assert_eq!(front.nic_interface(), 1);
    }

    #[test]
    fn an_arm_outlives_an_update_of_the_consumer_index() {
        let front = Front::new((1, 2, 3));
        front.eqs.provide(7);
        front.set_uar(20, true);
        assert!(front.bar_write(20 * 4096 + uar::EQ_ARM, &(7u32 << 24 | 5).to_be_bytes()));
        assert!(!front.bar_write(20 * 4096 + uar::EQ_UPDATE, &(7u32 << 24 | 6).to_be_bytes()));
        assert_eq!(front.eqs.take(7), Some(Doorbell { uar: 20, arm: true, solicited: false, ci: 6 }));
        assert_eq!(front.eqs.take(7), None);
    }

    #[test]
    fn doorbells_through_a_page_that_is_not_allocated_are_ignored() {
        let front = Front::new((1, 2, 3));
        assert!(!front.bar_write(20 * 4096 + uar::BF_START, &[0, 0, 0, 0, 0, 0, 1, 4]));
        front.set_uar(20, true);
        assert!(front.bar_write(20 * 4096 + uar::BF_START, &[0, 0, 0, 0, 0, 0, 1, 4]));
        let mut out = Vec::new();
        front.sends.take(9, &mut out);
        assert_eq!(out, [1]);
    }

    #[test]
    fn health_counter_moves_and_is_never_zero_or_all_ones() {
        let front = Front::new((1, 2, 3));
        let read = |now| {
            let mut data = [0; 4];
            front.bar_read(now, 0x1010, &mut data);
            u32::from_be_bytes(data)
        };
        assert_eq!(read(0), 1);
        assert_ne!(read(0), read(2_000_000_000));
        assert!(read(u64::MAX) != 0 && read(u64::MAX) != u32::MAX);
    }
}
