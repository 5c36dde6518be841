//! The health buffer and the health counter: how the firmware says that it lives.

use std::sync::atomic::Ordering::*;

use mlx5emu_prm::layouts::health_buffer;

use super::Front;
use crate::faults::{Health, HealthWatch};

/// `severity` of the health buffer: error, as the kernel's log levels are numbered.
const SEVERITY_ERROR: u64 = 3;
/// The health counter advances once in this many nanoseconds (the driver looks every two seconds or more).
const HEALTH_TICK_NS: u64 = 100_000_000;

impl Front {
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
        self.hang();
    }

    /// The function stops as firmware that hangs does: the health counter stands still, no command is looked at any more,
    /// and nothing tells why.
    pub fn hang(&self) {
        self.dead.store(true, Release);
        // What was announced and not yet looked at stays so.
        self.slots.lock().order.clear();
    }

    /// The firmware has died or hangs: it answers nothing until it is reset.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// The health buffer tells of something that needs no reset; 0 takes it back.
    pub fn report(&self, synd: u8) {
        self.set_health(&health_buffer::severity, SEVERITY_ERROR);
        self.set_health(&health_buffer::severity_valid, u64::from(synd != 0));
        self.set_health(&health_buffer::synd, u64::from(synd));
    }

    /// The health counter moves, or stands still while everything else goes on.
    pub fn set_heartbeat(&self, on: bool) {
        self.pulseless.store(!on, Release);
    }

    /// The firmware has failed with an assertion: as [`Front::die`], and it asks for a reset (`rfr`).
    pub fn assert(&self, synd: u8) {
        self.set_health(&health_buffer::severity, SEVERITY_ERROR);
        self.set_health(&health_buffer::severity_valid, 1);
        self.set_health(&health_buffer::rfr, 1);
        self.die(synd);
    }

    /// The health counter: it moves with time, and is never zero or all ones.
    pub(super) fn health_counter(&self, now_ns: u64) -> u32 {
        match self.watch.as_ref().and_then(HealthWatch::looks) {
            None => {}
            Some(Health::Fails(synd)) => self.assert(synd),
            Some(Health::Reports(synd)) => self.report(synd),
            Some(Health::Stands) => self.set_heartbeat(false),
        }
        if self.dead.load(Acquire) || self.pulseless.load(Acquire) {
            return 1;
        }
        (now_ns / HEALTH_TICK_NS) as u32 % 0x7fff_ffff + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
