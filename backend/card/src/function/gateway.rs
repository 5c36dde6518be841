//! The gateway in the vendor-specific capability (`pci_vsc.c`): a window from configuration space to registers behind it,
//! for a driver that can't or won't use BAR0. It lives on the function's I/O thread, like the front.
//!
//! Registers from the start of the capability (names as in `pci_vsc.c`):
//!
//! | at   | register  | |
//! |------|-----------|-|
//! | 0x04 | CTRL      | 15:0 space; 28 the size of the space can be read at ADDR; 31:29 status, 0: no such space |
//! | 0x08 | COUNTER   | another number at each read: a ticket for a semaphore |
//! | 0x0c | SEMAPHORE | of the gateway itself: 0 is free; who reads the ticket back that it wrote has it |
//! | 0x10 | ADDR      | 29:0 address, 30 syndrome, 31 flag; a write starts an access, the flag tells which |
//! | 0x14 | DATA      | |
//!
//! An access is over when its flag has turned: written with 1 it is a write and reads 0 then, written with 0 it is a read.
//! Two spaces are behind the gateway. The semaphores (0xa) are the card's: functions agree by them on who resets the
//! firmware. The scan space (7) is what `devlink health dump` shows: the initialization segment, at its offsets in BAR0; a
//! read also says where the next register is, so that holes are skipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use mlx5emu_prm::layouts::{health_buffer, mlx5_init_seg};
use parking_lot::Mutex;

use super::front::Front;
use crate::card::FunctionIndex;

/// Offset of CTRL in the capability.
const CTRL: u16 = 0x04;
const COUNTER: u16 = 0x08;
const SEMAPHORE: u16 = 0x0c;
const ADDR: u16 = 0x10;
const DATA: u16 = 0x14;
/// The registers lie in these bytes of the capability.
pub const REGISTERS: std::ops::Range<u16> = CTRL..DATA + 4;

/// CTRL: the space exists.
const STATUS_OK: u32 = 1 << 29;
const SIZE_VALID: u32 = 1 << 28;
/// ADDR.
const FLAG: u32 = 1 << 31;
const SYNDROME: u32 = 1 << 30;
const ADDRESS: u32 = SYNDROME - 1;

/// `MLX5_VSC_SPACE_SCAN_CRSPACE`.
const SCAN_SPACE: u16 = 0x7;
/// `MLX5_SEMAPHORE_SPACE_DOMAIN`.
const SEMAPHORE_SPACE: u16 = 0xa;
/// `MLX5_SEMAPHORE_SW_RESET`: the address of the semaphore for software resets, and for dumps.
const SW_RESET_SEMAPHORE: u32 = 0x20;

/// Length of the scan space.
const SCAN_SIZE: u32 = mlx5_init_seg::SIZE as u32;

/// Semaphores of a card, shared by the gateways of its functions.
#[derive(Debug, Default)]
pub struct Semaphores {
    ticket: AtomicU32,
    sw_reset: Mutex<Option<Held>>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    owner: FunctionIndex,
    ticket: u32,
}

impl Semaphores {
    /// Never 0, which means "free".
    fn next_ticket(&self) -> u32 {
        loop {
            let ticket = self.ticket.fetch_add(1, Relaxed).wrapping_add(1);
            if ticket != 0 {
                return ticket;
            }
        }
    }

    /// Who has the semaphore for software resets.
    pub fn sw_reset_owner(&self) -> Option<FunctionIndex> {
        self.sw_reset.lock().map(|held| held.owner)
    }

    /// A ticket takes a free semaphore; 0 gives it back, if it comes from its owner.
    fn write(&self, owner: FunctionIndex, ticket: u32) {
        let mut held = self.sw_reset.lock();
        match *held {
            None if ticket != 0 => *held = Some(Held { owner, ticket }),
            Some(now) if ticket == 0 && now.owner == owner => *held = None,
            _ => {}
        }
    }
}

/// The gateway of one function.
pub struct Gateway {
    index: FunctionIndex,
    front: Arc<Front>,
    semaphores: Arc<Semaphores>,
    lock: u32,
    ctrl: u32,
    addr: u32,
    data: u32,
}

impl Gateway {
    /// The gateway of function `index`, whose registers are those of `front`.
    pub fn new(index: FunctionIndex, front: Arc<Front>, semaphores: Arc<Semaphores>) -> Self {
        Self { index, front, semaphores, lock: 0, ctrl: 0, addr: 0, data: 0 }
    }

    /// Reads the dword at `at` of the capability, a multiple of 4 in [`REGISTERS`]; elsewhere it is 0.
    pub fn read(&mut self, at: u16) -> u32 {
        match at {
            CTRL => self.ctrl,
            COUNTER => self.semaphores.next_ticket(),
            SEMAPHORE => self.lock,
            ADDR => self.addr,
            DATA => self.data,
            _ => 0,
        }
    }

    /// Writes it. `now_ns` is the card's clock.
    pub fn write(&mut self, at: u16, value: u32, now_ns: u64) {
        match at {
            CTRL => self.select(value as u16),
            SEMAPHORE if self.lock == 0 || value == 0 => self.lock = value,
            DATA => self.data = value,
            ADDR => self.access(value, now_ns),
            _ => {}
        }
    }

    /// A reset of the function: its gateway is free, and so is what it held.
    pub fn reset(&mut self) {
        (self.lock, self.ctrl, self.addr, self.data) = (0, 0, 0, 0);
        self.semaphores.write(self.index, 0);
    }

    /// Whether somebody has the gateway.
    pub fn is_locked(&self) -> bool {
        self.lock != 0
    }

    fn select(&mut self, space: u16) {
        let (status, size) = match space {
            SCAN_SPACE => (STATUS_OK | SIZE_VALID, SCAN_SIZE),
            SEMAPHORE_SPACE => (STATUS_OK, 0),
            _ => (0, 0),
        };
        self.ctrl = u32::from(space) | status;
        self.addr = size;
    }

    /// One access, done when this returns: the flag turns, and the syndrome tells if it failed.
    fn access(&mut self, value: u32, now_ns: u64) {
        let address = value & ADDRESS;
        let writes = value & FLAG != 0;
        let done = match (self.ctrl as u16, writes) {
            (SEMAPHORE_SPACE, true) if address == SW_RESET_SEMAPHORE => {
                self.semaphores.write(self.index, self.data);
                Some(address)
            }
            (SEMAPHORE_SPACE, false) if address == SW_RESET_SEMAPHORE => {
                self.data = self.semaphores.sw_reset.lock().map_or(0, |held| held.ticket);
                Some(address)
            }
            (SCAN_SPACE, false) if address < SCAN_SIZE && address.is_multiple_of(4) => {
                self.data = self.front.register(now_ns, address.into());
                Some(next_register(address))
            }
            _ => None,
        };
        let flag = if writes { 0 } else { FLAG };
        self.addr = flag | done.unwrap_or(address | SYNDROME);
    }
}

/// The register after `address` in the scan space, or its end.
fn next_register(address: u32) -> u32 {
    let at = |field: &mlx5emu_prm::Field| field.bit / 32 * 4;
    let health = mlx5_init_seg::health.offset as u32;
    let runs = [
        at(&mlx5_init_seg::fw_rev)..at(&mlx5_init_seg::cmdif_rev_fw_sub) + 4,
        at(&mlx5_init_seg::cmdq_addr_h)..at(&mlx5_init_seg::cmdq_addr_l_sz) + 4,
        at(&mlx5_init_seg::initializing)..health + health_buffer::SIZE as u32,
        at(&mlx5_init_seg::internal_timer_h)..at(&mlx5_init_seg::internal_timer_l) + 4,
        at(&mlx5_init_seg::health_counter)..at(&mlx5_init_seg::health_counter) + 4,
    ];
    let next = address + 4;
    runs.iter().find(|run| next < run.end).map_or(SCAN_SIZE, |run| next.max(run.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways() -> [Gateway; 2] {
        let semaphores = Arc::new(Semaphores::default());
        [0, 1].map(|f| Gateway::new(f, Arc::new(Front::new((22, 43, 1000))), Arc::clone(&semaphores)))
    }

    /// Takes the semaphore for software resets or gives it back, as the driver does. Whether that worked.
    fn semaphore(gateway: &mut Gateway, take: bool) -> bool {
        gateway.write(CTRL, SEMAPHORE_SPACE.into(), 0);
        assert_ne!(gateway.read(CTRL) >> 29, 0);
        let ticket = if take { gateway.read(COUNTER) } else { 0 };
        gateway.write(DATA, ticket, 0);
        gateway.write(ADDR, SW_RESET_SEMAPHORE | FLAG, 0);
        assert_eq!(gateway.read(ADDR) & FLAG, 0, "the write is over");
        gateway.write(ADDR, SW_RESET_SEMAPHORE, 0);
        assert_eq!(gateway.read(ADDR) & FLAG, FLAG, "the read is over");
        gateway.read(DATA) == ticket
    }

    #[test]
    fn one_function_at_a_time_has_the_semaphore() {
        let [mut a, mut b] = gateways();
        assert!(semaphore(&mut a, true));
        assert!(!semaphore(&mut b, true));
        assert!(!semaphore(&mut b, false), "another one can't give it back");
        assert_eq!(a.semaphores.sw_reset_owner(), Some(0));
        assert!(semaphore(&mut a, false));
        assert!(semaphore(&mut b, true));
        b.reset();
        assert!(semaphore(&mut a, true), "a reset gives it back");
    }

    #[test]
    fn the_gateway_is_its_first_takers() {
        let [mut a, _] = gateways();
        let (first, second) = (a.read(COUNTER), a.read(COUNTER));
        assert_ne!(first, second);
        a.write(SEMAPHORE, first, 0);
        a.write(SEMAPHORE, second, 0);
        assert_eq!(a.read(SEMAPHORE), first);
        assert!(a.is_locked());
        a.write(SEMAPHORE, 0, 0);
        assert_eq!(a.read(SEMAPHORE), 0);
    }

    #[test]
    fn tickets_are_never_zero() {
        let [mut a, _] = gateways();
        a.semaphores.ticket.store(u32::MAX, Relaxed);
        assert_eq!(a.read(COUNTER), 1);
    }

    #[test]
    fn a_scan_shows_the_initialization_segment() {
        let [mut a, _] = gateways();
        a.front.assert(0x10);
        a.write(CTRL, SCAN_SPACE.into(), 0);
        assert_eq!(a.read(CTRL) & SIZE_VALID, SIZE_VALID);
        assert_eq!(a.read(ADDR), SCAN_SIZE);
        let (mut at, mut seen) = (0, std::collections::BTreeMap::new());
        while at < SCAN_SIZE {
            a.write(ADDR, at, 5);
            let addr = a.read(ADDR);
            assert_eq!(addr & (FLAG | SYNDROME), FLAG);
            seen.insert(at, a.read(DATA));
            assert!(addr & ADDRESS > at, "the scan goes on at {at:#x}");
            at = addr & ADDRESS;
        }
        assert_eq!(seen[&0], 43 << 16 | 22);
        assert_eq!(seen[&0x1010], 1, "the health counter");
        assert_eq!(seen[&0x23c] >> 16 & 0xff, 0x10, "the syndrome");
        assert!(seen.len() < 64, "holes are left out: {}", seen.len());
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let [mut a, _] = gateways();
        a.write(CTRL, 0x1234, 0);
        assert_eq!(a.read(CTRL) >> 29, 0, "no such space");
        for (space, addr) in [
            (0x1234, 0),
            (SCAN_SPACE, SCAN_SIZE),
            (SCAN_SPACE, 2),
            (SCAN_SPACE, FLAG),
            (SCAN_SPACE, ADDRESS),
            (SEMAPHORE_SPACE, 0x24),
            (SEMAPHORE_SPACE, 0x24 | FLAG),
        ] {
            a.write(CTRL, space.into(), 0);
            a.write(ADDR, addr, 0);
            let shown = a.read(ADDR);
            assert_eq!(shown & SYNDROME, SYNDROME, "{space:#x} {addr:#x}");
            assert_eq!((shown ^ addr) & FLAG, FLAG, "{space:#x} {addr:#x}: it is over");
        }
    }
}
