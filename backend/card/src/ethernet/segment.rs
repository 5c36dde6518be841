//! Segmentation of large sends: one LSO WQE becomes many frames (TSO over IPv4 and IPv6, and UDP: USO).
//!
//! Each frame is the inlined header (L2 to L4) with its lengths, numbers and flags put right, and up to `mss` bytes of
//! payload. Checksums are filled afterwards, as for any frame.

use mlx5emu_steering::packet::{Headers, Net, Transport, tcp, udp};

/// Offsets in an IPv4 header: total length, identification (RFC 791).
const IPV4_TOTAL_LENGTH: usize = 2;
const IPV4_IDENTIFICATION: usize = 4;
/// Offset of the payload length in an IPv6 header, and the header's length (RFC 8200).
const IPV6_PAYLOAD_LENGTH: usize = 4;
const IPV6_HEADER: usize = 40;
/// Offsets in a TCP header: sequence number, flags (RFC 9293).
const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;
/// Congestion window reduced: only the first segment carries it (RFC 3168).
const TCP_CWR: u8 = 1 << 7;
/// Offset of the length in a UDP header (RFC 768).
const UDP_LENGTH: usize = 4;

/// Why a large send can't be segmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHeader;

fn put16(frame: &mut [u8], at: usize, value: usize) {
    if let Some(bytes) = frame.get_mut(at..at + 2) {
        bytes.copy_from_slice(&(value as u16).to_be_bytes());
    }
}

fn get16(frame: &[u8], at: usize) -> u16 {
    frame.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// Splits `payload` behind `header` into frames with at most `mss` bytes of payload; hands each to `each`, without
/// checksums.
pub fn segment(header: &[u8], payload: &[u8], mss: usize, mut each: impl FnMut(&[u8])) -> Result<(), BadHeader> {
    // The driver leaves lengths as it likes, so the header is parsed as a frame of its own, with its real length put in.
    let mut head = header.to_vec();
    fix_lengths_of_l3(&mut head, header.len());
    let headers = Headers::parse(&head).ok_or(BadHeader)?;
    if mss == 0 || !matches!(headers.transport, Transport::Tcp(_) | Transport::Udp(_)) {
        return Err(BadHeader);
    }
    let chunks = payload.len().div_ceil(mss).max(1);
    let mut frame = Vec::with_capacity(header.len() + mss.min(payload.len()));
    for n in 0..chunks {
        let data = &payload[n * mss..((n + 1) * mss).min(payload.len())];
        frame.clear();
        frame.extend_from_slice(&head);
        frame.extend_from_slice(data);
        fix(&mut frame, &headers, n, n * mss, n + 1 == chunks);
        each(&frame);
    }
    Ok(())
}

/// Puts the length of the whole frame in the IP header, so that a parse reaches the transport header.
fn fix_lengths_of_l3(frame: &mut [u8], len: usize) {
    let Some(headers) = Headers::parse(frame) else { return };
    let l3 = headers.l3_offset;
    // The version is read from the frame: a wrong length may have kept the parser from taking it for IP.
    match frame.get(l3).map(|b| b >> 4) {
        Some(4) => put16(frame, l3 + IPV4_TOTAL_LENGTH, len.saturating_sub(l3)),
        Some(6) => put16(frame, l3 + IPV6_PAYLOAD_LENGTH, len.saturating_sub(l3 + IPV6_HEADER)),
        _ => {}
    }
    if let Some(headers) = Headers::parse(frame)
        && let Transport::Udp(_) = headers.transport
    {
        put16(frame, headers.l4_offset + UDP_LENGTH, len.saturating_sub(headers.l4_offset));
    }
}

/// Puts frame number `n`, whose payload starts `sent` bytes into the message, right.
fn fix(frame: &mut [u8], headers: &Headers, n: usize, sent: usize, last: bool) {
    let len = frame.len();
    let (l3, l4) = (headers.l3_offset, headers.l4_offset);
    match headers.net {
        Net::Ipv4(_) => {
            put16(frame, l3 + IPV4_TOTAL_LENGTH, len - l3);
            let id = get16(frame, l3 + IPV4_IDENTIFICATION).wrapping_add(n as u16);
            put16(frame, l3 + IPV4_IDENTIFICATION, usize::from(id));
        }
        Net::Ipv6(_) => put16(frame, l3 + IPV6_PAYLOAD_LENGTH, len - l3 - IPV6_HEADER),
        Net::Arp | Net::Other => {}
    }
    match headers.transport {
        Transport::Tcp(_) => {
            let at = l4 + TCP_SEQUENCE;
            if let Some(bytes) = frame.get_mut(at..at + 4) {
                let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                bytes.copy_from_slice(&first.wrapping_add(sent as u32).to_be_bytes());
            }
            if let Some(flags) = frame.get_mut(l4 + TCP_FLAGS) {
                if !last {
                    *flags &= !((tcp::FIN | tcp::PSH) as u8);
                }
                if n > 0 {
                    *flags &= !TCP_CWR;
                }
            }
        }
        Transport::Udp(_) => {
            put16(frame, l4 + UDP_LENGTH, len - l4);
            put16(frame, l4 + udp::CHECKSUM, 0);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp4(flags: u8) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        f.extend([0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend([0x10, 0, 0x20, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        f
    }

    #[test]
    fn tcp_is_cut_with_numbers_flags_and_lengths_right() {
        let payload: Vec<u8> = (0..250u8).collect();
        let mut frames = Vec::new();
        segment(&tcp4(0x99), &payload, 100, |f| frames.push(f.to_vec())).unwrap();
        assert_eq!(frames.len(), 3);
        let joined: Vec<u8> = frames.iter().flat_map(|f| f[54..].to_vec()).collect();
        assert_eq!(joined, payload);
        assert_eq!(frames.iter().map(|f| get16(f, 16)).collect::<Vec<_>>(), [140, 140, 90]);
        assert_eq!(frames.iter().map(|f| get16(f, 18)).collect::<Vec<_>>(), [0x1234, 0x1235, 0x1236]);
        // The sequence number wraps.
        assert_eq!(frames[1][38..42], 0x54u32.to_be_bytes());
        // CWR only first, FIN and PSH only last.
        assert_eq!(frames.iter().map(|f| f[47]).collect::<Vec<_>>(), [0x90, 0x10, 0x19]);
    }

    #[test]
    fn udp_gets_a_length_a_segment() {
        let mut head = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
        head.extend([0x60, 0, 0, 0, 0, 0, 17, 64]);
        head.extend([0xfe; 32]);
        head.extend([0, 1, 0, 2, 0, 0, 0, 0]);
        let mut frames = Vec::new();
        segment(&head, &[7; 30], 20, |f| frames.push(f.to_vec())).unwrap();
        assert_eq!(frames.iter().map(|f| get16(f, 18)).collect::<Vec<_>>(), [28, 18]);
        assert_eq!(frames.iter().map(|f| get16(f, 58)).collect::<Vec<_>>(), [28, 18]);
    }

    #[test]
    fn what_is_not_tcp_or_udp_is_refused() {
        assert_eq!(segment(&[0; 60], &[1], 10, |_| ()), Err(BadHeader));
        assert_eq!(segment(&tcp4(0), &[1], 0, |_| ()), Err(BadHeader));
        assert_eq!(segment(&[], &[1], 10, |_| ()), Err(BadHeader));
    }
}
