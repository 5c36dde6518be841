//! The Internet checksum: sums, verification, and the checksum offload of transmitted frames.
//!
//! A *sum* here is the ones-complement 16-bit sum **not** inverted, as CHECKSUM_COMPLETE reports it in the CQE; a *checksum*
//! is its complement, as headers carry it (RFC 1071).

use super::{Headers, Net, Transport, ip_protocol, tcp, udp};

/// 32-bit words that are added side by side.
const LANES: usize = 8;

/// A ones-complement sum in the making. Pieces other than the last must have an even length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds `bytes`; an odd last byte counts as followed by a zero.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // 2^16 = 1 modulo 2^16 - 1, so 32-bit words give the same sum as 16-bit ones once folded; and the sum of swapped words
        // is the swapped sum (RFC 1071, 2B). Lanes that do not depend on each other are added as vectors.
        let (blocks, rest) = bytes.as_chunks::<{ 4 * LANES }>();
        let mut lanes = [0u64; LANES];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
                // No slice in memory has enough words for a lane to overflow.
                *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            }
        }
        let blocks = lanes.into_iter().fold(Self(0), |sum, lane| Self(sum.fold32() + Self(lane).fold32()));
        let mut sum = self.fold32() + u64::from(u16::from_be(blocks.value()));
        let (words, tail) = rest.as_chunks::<2>();
        for word in words {
            sum += u64::from(u16::from_be_bytes(*word));
        }
        if let [last] = tail {
            sum += u64::from(*last) << 8;
        }
        Self(sum)
    }

    /// Adds one 16-bit word.
    pub fn word(self, word: u16) -> Self {
        Self(self.fold32() + u64::from(word))
    }

    /// Adds a number as its two 16-bit halves.
    pub fn dword(self, dword: u32) -> Self {
        Self(self.fold32() + u64::from(dword))
    }

    /// Folded to below 2^33: what is added afterwards cannot overflow for any slice that fits in memory.
    fn fold32(self) -> u64 {
        (self.0 >> 32) + (self.0 & 0xffff_ffff)
    }

    /// The 16-bit sum, not inverted.
    pub fn value(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    /// The checksum: the sum's complement.
    pub fn checksum(self) -> u16 {
        !self.value()
    }
}

/// The checksum after one 16-bit word under it changed from `old` to `new` (RFC 1624, equation 3).
pub fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().word(!checksum).word(!old).word(new).checksum()
}

/// The checksum after one 32-bit word (on an even offset) under it changed from `old` to `new`.
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    Sum::new().word(!checksum).dword(!old).dword(new).checksum()
}

/// Sum of the TCP/UDP/ICMPv6 pseudo-header: addresses, `protocol` and the `length` of the upper-layer packet in bytes.
/// Zero addresses for what is not IP.
pub fn pseudo_header(net: &Net, protocol: u8, length: u32) -> Sum {
    let sum = match net {
        Net::Ipv4(ip) => Sum::new().bytes(&ip.src).bytes(&ip.dst),
        Net::Ipv6(ip) => Sum::new().bytes(&ip.src).bytes(&ip.dst),
        Net::Arp | Net::Other => Sum::new(),
    };
    sum.word(u16::from(protocol)).dword(length)
}

/// What is left of the frame's checksums to say in a receive CQE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// L3_OK: an IP packet that is whole, with a right IPv4 header checksum.
    pub l3_ok: bool,
    /// L4_OK: a TCP or UDP packet, not a fragment, with a right checksum (or UDP over IPv4 without one).
    pub l4_ok: bool,
    /// CHECKSUM_COMPLETE: the sum over the IP packet, from its header to its total length (in-band VLAN tags and padding
    /// excluded, as with `cqe_checksum_full` = 0); zero for what is not IP.
    pub sum: u16,
}

/// Verifies the checksums of a received frame. `frame` must be the bytes that `headers` were parsed from.
pub fn verify(frame: &[u8], headers: &Headers) -> Verified {
    let ip = headers.ip_bytes(frame);
    if ip.is_empty() {
        return Verified::default();
    }
    // The IP packet is summed once; header and transport sums are parts of it.
    let header = frame.get(headers.l3_offset..headers.l4_offset).unwrap_or(&[]);
    let upper = frame.get(headers.l4_offset..headers.ip_end).unwrap_or(&[]);
    let header_sum = Sum::new().bytes(header);
    let upper_sum = Sum::new().bytes(upper);
    // Header lengths are multiples of four, so the two sums just add up.
    let sum = header_sum.dword(u32::from(upper_sum.value())).value();
    let l3_ok = !headers.truncated
        && match &headers.net {
            Net::Ipv4(_) => header_sum.value() == 0xffff,
            Net::Ipv6(_) => true,
            Net::Arp | Net::Other => false,
        };
    Verified { l3_ok, l4_ok: !headers.truncated && l4_ok(headers, frame, upper.len(), upper_sum), sum }
}

fn l4_ok(headers: &Headers, frame: &[u8], upper_len: usize, upper_sum: Sum) -> bool {
    let (protocol, length) = match headers.transport {
        Transport::Tcp(_) => (ip_protocol::TCP, upper_len),
        Transport::Udp(ref udp) => {
            let stored = frame.get(headers.l4_offset + udp::CHECKSUM..).and_then(|b| b.first_chunk::<2>());
            if stored == Some(&[0, 0]) {
                return matches!(headers.net, Net::Ipv4(_));
            }
            // The UDP length must be the IP payload's: a shorter one hides bytes from the checksum.
            if usize::from(udp.length) != upper_len {
                return false;
            }
            (ip_protocol::UDP, upper_len)
        }
        _ => return false,
    };
    let pseudo = pseudo_header(&headers.net, protocol, length as u32);
    pseudo.dword(u32::from(upper_sum.value())).value() == 0xffff
}

/// Fills in the checksums that a send WQE asks for (`L3_CSUM`: IPv4 header, `L4_CSUM`: TCP and UDP), VLAN tags and
/// extension headers allowed. What does not apply (not IPv4, a fragment, a truncated header) is left alone, as hardware
/// does. Returns whether each was filled.
pub fn fill(frame: &mut [u8], headers: &Headers, l3: bool, l4: bool) -> (bool, bool) {
    (l3 && fill_l3(frame, headers), l4 && fill_l4(frame, headers))
}

fn fill_l3(frame: &mut [u8], headers: &Headers) -> bool {
    let Net::Ipv4(_) = headers.net else { return false };
    let Some(header) = frame.get_mut(headers.l3_offset..headers.l4_offset) else { return false };
    put(header, super::ipv4::CHECKSUM, 0);
    let checksum = Sum::new().bytes(header).checksum();
    put(header, super::ipv4::CHECKSUM, checksum)
}

fn fill_l4(frame: &mut [u8], headers: &Headers) -> bool {
    let (protocol, at) = match headers.transport {
        Transport::Tcp(_) => (ip_protocol::TCP, tcp::CHECKSUM),
        Transport::Udp(_) => (ip_protocol::UDP, udp::CHECKSUM),
        _ => return false,
    };
    let Some(upper) = frame.get_mut(headers.l4_offset..headers.ip_end) else { return false };
    put(upper, at, 0);
    let sum = pseudo_header(&headers.net, protocol, upper.len() as u32).bytes(upper);
    let checksum = match sum.checksum() {
        // RFC 768: a computed zero is sent as all ones, because zero means "no checksum".
        0 if protocol == ip_protocol::UDP => 0xffff,
        c => c,
    };
    put(upper, at, checksum)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> bool {
    match bytes.get_mut(at..at + 2) {
        Some(slot) => {
            slot.copy_from_slice(&value.to_be_bytes());
            true
        }
        None => false,
    }
}
