//! The initialization segment (`struct mlx5_init_seg`): the address of the command queue, the state of the interface, and
//! command doorbells.

use std::sync::atomic::Ordering::*;

use mlx5emu_prm::layouts::{health_buffer, mlx5_init_seg};

use super::{Front, LOG_CMD_SLOTS, LOG_CMD_STRIDE};

/// CMD_IF_REV that the driver asks for.
const CMD_IF_REV: u32 = 5;
/// `initializing`, bit 31: the firmware is not ready.
const INITIALIZING: u32 = 1 << 31;
/// `initializing`, bit 30: the driver may write [`NicInterface::SwReset`] (`MLX5_FW_RESET_SUPPORTED_OFFSET`).
pub(super) const SW_RESET_SUPPORTED: u32 = 1 << 30;
/// `initializing`, bit 23: the function is an embedded CPU's (`MLX5_ECPU_BIT_NUM`).
pub(super) const EMBEDDED_CPU: u32 = 1 << 23;

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

/// Command slots in the order in which their doorbells came.
#[derive(Default)]
pub(super) struct SlotQueue {
    pub(super) order: Vec<u8>,
    in_flight: u32,
}

impl Front {
    /// Sets or clears `initializing`: a driver waits until it is clear.
    pub fn set_initializing(&self, on: bool) {
        if on {
            self.initializing.fetch_or(INITIALIZING, AcqRel);
        } else {
            self.initializing.fetch_and(!INITIALIZING, AcqRel);
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

    /// Whether the driver has switched the interface off since the last time (the end of a fast teardown); the executor
    /// then resets the function, which has nothing to do with its driver's memory any more.
    pub fn take_switched_off(&self) -> bool {
        self.switched_off.swap(false, AcqRel)
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

    /// One dword of the initialization segment (`struct mlx5_init_seg`); everything else reads as zero.
    pub(crate) fn register(&self, now_ns: u64, offset: u64) -> u32 {
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
            o if o == at(&seg::cmd_exec_to) => self.timeouts.0,
            o if o == at(&seg::cmd_q_init_to) => self.timeouts.1,
            o if o >= health && o < health + health_buffer::SIZE as u64 => {
                self.health[((o - health) / 4) as usize].load(Acquire)
            }
            o if o == at(&seg::internal_timer_h) => (now_ns >> 32) as u32,
            o if o == at(&seg::internal_timer_l) => now_ns as u32,
            o if o == at(&seg::health_counter) => self.health_counter(now_ns),
            _ => 0,
        }
    }

    pub(super) fn segment_write(&self, offset: u64, value: u32) -> bool {
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
            if state == NicInterface::Full as u32 {
                self.nic_interface.store(state, Release);
            } else if state == NicInterface::Disabled as u32 {
                let before = self.nic_interface.swap(state, AcqRel);
                self.switched_off.fetch_or(before != state, AcqRel);
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
    /// no queue to look into, and firmware that has failed does not look: the driver has not noticed yet.
    fn command_doorbell(&self, mut bits: u32) -> bool {
        if self.nic_interface() != NicInterface::Full as u32 || self.dead.load(Acquire) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
