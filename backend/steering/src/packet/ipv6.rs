//! IPv6 and its extension headers (RFC 8200).

use super::{Headers, Net};

/// Length of the fixed header, in bytes.
pub const LEN: usize = 40;
/// Extension headers walked over before a packet counts as malformed.
pub const MAX_EXTENSIONS: usize = 8;

/// Next-header numbers of the extension headers (IANA "IPv6 Extension Header Types") that are walked over. IPsec's are not:
/// the driver has steering rules and hash fields for AH and ESP as protocols of their own.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

/// The fixed IPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// Explicit congestion notification, 2 bits.
    pub ecn: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Payload length in bytes, extension headers included, as the header says it.
    pub payload_length: u16,
}

/// Parses the header and the extension headers at the start of `b` into `h`. `None` if they are cut short, too many or
/// contradict themselves; the fixed header is then known all the same, if it is whole.
pub(super) fn parse(h: &mut Headers, b: &[u8]) -> Option<()> {
    let f = b.first_chunk::<LEN>()?;
    let word = u32::from_be_bytes([f[0], f[1], f[2], f[3]]);
    if word >> 28 != 6 {
        return None;
    }
    let mut ip = Ipv6 {
        src: [0; 16],
        dst: [0; 16],
        dscp: (word >> 22) as u8 & 0x3f,
        ecn: (word >> 20) as u8 & 3,
        flow_label: word & 0xf_ffff,
        hop_limit: f[7],
        payload_length: u16::from_be_bytes([f[4], f[5]]),
    };
    ip.src.copy_from_slice(&f[8..24]);
    ip.dst.copy_from_slice(&f[24..40]);
    let total = LEN + usize::from(ip.payload_length);
    h.net = Net::Ipv6(ip);
    h.truncated |= total > b.len();
    let packet = b.get(..total.min(b.len()))?;
    h.ip_protocol = f[6];
    h.ip_end = h.l3_offset + packet.len();
    h.l4_offset = h.l3_offset + LEN;
    h.payload_offset = h.l4_offset;
    walk_extensions(h, packet)
}

fn walk_extensions(h: &mut Headers, packet: &[u8]) -> Option<()> {
    for _ in 0..=MAX_EXTENSIONS {
        let at = h.l4_offset - h.l3_offset;
        let kind = h.ip_protocol;
        if !matches!(kind, extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION) {
            return Some(());
        }
        let e = packet.get(at..)?.first_chunk::<8>()?;
        let len = match kind {
            extension::FRAGMENT => 8,
            // In 8-byte units, less one.
            _ => (usize::from(e[1]) + 1) * 8,
        };
        if at + len > packet.len() {
            return None;
        }
        h.ip_protocol = e[0];
        h.l4_offset += len;
        h.payload_offset = h.l4_offset;
        if kind == extension::FRAGMENT {
            let field = u16::from_be_bytes([e[2], e[3]]);
            // An "atomic fragment" (RFC 6946) is a whole packet.
            h.fragment |= field & 0xfff9 != 0;
            if field >> 3 != 0 {
                // What follows is the middle of a datagram, not a header.
                return Some(());
            }
        }
    }
    None
}
