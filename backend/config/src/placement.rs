//! Where each function is plugged into the guest's PCI Express tree.
//!
//! A card hangs below one root port of its own. PF n is function n of slot 0 behind it: a multi-function device, as a
//! multi-port adapter is; the VFs follow, PF by PF, at the places that the SR-IOV capabilities name. A VF that is a device of
//! its own leaves a shadow there, and goes only where it is asked for by name. Behind the first root port of an otherwise
//! empty machine the guest numbers that bus 01.

use serde::{Deserialize, Serialize};

use crate::card::Card;
use crate::function::FunctionName;

/// The placement of a whole card, or of those of its functions that one guest has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The card's name: QEMU's ids of the functions begin with it.
    pub card: String,
    /// The root ports that the card needs.
    pub root_ports: Vec<RootPort>,
    /// Every function, in the order in which QEMU must be given them.
    pub functions: Vec<PlacedFunction>,
    /// VFs that are devices of their own: [`Placement::only`] takes them from here.
    #[serde(default)]
    pub apart: Vec<PlacedFunction>,
    /// The machine has an IOMMU.
    #[serde(default)]
    pub iommu: bool,
}

/// One root port on `pcie.0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFunction {
    /// Which function.
    pub function: FunctionName,
    /// It is the shadow of that function.
    #[serde(default)]
    pub shadow: bool,
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
        let functions = card.pci_functions();
        let bars: u64 = functions.iter().map(|f| card.bar0_bytes(*f) + card.bar2_bytes(*f)).sum();
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
            shadow: card.standalone.contains(function),
            bus: id.clone(),
            bus_number: card.anchor.chassis,
            device: (n / 8) as u8,
            number: (n % 8) as u8,
            multifunction,
        };
        let functions: Vec<_> = functions.iter().enumerate().map(place).collect();
        let apart = functions.iter().filter(|placed| placed.shadow);
        let apart = apart.map(|placed| PlacedFunction { shadow: false, ..placed.clone() }).collect();
        Placement { card: card.name.clone(), functions, apart, root_ports: vec![port], iommu: card.anchor.iommu }
    }

    /// The part of this placement that holds only the functions in `names`; a PF's name stands for its VFs too, or their
    /// shadows. The name of a VF that has one means the VF itself.
    ///
    /// A guest looks for further functions of a slot only when there is a function 0. So if that one is left out, all that
    /// stay behind the same root port move down by the same number: the distances between them, which a PF tells of its
    /// VFs, stay as they are.
    ///
    /// # Errors
    /// A name that the card does not have, or a VF that is a device of its own together with a PF.
    pub fn only(mut self, names: &[FunctionName]) -> Result<Placement, PlacementError> {
        if let Some(wanted) = names.iter().find(|name| self.functions.iter().all(|f| f.function != **name)) {
            return Err(self.lacks(*wanted));
        }
        self.choose(names)?;
        self.root_ports.retain(|port| self.functions.iter().any(|f| f.bus == port.id));
        for port in &self.root_ports {
            let mut here: Vec<_> = self.functions.iter_mut().filter(|f| f.bus == port.id).collect();
            let first = here.iter().map(|f| f.routing()).min().unwrap_or(0);
            if first > 0
                && let Some(pf) = pf_with_vfs(&here)
            {
                return Err(PlacementError::WithoutFunction0 { pf });
            }
            let several = here.len() > 1;
            for function in &mut here {
                function.place(function.routing() - first);
                function.multifunction = several;
            }
        }
        Ok(self)
    }

    /// The PFs here whose VFs QEMU's monitor has to map.
    pub fn monitored(&self) -> Vec<FunctionName> {
        let has_vfs = |pf: &FunctionName| {
            self.functions.iter().any(|f| f.function != *pf && f.function.parent_pf() == pf.parent_pf())
        };
        let pfs = self.functions.iter().map(|f| f.function).filter(|f| matches!(f, FunctionName::Pf(_)));
        pfs.filter(|pf| self.iommu && has_vfs(pf)).collect()
    }

    /// Keeps the functions in `names`, and what is a named PF's.
    fn choose(&mut self, names: &[FunctionName]) -> Result<(), PlacementError> {
        let named = |f: &PlacedFunction| names.contains(&f.function);
        let mut own: Vec<_> = std::mem::take(&mut self.apart).into_iter().filter(named).collect();
        let has_pf = names.iter().any(|name| matches!(name, FunctionName::Pf(_)));
        if let Some(own) = own.first().filter(|_| has_pf) {
            return Err(PlacementError::WithPf { wanted: own.function });
        }
        let of_named_pf = |f: FunctionName| f.parent_pf().is_some_and(|pf| names.contains(&FunctionName::Pf(pf)));
        self.functions.retain(|f| (named(f) && !f.shadow) || of_named_pf(f.function));
        // Nobody tells of the places of VFs that are devices of their own: they follow one another, behind what else there is.
        let behind = self.functions.iter().map(|f| f.routing() + 1).max().unwrap_or(0);
        for (n, function) in (behind..).zip(&mut own) {
            function.place(n);
        }
        self.functions.append(&mut own);
        Ok(())
    }

    fn lacks(&self, wanted: FunctionName) -> PlacementError {
        let known: Vec<String> = self.functions.iter().map(|f| f.function.to_string()).collect();
        PlacementError::Unknown { card: self.card.clone(), wanted, known: known.join(", ") }
    }
}

/// Functions that cannot be in one machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The card does not have one.
    #[error("the card {card} has no function {wanted}: it has {known}")]
    Unknown {
        /// The card's name.
        card: String,
        /// The function.
        wanted: FunctionName,
        /// What it has.
        known: String,
    },
    /// A PF with VFs that would not be where the card is built to have it: it reaches its VFs by their addresses.
    #[error(
        "{pf} has VFs, and they are found only where function 0 of the card is, too: attach pf0 as well, or write vfs = 0"
    )]
    WithoutFunction0 {
        /// The PF.
        pf: FunctionName,
    },
    /// A VF that is a device of its own, and a PF.
    #[error(
        "{wanted} is a device of its own ([attach] in the card file), for a machine without PFs of this card: attach it there"
    )]
    WithPf {
        /// The VF.
        wanted: FunctionName,
    },
}

/// A PF that has VFs among `functions`.
fn pf_with_vfs(functions: &[&mut PlacedFunction]) -> Option<FunctionName> {
    let has = |name| functions.iter().any(|f| f.function == name);
    let vfs = functions.iter().filter(|f| matches!(f.function, FunctionName::Vf { .. }));
    vfs.filter_map(|vf| vf.function.parent_pf()).map(FunctionName::Pf).find(|pf| has(*pf))
}

impl PlacedFunction {
    /// Moves it to this Routing ID on its bus.
    fn place(&mut self, routing: u16) {
        (self.device, self.number) = ((routing / 8) as u8, (routing % 8) as u8);
    }

    /// Device and function in one number, as a Routing ID has them in its low byte.
    pub fn devfn(&self) -> u8 {
        self.device << 3 | self.number
    }

    /// Bus, device and function as `lspci` prints them, for example `01:00.1`.
    pub fn bdf(&self) -> String {
        format!("{:02x}:{:02x}.{}", self.bus_number, self.device, self.number)
    }

    /// Device and function number as one: the low byte of the requester ID (PCIe 2.2.6.2).
    fn routing(&self) -> u16 {
        u16::from(self.devfn())
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

    fn only(ports: usize, names: &[u8]) -> Vec<(String, bool)> {
        let names: Vec<_> = names.iter().map(|n| FunctionName::pf(*n)).collect();
        let placement = Placement::of(&Card::with_ports(ports)).only(&names).unwrap();
        assert_eq!(placement.root_ports.len(), 1);
        assert_eq!(placement.functions.iter().map(|f| f.function).collect::<Vec<_>>(), names);
        placement.functions.iter().map(|f| (f.addr(), f.multifunction)).collect()
    }

    #[test]
    fn what_is_attached_alone_is_function_0() {
        let at = |addr: &str, several| (addr.to_string(), several);
        assert_eq!(only(2, &[0]), [at("0.0", false)]);
        assert_eq!(only(2, &[1]), [at("0.0", false)]);
        assert_eq!(only(2, &[0, 1]), [at("0.0", true), at("0.1", true)]);
        // Function 0 is there, so nothing moves.
        assert_eq!(only(8, &[0, 7]), [at("0.0", true), at("0.7", true)]);
        assert_eq!(only(8, &[3, 5, 7]), [at("0.0", true), at("0.2", true), at("0.4", true)]);
    }

    #[test]
    fn every_choice_has_a_function_0_in_its_slot_and_no_address_twice() {
        for choice in 1..256u32 {
            let names: Vec<u8> = (0..8).filter(|n| choice >> n & 1 == 1).collect();
            let placed = only(8, &names);
            let mut addresses: Vec<_> = placed.iter().map(|(addr, _)| addr.clone()).collect();
            assert_eq!(addresses[0], "0.0");
            addresses.dedup();
            assert_eq!(addresses.len(), names.len());
            assert!(placed.iter().all(|(_, several)| *several == (names.len() > 1)), "{names:?}");
        }
    }

    #[test]
    fn a_function_that_is_none_of_the_cards_is_refused_by_name() {
        let error = Placement::of(&Card::default()).only(&[FunctionName::pf(0), FunctionName::pf(2)]).unwrap_err();
        assert_eq!(error.to_string(), "the card card0 has no function pf2: it has pf0, pf1");
    }

    #[test]
    fn a_vf_that_is_a_device_of_its_own_leaves_a_shadow() {
        let card = Card::parse("ports = 1\nvfs = 2\n[attach]\npf0vf1 = \"standalone\"").unwrap();
        let [pf, vf0, vf1] = [FunctionName::pf(0), FunctionName::vf(0, 0), FunctionName::vf(0, 1)];
        let shown = |placement: Placement| -> Vec<_> {
            placement.functions.iter().map(|f| (f.function, f.shadow, f.addr())).collect()
        };
        let at = |function, shadow, addr: &str| (function, shadow, addr.to_string());
        let whole = [at(pf, false, "0.0"), at(vf0, false, "0.1"), at(vf1, true, "0.2")];
        assert_eq!(shown(Placement::of(&card)), whole);
        assert_eq!(shown(Placement::of(&card).only(&[pf]).unwrap()), whole);
        assert_eq!(shown(Placement::of(&card).only(&[vf1]).unwrap()), [at(vf1, false, "0.0")]);
        let error = Placement::of(&card).only(&[pf, vf1]).unwrap_err();
        assert_eq!(error, PlacementError::WithPf { wanted: vf1 });
        let text = "ports = 1\nvfs = 16\n[attach]\npf0vf0 = \"standalone\"\npf0vf12 = \"standalone\"";
        let far = FunctionName::vf(0, 12);
        let two = Placement::of(&Card::parse(text).unwrap()).only(&[vf0, far]).unwrap();
        assert_eq!(shown(two), [at(vf0, false, "0.0"), at(far, false, "0.1")]);
    }

    #[test]
    fn a_pf_with_vfs_stays_where_it_is() {
        let card = Card::parse("vfs = 2").unwrap();
        let error = Placement::of(&card).only(&[FunctionName::pf(1)]).unwrap_err();
        assert!(error.to_string().starts_with("pf1 has VFs"), "{error}");
        assert_eq!(Placement::of(&card).only(&[FunctionName::pf(0)]).unwrap().functions.len(), 3);
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

    #[test]
    fn sfs_are_in_a_bar_of_their_pf_and_nowhere_else() {
        let card = Card::parse("ports = 1\nvfs = 1\nsfs = 3").unwrap();
        let names: Vec<_> = card.functions().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["pf0", "pf0vf0", "pf0sf0", "pf0sf1", "pf0sf2"]);
        assert_eq!(card.functions().iter().map(|f| card.vhca_id(*f)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let [pf, sf] = [FunctionName::pf(0), FunctionName::sf(0, 0)];
        assert_eq!((card.bar2_bytes(pf), card.bar2_bytes(sf)), (4 << 20, 0), "a power of two");
        assert_eq!(card.vectors(sf), card.vectors(pf));
        let placement = Placement::of(&card);
        assert_eq!(placement.functions.iter().map(|f| f.function).collect::<Vec<_>>(), [pf, FunctionName::vf(0, 0)]);
        assert!(placement.root_ports[0].pref64_reserve >= (32 << 20) + (4 << 20) + (2 << 20));
    }
}
