//! The front of a function: what its I/O thread reads and writes without the gate.
//!
//! BAR reads are answered from atomics; values that move with time (health counter, internal timer) are computed at the
//! read. A BAR write becomes bounded state: a command slot in a queue of at most 32, a bit for a send queue to serve, a
//! last-value cell for a CQ or EQ doorbell. Nothing here grows with posted writes, and nothing here starts DMA.

mod doorbells;
mod health;
mod segment;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use mlx5emu_prm::layouts::health_buffer;
use mlx5emu_prm::uar;
use parking_lot::Mutex;

use super::timeouts::Timeouts;
use crate::faults::HealthWatch;

pub use doorbells::{Cells, Doorbell, PendingSet};
pub use segment::NicInterface;
use segment::{EMBEDDED_CPU, SW_RESET_SUPPORTED, SlotQueue};

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
/// Numbers of queues (SQ, RQ, QP) and of CQs are below this.
pub const QUEUE_NUMBERS: u32 = 64 * 64 * 64;
/// Numbers of EQs are below this: an EQ number is 8 bits wide in the doorbell.
pub const EQ_NUMBERS: u32 = 256;

/// The register file of one function.
pub struct Front {
    fw_rev: u32,
    fw_sub: u32,
    /// `cmd_exec_to` and `cmd_q_init_to` of the initialization segment: milliseconds; none are told if both are 0.
    timeouts: (u32, u32),
    cmdq: AtomicU64,
    nic_interface: AtomicU32,
    initializing: AtomicU32,
    /// It is an embedded CPU's: a bit of `initializing` that never changes.
    embedded_cpu: bool,
    /// The driver asked for a software reset, and nobody has seen to it yet.
    sw_reset: AtomicBool,
    /// The driver switched the interface off, and nobody has seen to it yet.
    switched_off: AtomicBool,
    health: [AtomicU32; 16],
    /// Counts its lives: resets, and power-on.
    life: AtomicU64,
    /// The firmware has died: its counter stands still and it looks at no command.
    dead: AtomicBool,
    /// The health counter stands still, and nothing else.
    pulseless: AtomicBool,
    /// Fault rules for who looks at the health counter.
    watch: Option<HealthWatch>,
    slots: Mutex<SlotQueue>,
    ignored_doorbells: AtomicU64,
    /// UAR pages that are allocated: doorbells through others are ignored, as on hardware.
    uars: Box<[AtomicU64]>,
    /// Queues to serve: send queues whose doorbell was rung, and receive queues that failed and must be flushed.
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
            timeouts: (0, 0),
            cmdq: AtomicU64::new(0),
            nic_interface: AtomicU32::new(NicInterface::Disabled as u32),
            initializing: AtomicU32::new(0),
            embedded_cpu: false,
            sw_reset: AtomicBool::new(false),
            switched_off: AtomicBool::new(false),
            health: [const { AtomicU32::new(0) }; 16],
            life: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            pulseless: AtomicBool::new(false),
            watch: None,
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

    /// Tells the driver how long to wait.
    #[must_use]
    pub fn with_timeouts(self, timeouts: &Timeouts) -> Self {
        Self { timeouts: (timeouts.cmd, timeouts.fw_init), ..self }
    }

    /// Says that it is an embedded CPU's.
    #[must_use]
    pub fn of_embedded_cpu(self) -> Self {
        let front = Self { embedded_cpu: true, ..self };
        front.initializing.store(front.fixed_bits(), Release);
        front
    }

    /// What `initializing` always has.
    fn fixed_bits(&self) -> u32 {
        SW_RESET_SUPPORTED | if self.embedded_cpu { EMBEDDED_CPU } else { 0 }
    }

    /// Has fault rules asked about each look at the health counter.
    pub(crate) fn watch_health(&mut self, watch: HealthWatch) {
        self.watch = Some(watch);
    }

    /// Back to the state after power-on (without the parts that never change). The interface is disabled until a driver
    /// writes the address of its command queue: the driver that had the function before, if there is one, sees by that
    /// what happened.
    pub fn reset(&self) {
        self.life.fetch_add(1, AcqRel);
        self.nic_interface.store(NicInterface::Disabled as u32, Release);
        self.cmdq.store(0, Release);
        self.initializing.store(self.fixed_bits(), Release);
        self.sw_reset.store(false, Release);
        self.switched_off.store(false, Release);
        for word in &self.health {
            word.store(0, Release);
        }
        let fw_ver = u32::from(self.fw_rev as u16) << 24 | (self.fw_rev >> 16 & 0xff) << 16 | self.fw_sub & 0xffff;
        self.set_health(&health_buffer::fw_ver, u64::from(fw_ver));
        self.dead.store(false, Release);
        self.pulseless.store(false, Release);
        *self.slots.lock() = SlotQueue::default();
        self.forget_queues();
    }

    /// Which life it is, between two resets, counted from 1. What was begun in another one is dropped. It changes under the
    /// exclusive gate.
    pub fn life(&self) -> u64 {
        self.life.load(Acquire)
    }

    /// Forgets UARs and queues, with every doorbell not yet looked at: they are gone.
    pub fn forget_queues(&self) {
        for word in &self.uars {
            word.store(0, Release);
        }
        self.sends.clear();
        self.cqs.clear();
        self.eqs.clear();
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

    /// Whether the engine has anything to do here.
    pub fn has_work(&self) -> bool {
        !self.sends.is_empty() || self.has_bells() || self.first_slot().is_some()
    }

    /// Whether doorbells of EQs or CQs wait to be looked at.
    pub fn has_bells(&self) -> bool {
        !self.cqs.pending.is_empty() || !self.eqs.pending.is_empty()
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
}
