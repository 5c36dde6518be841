//! IPv4 (RFC 791).

use super::{Headers, Net};

/// Length of the header without options, in bytes.
pub const LEN: usize = 20;
/// Byte offset of the header checksum.
pub const CHECKSUM: usize = 10;

/// The IPv4 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
    /// Header length in dwords, 5 to 15.
    pub ihl: u8,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// Explicit congestion notification, 2 bits.
    pub ecn: u8,
    /// Time to live.
    pub ttl: u8,
    /// Total length in bytes, header included, as the header says it.
    pub total_length: u16,
    /// Identification.
    pub identification: u16,
    /// Fragment offset in bytes.
    pub fragment_offset: u16,
    /// The "more fragments" flag.
    pub more_fragments: bool,
}

/// Parses the header at the start of `b` into `h`. `None` if it is cut short or contradicts itself.
pub(super) fn parse(h: &mut Headers, b: &[u8]) -> Option<()> {
    let f = b.first_chunk::<LEN>()?;
    let ihl = f[0] & 0xf;
    let header_len = usize::from(ihl) * 4;
    let total_length = u16::from_be_bytes([f[2], f[3]]);
    let flags = u16::from_be_bytes([f[6], f[7]]);
    if f[0] >> 4 != 4 || header_len < LEN || header_len > b.len() || usize::from(total_length) < header_len {
        return None;
    }
    let ip = Ipv4 {
        src: [f[12], f[13], f[14], f[15]],
        dst: [f[16], f[17], f[18], f[19]],
        ihl,
        dscp: f[1] >> 2,
        ecn: f[1] & 3,
        ttl: f[8],
        total_length,
        identification: u16::from_be_bytes([f[4], f[5]]),
        fragment_offset: (flags & 0x1fff) << 3,
        more_fragments: flags & 0x2000 != 0,
    };
    h.net = Net::Ipv4(ip);
    h.ip_protocol = f[9];
    h.fragment = ip.more_fragments || ip.fragment_offset != 0;
    h.l4_offset = h.l3_offset + header_len;
    h.ip_end = h.l3_offset + usize::from(total_length).min(b.len());
    h.payload_offset = h.l4_offset;
    h.truncated |= usize::from(total_length) > b.len();
    Some(())
}
