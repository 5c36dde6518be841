//! Ethernet II and VLAN tags (IEEE 802.3, 802.1Q).

use super::Headers;

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// Length of the Ethernet header without tags, in bytes.
pub const LEN: usize = 14;
/// Length of a VLAN tag, in bytes.
pub const VLAN_LEN: usize = 4;
/// Length of the two addresses, in bytes: where the first tag or the ethertype is.
pub const ADDRESSES: usize = 12;

/// Ethertypes (IEEE registration authority) that the card tells apart.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IEEE 802.1Q customer VLAN tag (C-VLAN).
    pub const CVLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1ad service VLAN tag (S-VLAN).
    pub const SVLAN: u16 = 0x88a8;
}

impl Mac {
    /// Whether the group bit is set: multicast or broadcast.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is the broadcast address.
    pub fn is_broadcast(self) -> bool {
        self.0 == [0xff; 6]
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VlanTag {
    /// Tag protocol identifier: [`ethertype::CVLAN`] or [`ethertype::SVLAN`].
    pub tpid: u16,
    /// Tag control information: PCP, DEI, VID.
    pub tci: u16,
}

impl VlanTag {
    /// VLAN identifier, 12 bits.
    pub fn vid(self) -> u16 {
        self.tci & 0xfff
    }

    /// Priority code point, 3 bits.
    pub fn prio(self) -> u16 {
        self.tci >> 13
    }

    /// Drop eligible indicator (formerly CFI), 1 bit.
    pub fn cfi(self) -> u16 {
        (self.tci >> 12) & 1
    }

    /// The tag's bytes in a frame.
    pub fn to_bytes(self) -> [u8; VLAN_LEN] {
        let [a, b] = self.tpid.to_be_bytes();
        let [c, d] = self.tci.to_be_bytes();
        [a, b, c, d]
    }
}

/// Whether an ethertype announces a VLAN tag.
pub fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::CVLAN | ethertype::SVLAN)
}

/// Parses addresses, tags and ethertype. `None` if the frame is shorter than [`LEN`].
pub(super) fn parse(frame: &[u8]) -> Option<Headers> {
    let eth = frame.first_chunk::<LEN>()?;
    let mut h = Headers {
        dmac: Mac([eth[0], eth[1], eth[2], eth[3], eth[4], eth[5]]),
        smac: Mac([eth[6], eth[7], eth[8], eth[9], eth[10], eth[11]]),
        ethertype: u16::from_be_bytes([eth[12], eth[13]]),
        l3_offset: LEN,
        ..Headers::default()
    };
    while is_tag(h.ethertype) {
        let Some(slot) = h.vlan.get_mut(usize::from(h.vlan_count)) else { break };
        let Some(tag) = frame.get(h.l3_offset..).and_then(|b| b.first_chunk::<VLAN_LEN>()) else {
            h.truncated = true;
            break;
        };
        *slot = VlanTag { tpid: h.ethertype, tci: u16::from_be_bytes([tag[0], tag[1]]) };
        h.ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        h.vlan_count += 1;
        h.l3_offset += VLAN_LEN;
    }
    Some(h)
}
