//! The description of one card: what `CARD.toml` says, or the default card when there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::fault::FaultRule;
use crate::function::FunctionName;
use crate::timeouts::Timeouts;
use crate::wire::Wire;

/// Everything that describes one emulated card. Every value has been checked: a `Card` cannot be impossible.
///
/// Read it from text with [`Card::parse`] or from a file with [`Card::load`]; [`Card::default`] is the card that runs when no
/// file is named: two ports wired to each other, one PF each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The card's name: also the name of its directory. Lower-case letters, digits, `-` and `_`, at most 32.
    pub name: String,
    /// The seed of every decision that real hardware would leave to chance.
    pub seed: u64,
    /// The ports, 1 to 8. Port `n` belongs to `pf<n>`.
    pub ports: Vec<Port>,
    /// VFs of each PF, 0 to [`Card::MAX_VFS`]; of its host, if it is an embedded CPU's.
    pub vfs: u16,
    /// SFs that each PF can have, 0 to [`Card::MAX_SFS`].
    pub sfs: u16,
    /// VFs of a PF that is elsewhere, which are delegated to the e-switch of each PF: 0 to [`Card::MAX_ADJACENT_VFS`].
    pub adjacent_vfs: u16,
    /// Each PF is an embedded CPU's, which manages the e-switch of a host. That host's PF and VFs are in no machine.
    pub embedded_cpu: bool,
    /// What the firmware says of itself.
    pub firmware: Firmware,
    /// How long the driver is to wait for the firmware.
    pub timeouts: Timeouts,
    /// Sizes of each function.
    pub limits: Limits,
    /// VHCA ids that are not the ones that the functions would have.
    pub vhca_ids: BTreeMap<FunctionName, u16>,
    /// VFs that are devices of their own, for another machine than their PF's, in which a shadow takes their place.
    pub standalone: BTreeSet<FunctionName>,
    /// Where the card's root port sits in the guest.
    pub anchor: PciAnchor,
    /// Fault rules that are in force from the beginning.
    pub faults: Vec<FaultRule>,
}

/// One network port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The permanent MAC address of the port's PF.
    pub mac: MacAddr,
    /// The speed of the link.
    pub speed: Speed,
    /// What the port is plugged into.
    pub wire: Wire,
}

/// What the firmware says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The version in the initialization segment.
    pub version: FwVersion,
    /// The board's parameter set id (`vsd_contd_psid` in `query_adapter_struct`), 1 to 16 printable ASCII characters.
    pub psid: String,
    /// How many pages it asks the driver for.
    pub pages: Pages,
    /// How many pages it asks the driver of a PF for, for each VF and SF.
    pub vf_pages: VfPages,
    /// By which ids the driver may name the functions that pages are for.
    pub page_ids: PageIds,
    /// Pages that one MANAGE_PAGES gives back at most; as many as are asked for if `None`.
    pub take_at_most: Option<u32>,
    /// A pattern in each page that is given, checked before the page goes back.
    pub canaries: bool,
    /// Mistakes of the firmware.
    pub slips: Slips,
}

/// What the firmware offers as `icm_mng_function_id_mode` in `cmd_hca_cap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageIds {
    /// Function ids: an older firmware.
    FunctionId,
    /// VHCA ids if the driver knows them.
    #[default]
    VhcaId,
    /// A mistake: it offers VHCA ids, but setting the capability changes nothing.
    VhcaIdIgnored,
}

impl PageIds {
    /// Every value with its name in card files.
    pub const ALL: [(&str, PageIds); 3] =
        [("vhca_id", PageIds::VhcaId), ("func_id", PageIds::FunctionId), ("vhca_id_ignored", PageIds::VhcaIdIgnored)];
}

impl FromStr for PageIds {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        PageIds::ALL.iter().find(|(name, _)| *name == text).map(|(_, ids)| *ids).ok_or(())
    }
}

/// Mistakes that a firmware could make, for drivers to be tried with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slips {
    /// The id that QUERY_PAGES answers with when a PF asks for its boot pages, and by which it may give them.
    pub boot_id: Option<u16>,
    /// The same for init pages.
    pub init_id: Option<u16>,
    /// MANAGE_PAGES gives one page back twice if there is room in its list.
    pub take_twice: bool,
}

/// A firmware version `major.minor.subminor`, as `fw_rev` and `cmdif_rev_fw_sub` of the initialization segment hold it (16 bits
/// each).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FwVersion {
    /// `fw_rev` bits 15:0.
    pub major: u16,
    /// `fw_rev` bits 31:16.
    pub minor: u16,
    /// `cmdif_rev_fw_sub` bits 15:0.
    pub subminor: u16,
}

/// How many 4 KiB pages the firmware asks for, per PF: each 0 to [`Pages::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Answered to QUERY_PAGES with `op_mod` boot pages: the driver gives them right after ENABLE_HCA and SET_ISSI.
    pub boot: u32,
    /// Answered to QUERY_PAGES with `op_mod` init pages: the driver gives them before INIT_HCA.
    pub init: u32,
    /// Asked for with a page request event once the function runs.
    pub event: u32,
}

/// How many 4 KiB pages the firmware asks a PF's driver for, per VF or SF: each 0 to [`Pages::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfPages {
    /// When the PF enables the VF.
    pub enable: u32,
    /// When the VF's own driver initializes it; they go back when it is torn down.
    pub init: u32,
}

/// The size of BAR0 of a VF: 512 UAR pages of 4 KiB.
pub(crate) const VF_BAR0_BYTES: u64 = 2 << 20;

/// The size of the window of an SF in its PF's BAR2: 256 UAR pages of 4 KiB. As `MAX_SFS`, it is this card's own.
pub const SF_WINDOW_BYTES: u64 = 1 << 20;

/// The size of BAR0 of a PF: 8192 UAR pages of 4 KiB, as on real cards.
pub const BAR0_BYTES: u64 = 32 << 20;

/// Sizes of each function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// MSI-X vectors of a PF, 2 to 2048 (the size of the MSI-X table, PCIe 7.7.2).
    pub vectors: u16,
    /// MSI-X vectors of a VF, 2 to 2048.
    pub vf_vectors: u16,
}

/// Where the card's root port sits in the guest. Two cards in one guest need two different anchors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAnchor {
    /// The root port's device number on `pcie.0`, 1 to 30.
    pub addr: u8,
    /// The root port's chassis number, 1 to 255. The port's id is `rp<chassis - 1>`.
    pub chassis: u8,
    /// Where the machine has its ECAM (the memory through which configuration space is accessed): a multiple of 256 MiB.
    /// QEMU's q35 has it at 0xb0000000 with SeaBIOS, at 0xe0000000 with OVMF.
    pub ecam: u64,
    /// The machine has an IOMMU, which may translate what the card reads and writes. Then the card cannot reach ECAM, and QEMU's
    /// monitor has to map VFs: the QEMU arguments have both. A machine has one IOMMU: of two cards in it, one says so.
    pub iommu: bool,
}

impl Card {
    /// The largest number of VFs of a PF.
    pub const MAX_VFS: u16 = 16;

    /// The largest number of SFs of a PF.
    pub const MAX_SFS: u16 = 64;
    /// The most functions of others that an e-switch has.
    pub const MAX_ADJACENT_VFS: u16 = 16;

    /// The largest number of ports: a PF each, and a PCI slot has eight functions.
    pub const MAX_PORTS: usize = 8;

    /// A card of `count` ports (clamped to 1..=8) with default values and neighbours wired in pairs: 0 with 1, 2 with 3, …
    pub(crate) fn with_ports(count: usize) -> Card {
        let count = count.clamp(1, Card::MAX_PORTS);
        let name = "card0".to_string();
        let base = default_mac(&name, 0);
        let ports = (0..count)
            .map(|n| Port { mac: base.plus(n as u64), speed: Speed::DEFAULT, wire: neighbour(n, count) })
            .collect();
        Card {
            name,
            seed: 0,
            ports,
            vfs: 0,
            sfs: 0,
            adjacent_vfs: 0,
            embedded_cpu: false,
            firmware: Firmware::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            vhca_ids: BTreeMap::new(),
            standalone: BTreeSet::new(),
            anchor: PciAnchor::default(),
            faults: Vec::new(),
        }
    }

    /// Every function of the card, in order: PFs, then their hosts' PFs if there are hosts, then the VFs of the first, of the
    /// second …, then their SFs, then those of others that are delegated to them.
    pub fn functions(&self) -> Vec<FunctionName> {
        let pfs = 0..self.ports.len() as u8;
        let vfs = pfs.clone().flat_map(|pf| (0..self.vfs).map(move |vf| FunctionName::Vf { pf, vf }));
        let sfs = pfs.clone().flat_map(|pf| (0..self.sfs).map(move |sf| FunctionName::Sf { pf, sf }));
        let others = pfs.clone().flat_map(|pf| (0..self.adjacent_vfs).map(move |vf| FunctionName::Adjacent { pf, vf }));
        let hosts = pfs.clone().filter(|_| self.embedded_cpu).map(FunctionName::HostPf);
        pfs.map(FunctionName::Pf).chain(hosts).chain(vfs).chain(sfs).chain(others).collect()
    }

    /// Whether `function` is a PCI function of a machine, with a configuration space and a socket. SFs and the functions of
    /// an embedded CPU's host are none.
    pub fn is_pci(&self, function: FunctionName) -> bool {
        match function {
            FunctionName::Sf { .. } | FunctionName::HostPf(_) | FunctionName::Adjacent { .. } => false,
            FunctionName::Vf { .. } => !self.embedded_cpu,
            FunctionName::Pf(_) | FunctionName::Endpoint(_) => true,
        }
    }

    /// Every PCI function of the card, in the same order.
    pub fn pci_functions(&self) -> Vec<FunctionName> {
        self.functions().into_iter().filter(|function| self.is_pci(*function)).collect()
    }

    /// The size in bytes of BAR0 of `function`, or of the window that an SF has instead.
    pub fn bar0_bytes(&self, function: FunctionName) -> u64 {
        match function {
            FunctionName::Vf { .. } | FunctionName::Adjacent { .. } => VF_BAR0_BYTES,
            FunctionName::Sf { .. } => SF_WINDOW_BYTES,
            FunctionName::Pf(_) | FunctionName::HostPf(_) | FunctionName::Endpoint(_) => BAR0_BYTES,
        }
    }

    /// The size in bytes of BAR2 of `function`, which has the windows of its SFs; 0 if there is none.
    pub fn bar2_bytes(&self, function: FunctionName) -> u64 {
        let windows = if matches!(function, FunctionName::Pf(_)) { self.sfs } else { 0 };
        if windows == 0 { 0 } else { (u64::from(windows) * SF_WINDOW_BYTES).next_power_of_two() }
    }

    /// The number of `function` in [`Card::functions`], if the card has it.
    pub fn index(&self, function: FunctionName) -> Option<usize> {
        self.functions().iter().position(|known| *known == function)
    }

    /// The VHCA id of `function`: counted from 1 in the order of [`Card::functions`], unless the card file has another. 0
    /// stands for "no function" in some commands.
    pub fn vhca_id(&self, function: FunctionName) -> u16 {
        let counted = || self.index(function).map_or(0, |n| n as u16 + 1);
        self.vhca_ids.get(&function).copied().unwrap_or_else(counted)
    }

    /// The MSI-X vectors of `function`: an SF's are those of its PF.
    pub fn vectors(&self, function: FunctionName) -> u16 {
        if matches!(function, FunctionName::Vf { .. } | FunctionName::Adjacent { .. }) {
            self.limits.vf_vectors
        } else {
            self.limits.vectors
        }
    }
}

/// The wire of port `n` on a card where nobody said otherwise.
pub(crate) fn neighbour(n: usize, count: usize) -> Wire {
    let other = n ^ 1;
    if other < count { Wire::Port(other as u8) } else { Wire::None }
}

impl Default for Card {
    fn default() -> Self {
        Card::with_ports(2)
    }
}

impl Default for Firmware {
    fn default() -> Self {
        Firmware {
            version: FwVersion { major: 22, minor: 43, subminor: 1000 },
            psid: "EMU0000000001".to_string(),
            pages: Pages::default(),
            vf_pages: VfPages::default(),
            page_ids: PageIds::default(),
            take_at_most: None,
            canaries: true,
            slips: Slips::default(),
        }
    }
}

impl Pages {
    /// The most pages one count may ask for: 64 MiB of guest memory.
    pub const MAX: u32 = 16384;
}

impl Default for Pages {
    /// All three above zero, so that every path of the driver's page management runs.
    fn default() -> Self {
        Pages { boot: 64, init: 320, event: 128 }
    }
}

impl Default for VfPages {
    fn default() -> Self {
        VfPages { enable: 16, init: 48 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { vectors: 64, vf_vectors: 12 }
    }
}

impl Default for PciAnchor {
    /// Device 16: what a machine places by itself takes the lowest numbers that are free, and those of q35's own devices are 31
    /// and 0. ECAM as QEMU's q35 has it with SeaBIOS.
    fn default() -> Self {
        PciAnchor { addr: 16, chassis: 1, ecam: 0xb000_0000, iommu: false }
    }
}

/// The first MAC address of a card that names none: locally administered, four bytes from the name and seed (FNV-1a), the last
/// byte left for the card's own ports. Two cards of different names in one guest differ.
pub(crate) fn default_mac(name: &str, seed: u64) -> MacAddr {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes().chain(seed.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let [a, b, c, d, ..] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, 0])
}

/// An Ethernet MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address `n` further on.
    #[must_use]
    pub fn plus(self, n: u64) -> MacAddr {
        let [a, b, c, d, e, f] = self.0;
        let sum = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).wrapping_add(n) & 0xffff_ffff_ffff;
        let [_, _, a, b, c, d, e, f] = sum.to_be_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// Whether the group bit is set: such an address names no single station.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station may have this address: neither a group address nor zero.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(())?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(MacAddr(bytes)) }
    }
}

/// The speed of a link, in the steps that PTYS knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speed {
    /// 10 Gbit/s.
    G10,
    /// 25 Gbit/s.
    G25,
    /// 40 Gbit/s.
    G40,
    /// 50 Gbit/s.
    G50,
    /// 100 Gbit/s.
    G100,
}

impl Speed {
    /// The speed of a port that names none.
    pub const DEFAULT: Speed = Speed::G100;
    /// Every speed, slowest first.
    pub const ALL: [Speed; 5] = [Speed::G10, Speed::G25, Speed::G40, Speed::G50, Speed::G100];

    /// The speed in Mbit/s, the unit of `ethtool`.
    pub fn mbps(self) -> u32 {
        match self {
            Speed::G10 => 10_000,
            Speed::G25 => 25_000,
            Speed::G40 => 40_000,
            Speed::G50 => 50_000,
            Speed::G100 => 100_000,
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}G", self.mbps() / 1000)
    }
}

impl FromStr for Speed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Speed::ALL.into_iter().find(|s| s.to_string().eq_ignore_ascii_case(text)).ok_or(())
    }
}

impl fmt::Display for FwVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver and devlink print the last part with at least four digits.
        write!(f, "{}.{}.{:04}", self.major, self.minor, self.subminor)
    }
}

impl FromStr for FwVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|p| match p.bytes().all(|b| b.is_ascii_digit()) {
            true => p.parse::<u16>().map_err(|_| ()),
            false => Err(()),
        });
        let mut next = || parts.next().unwrap_or(Err(()));
        let version = FwVersion { major: next()?, minor: next()?, subminor: next()? };
        if parts.next().is_some() { Err(()) } else { Ok(version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_card_is_two_ports_wired_to_each_other() {
        let card = Card::default();
        assert_eq!(card.ports.len(), 2);
        assert_eq!((&card.ports[0].wire, &card.ports[1].wire), (&Wire::Port(1), &Wire::Port(0)));
        assert_ne!(card.ports[0].mac, card.ports[1].mac);
        assert!(card.ports.iter().all(|p| p.mac.is_unicast()));
        let pages = card.firmware.pages;
        assert!(pages.boot > 0 && pages.init > 0 && pages.event > 0);
    }

    #[test]
    fn values_round_trip_as_text() {
        let version = FwVersion { major: 22, minor: 43, subminor: 7 };
        assert_eq!((version.to_string().as_str(), "22.43.0007".parse()), ("22.43.0007", Ok(version)));
        let mac = MacAddr([2, 0, 0xab, 0xff, 0xff, 0xff]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!(mac.plus(1), MacAddr([2, 0, 0xac, 0, 0, 0]));
        for speed in Speed::ALL {
            assert_eq!(speed.to_string().parse(), Ok(speed));
        }
        for text in ["", "1.2", "1.2.3.4", "1.2.65536", "a.b.c", "1.+2.3"] {
            assert!(text.parse::<FwVersion>().is_err(), "{text:?} parsed");
        }
        for text in ["", "02:00:00:00:00", "02:00:00:00:00:0", "02:00:00:00:00:00:00", "+2:00:00:00:00:00"] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn cards_of_different_names_have_different_addresses() {
        assert_ne!(default_mac("card0", 0), default_mac("card1", 0));
        assert_ne!(default_mac("card0", 0), default_mac("card0", 1));
    }
}
