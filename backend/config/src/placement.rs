//! Where each function is plugged into the guest's PCI Express tree.
//!
//! A card hangs below one root port of its own. PF n is function n of slot 0 behind it: a multi-function device, as a
//! multi-port adapter is. Behind the first root port of an otherwise empty machine the guest numbers that bus 01.

use crate::card::Card;
use crate::function::FunctionName;

/// The placement of a whole card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The root ports that the card needs.
    pub root_ports: Vec<RootPort>,
    /// Every function, in the order in which QEMU must be given them.
    pub functions: Vec<PlacedFunction>,
}

/// One root port on `pcie.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootPort {
    /// QEMU's id of the port and so of the bus behind it, for example `rp0`.
    pub id: String,
    /// The chassis number, unique in the guest.
    pub chassis: u8,
    /// The physical slot number.
    pub slot: u8,
    /// The device number on `pcie.0`.
    pub addr: u8,
    /// The size in bytes of the 64-bit prefetchable window that firmware must leave for the BARs behind the port.
    pub pref64_reserve: u64,
}

/// One function behind a root port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFunction {
    /// Which function.
    pub function: FunctionName,
    /// The id of the root port, which is the name of the bus.
    pub bus: String,
    /// The bus number that the guest gives: the n-th root port's bus is n, as long as nothing else has a bridge.
    pub bus_number: u8,
    /// The device (slot) number on that bus.
    pub device: u8,
    /// The function number in the slot, 0 to 7.
    pub number: u8,
    /// Whether the slot holds more than one function.
    pub multifunction: bool,
}

impl Placement {
    /// The placement of `card`.
    pub fn of(card: &Card) -> Placement {
        let functions = card.functions();
        let bars: u64 = functions.iter().map(|f| card.bar0_bytes(*f)).sum();
        let id = format!("rp{}", card.anchor.chassis.saturating_sub(1));
        let port = RootPort {
            id: id.clone(),
            chassis: card.anchor.chassis,
            slot: card.anchor.chassis,
            addr: card.anchor.addr,
            // A power of two, so that the window holds naturally aligned BARs in any order.
            pref64_reserve: bars.next_power_of_two(),
        };
        let multifunction = functions.len() > 1;
        let place = |(n, function): (usize, &FunctionName)| PlacedFunction {
            function: *function,
            bus: id.clone(),
            bus_number: card.anchor.chassis,
            device: (n / 8) as u8,
            number: (n % 8) as u8,
            multifunction,
        };
        Placement { functions: functions.iter().enumerate().map(place).collect(), root_ports: vec![port] }
    }
}

impl PlacedFunction {
    /// Bus, device and function as `lspci` prints them, for example `01:00.1`.
    pub fn bdf(&self) -> String {
        format!("{:02x}:{:02x}.{}", self.bus_number, self.device, self.number)
    }

    /// QEMU's `addr` property, for example `0.1` (hexadecimal).
    pub fn addr(&self) -> String {
        format!("{:x}.{}", self.device, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pfs_share_slot_zero() {
        let placement = Placement::of(&Card::default());
        assert_eq!(placement.root_ports.len(), 1);
        assert_eq!(placement.root_ports[0].pref64_reserve, 64 << 20);
        let bdfs: Vec<_> = placement.functions.iter().map(PlacedFunction::bdf).collect();
        assert_eq!(bdfs, ["01:00.0", "01:00.1"]);
        assert!(placement.functions.iter().all(|f| f.multifunction && f.bus == "rp0"));
    }

    #[test]
    fn the_window_holds_every_bar() {
        for ports in 1..=Card::MAX_PORTS {
            let card = Card::with_ports(ports);
            let placement = Placement::of(&card);
            assert!(placement.root_ports[0].pref64_reserve >= ports as u64 * (32 << 20));
            assert_eq!(placement.functions.len(), ports);
        }
        assert!(!Placement::of(&Card::with_ports(1)).functions[0].multifunction);
    }
}
