//! Ethernet frames: a checked parse of the headers that the card looks at.
//!
//! [`Headers::parse`] reads a frame once, from left to right, and never fails beyond "not even an Ethernet header": what is
//! cut short or malformed simply has no deeper header ([`Net::Other`], [`Transport::None`]) and is marked
//! [`Headers::truncated`], so that it matches only rules about the headers that it does have. Each protocol is one file:
//! byte offsets as constants, and a representation.

pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

pub use ethernet::{Mac, VlanTag, ethertype};
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use tcp::Tcp;
pub use udp::Udp;

/// IP protocol numbers (IANA "Protocol Numbers") that the card tells apart.
pub mod ip_protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPsec ESP.
    pub const ESP: u8 = 50;
    /// IPsec AH.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The network header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Net {
    /// Neither of the others, or cut short.
    #[default]
    Other,
    /// ARP for IPv4 over Ethernet.
    Arp,
    /// IPv4.
    Ipv4(Ipv4),
    /// IPv6.
    Ipv6(Ipv6),
}

/// The transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Neither of the others, cut short, or a fragment (no fragment's ports are matched or hashed, the first's
    /// neither, so that all fragments of a datagram go the same way).
    #[default]
    None,
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP or ICMPv6 (told apart by [`Headers::ip_protocol`]).
    Icmp(Icmp),
    /// IPsec ESP.
    Esp {
        /// The security parameters index.
        spi: u32,
    },
    /// IPsec AH. What it protects is not looked at.
    Ah {
        /// The security parameters index.
        spi: u32,
    },
}

/// The first eight bytes of an ICMP or ICMPv6 message, without the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Rest of header.
    pub data: u32,
}

/// `l3_hdr_type` of a CQE (`struct mlx5_cqe64`, `l4_l3_hdr_type` bits 3:2; `enum CQE_L3_HDR_TYPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum L3HdrType {
    /// Not IP.
    None = 0,
    /// IPv6.
    Ipv6 = 1,
    /// IPv4.
    Ipv4 = 2,
}

/// `l4_hdr_type` of a CQE (`struct mlx5_cqe64`, `l4_l3_hdr_type` bits 6:4; `enum CQE_L4_HDR_TYPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum L4HdrType {
    /// Neither TCP nor UDP.
    None = 0,
    /// TCP without the ACK flag.
    TcpNoAck = 1,
    /// UDP.
    Udp = 2,
    /// TCP with the ACK flag and no payload.
    TcpAckNoData = 3,
    /// TCP with the ACK flag and payload.
    TcpAckAndData = 4,
}

/// The parsed headers of a frame, with the offsets where they are.
///
/// Offsets count bytes from the frame's first (the destination MAC); all are at most the frame's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers {
    /// Destination MAC.
    pub dmac: Mac,
    /// Source MAC.
    pub smac: Mac,
    /// The first [`Headers::vlan_count`] are the VLAN tags, outermost first.
    pub vlan: [VlanTag; 2],
    /// Number of VLAN tags looked at: 0 to 2. A third tag is left as the ethertype.
    pub vlan_count: u8,
    /// The ethertype after the VLAN tags.
    pub ethertype: u16,
    /// Where the network header starts.
    pub l3_offset: usize,
    /// The network header.
    pub net: Net,
    /// The IPv4 protocol, or the next header after IPv6's extension headers; 0 for what is not IP.
    pub ip_protocol: u8,
    /// Whether the packet is a fragment, the first one included.
    pub fragment: bool,
    /// Where the network header (IPv4 options and IPv6 extension headers included) ends.
    pub l4_offset: usize,
    /// Where the IP packet ends: the total length says so, or the frame's end if it comes first.
    pub ip_end: usize,
    /// The transport header.
    pub transport: Transport,
    /// Where the transport header ends; [`Headers::l4_offset`] if there is none.
    pub payload_offset: usize,
    /// A header or the IP packet is longer than the frame, or contradicts itself.
    pub truncated: bool,
}

impl Headers {
    /// Parses a frame without FCS. `None` if it is shorter than an Ethernet header (14 bytes).
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut h = ethernet::parse(frame)?;
        h.l4_offset = h.l3_offset;
        h.ip_end = h.l3_offset;
        h.payload_offset = h.l3_offset;
        let l3 = frame.get(h.l3_offset..).unwrap_or(&[]);
        let parsed = match h.ethertype {
            ethertype::IPV4 => ipv4::parse(&mut h, l3),
            ethertype::IPV6 => ipv6::parse(&mut h, l3),
            ethertype::ARP => {
                h.net = Net::Arp;
                Some(())
            }
            _ => Some(()),
        };
        h.truncated |= parsed.is_none();
        if matches!(h.net, Net::Ipv4(_) | Net::Ipv6(_)) && parsed.is_some() && !h.fragment {
            h.parse_transport(frame);
        }
        Some(h)
    }

    fn parse_transport(&mut self, frame: &[u8]) {
        let l4 = frame.get(self.l4_offset..self.ip_end).unwrap_or(&[]);
        let found = match (self.ip_protocol, &self.net) {
            (ip_protocol::TCP, _) => Tcp::parse(l4).map(|tcp| (Transport::Tcp(tcp), tcp.header_len())),
            (ip_protocol::UDP, _) => Udp::parse(l4).map(|udp| (Transport::Udp(udp), udp::LEN)),
            (ip_protocol::ICMP, Net::Ipv4(_)) | (ip_protocol::ICMPV6, Net::Ipv6(_)) => {
                Icmp::parse(l4).map(|icmp| (Transport::Icmp(icmp), Icmp::LEN))
            }
            (ip_protocol::ESP, _) => word_at(l4, 0).map(|spi| (Transport::Esp { spi }, ESP_LEN)),
            (ip_protocol::AH, _) => word_at(l4, AH_SPI).map(|spi| (Transport::Ah { spi }, AH_LEN)),
            _ => return,
        };
        match found {
            Some((transport, len)) => {
                self.transport = transport;
                self.payload_offset = (self.l4_offset + len).min(self.ip_end);
            }
            None => self.truncated = true,
        }
    }

    /// The VLAN tags, outermost first.
    pub fn vlans(&self) -> &[VlanTag] {
        self.vlan.get(..usize::from(self.vlan_count)).unwrap_or(&[])
    }

    /// The IP packet (header to total length) of the frame that these headers were parsed from; empty if not IP.
    pub fn ip_bytes<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.l3_offset..self.ip_end).unwrap_or(&[])
    }

    /// Bytes of transport payload.
    pub fn payload_len(&self) -> usize {
        self.ip_end.saturating_sub(self.payload_offset)
    }

    /// The CQE's `l3_hdr_type`.
    pub fn l3_hdr_type(&self) -> L3HdrType {
        match self.net {
            Net::Ipv4(_) => L3HdrType::Ipv4,
            Net::Ipv6(_) => L3HdrType::Ipv6,
            Net::Arp | Net::Other => L3HdrType::None,
        }
    }

    /// The CQE's `l4_hdr_type`.
    pub fn l4_hdr_type(&self) -> L4HdrType {
        match self.transport {
            Transport::Udp(_) => L4HdrType::Udp,
            Transport::Tcp(tcp) if tcp.flags & tcp::ACK == 0 => L4HdrType::TcpNoAck,
            Transport::Tcp(_) if self.payload_len() == 0 => L4HdrType::TcpAckNoData,
            Transport::Tcp(_) => L4HdrType::TcpAckAndData,
            _ => L4HdrType::None,
        }
    }
}

/// Length of the ESP header: SPI and sequence number (RFC 4303), in bytes.
const ESP_LEN: usize = 8;
/// Byte offset of the SPI in the AH header (RFC 4302).
const AH_SPI: usize = 4;
/// Length of the AH header without the integrity check value, in bytes.
const AH_LEN: usize = 12;

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Icmp {
    /// Length of the part that is parsed, in bytes.
    pub const LEN: usize = 8;

    fn parse(b: &[u8]) -> Option<Self> {
        let b = b.first_chunk::<8>()?;
        Some(Self { kind: b[0], code: b[1], data: u32::from_be_bytes([b[4], b[5], b[6], b[7]]) })
    }
}
