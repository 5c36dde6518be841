//! Receive-side scaling: the hash of a packet (`tirc`: `rx_hash_fn`, `rx_hash_symmetric`, `rx_hash_toeplitz_key`,
//! `rx_hash_field_selector_outer`).

use crate::packet::{Headers, Net, Transport};

/// Length of the Toeplitz key, in bytes (`tirc.rx_hash_toeplitz_key`).
pub const TOEPLITZ_KEY_LEN: usize = 40;

/// The longest input: two IPv6 addresses and two ports, in bytes.
const MAX_INPUT: usize = 36;

/// `rx_hash_fn` of a TIR (`MLX5_RX_HASH_FN_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RxHashFn {
    /// No hash: the TIR is direct.
    None = 0,
    /// Inverted XOR8.
    InvertedXor8 = 1,
    /// Toeplitz.
    Toeplitz = 2,
}

impl RxHashFn {
    /// The function with this number; `None` if there is none.
    pub fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::None),
            1 => Some(Self::InvertedXor8),
            2 => Some(Self::Toeplitz),
            _ => None,
        }
    }
}

/// `selected_fields` of `rx_hash_field_select`: what the hash covers (`MLX5_HASH_FIELD_SEL_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashFields(pub u32);

impl HashFields {
    /// Source IP address.
    pub const SRC_IP: u32 = 1 << 0;
    /// Destination IP address.
    pub const DST_IP: u32 = 1 << 1;
    /// Source port.
    pub const L4_SPORT: u32 = 1 << 2;
    /// Destination port.
    pub const L4_DPORT: u32 = 1 << 3;
    /// IPsec security parameters index.
    pub const IPSEC_SPI: u32 = 1 << 4;

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// The hash part of a TIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RxHash {
    /// The function.
    pub function: RxHashFn,
    /// Both directions of a connection get the same hash.
    pub symmetric: bool,
    /// The key, in the order of the bytes of `rx_hash_toeplitz_key`.
    pub key: [u8; TOEPLITZ_KEY_LEN],
    /// `l3_prot_type`: hash IPv6 (true) or IPv4 (false) packets; others get no hash.
    pub l3_ipv6: bool,
    /// `l4_prot_type`: take the ports of UDP (true) or TCP (false) packets.
    pub l4_udp: bool,
    /// What the hash covers.
    pub fields: HashFields,
}

/// What a packet's hash was computed over: `rss_hash_type` of the CQE (`CQE_RSS_HTYPE_IP`, `CQE_RSS_HTYPE_L4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashResult {
    /// `rss_hash_result`; 0 without a hash.
    pub hash: u32,
    /// Bits 3:2 of `rss_hash_type`: 0 none, 1 IPv4, 2 IPv6.
    pub ip_type: u8,
    /// Bits 7:6 of `rss_hash_type`: 0 none, 1 TCP, 2 UDP, 3 IPsec SPI.
    pub l4_type: u8,
}

impl HashResult {
    /// The CQE's `rss_hash_type` byte.
    pub fn rss_hash_type(self) -> u8 {
        (self.ip_type << 2) | (self.l4_type << 6)
    }
}

/// The bytes that are hashed, in the order source address, destination address, source port, destination port, SPI.
struct Input {
    bytes: [u8; MAX_INPUT],
    len: usize,
}

impl Input {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Adds the selected ones of a source and destination. A symmetric hash covers `src | dst` and `src ^ dst` in their
    /// place, which do not change when they are swapped (ethtool's `RXH_XFRM_SYM_OR_XOR`, the one that mlx5e offers); with
    /// only one of the two selected there is no symmetry to be had.
    fn push_pair(&mut self, src: (bool, &[u8]), dst: (bool, &[u8]), symmetric: bool) {
        if symmetric && src.0 && dst.0 {
            for combine in [|a: u8, b: u8| a | b, |a: u8, b: u8| a ^ b] {
                for (a, b) in src.1.iter().zip(dst.1) {
                    self.push(&[combine(*a, *b)]);
                }
            }
            return;
        }
        for (selected, bytes) in [src, dst] {
            if selected {
                self.push(bytes);
            }
        }
    }
}

impl RxHash {
    /// The hash of a packet. All zero if the function is none, nothing is selected, or the packet is not of the kind that
    /// the TIR hashes.
    pub fn compute(&self, headers: &Headers) -> HashResult {
        let Some((input, ip_type, l4_type)) = self.input(headers) else { return HashResult::default() };
        let bytes = input.bytes.get(..input.len).unwrap_or(&[]);
        let hash = match self.function {
            RxHashFn::None => return HashResult::default(),
            RxHashFn::InvertedXor8 => inverted_xor8(bytes),
            RxHashFn::Toeplitz => toeplitz(&self.key, bytes),
        };
        HashResult { hash, ip_type, l4_type }
    }

    fn input(&self, headers: &Headers) -> Option<(Input, u8, u8)> {
        let mut input = Input { bytes: [0; MAX_INPUT], len: 0 };
        let want = |bit| self.fields.has(bit);
        let (src, dst): (&[u8], &[u8]) = match &headers.net {
            Net::Ipv4(ip) if !self.l3_ipv6 => (&ip.src, &ip.dst),
            Net::Ipv6(ip) if self.l3_ipv6 => (&ip.src, &ip.dst),
            _ => return None,
        };
        input.push_pair((want(HashFields::SRC_IP), src), (want(HashFields::DST_IP), dst), self.symmetric);
        let ip_type = if input.len == 0 {
            0
        } else if self.l3_ipv6 {
            2
        } else {
            1
        };
        let before_l4 = input.len;
        let l4_type = match &headers.transport {
            Transport::Tcp(t) if !self.l4_udp => self.push_ports(&mut input, t.sport, t.dport, 1),
            Transport::Udp(u) if self.l4_udp => self.push_ports(&mut input, u.sport, u.dport, 2),
            Transport::Esp { spi } | Transport::Ah { spi } if want(HashFields::IPSEC_SPI) => {
                input.push(&spi.to_be_bytes());
                3
            }
            _ => 0,
        };
        let l4_type = if input.len == before_l4 { 0 } else { l4_type };
        (input.len > 0).then_some((input, ip_type, l4_type))
    }

    fn push_ports(&self, input: &mut Input, sport: u16, dport: u16, l4_type: u8) -> u8 {
        let src = (self.fields.has(HashFields::L4_SPORT), &sport.to_be_bytes()[..]);
        let dst = (self.fields.has(HashFields::L4_DPORT), &dport.to_be_bytes()[..]);
        input.push_pair(src, dst, self.symmetric);
        l4_type
    }
}

/// The Toeplitz hash ("RSS Hashing Functions", Microsoft): for each set bit of the input, the 32 bits of the key that start
/// there. Input beyond 36 bytes is not hashed (the key ends).
pub fn toeplitz(key: &[u8; TOEPLITZ_KEY_LEN], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (byte, window) in input.iter().zip(key.windows(5)) {
        // The eight 32-bit windows that start in this byte of the key lie in its next 40 bits.
        let bits = window.iter().fold(0u64, |acc, b| (acc << 8) | u64::from(*b));
        for bit in 0..8 {
            let mask = 0u32.wrapping_sub(u32::from((byte >> (7 - bit)) & 1));
            hash ^= (bits >> (8 - bit)) as u32 & mask;
        }
    }
    hash
}

/// The XOR of all bytes, its bits in reverse order. The driver fills the indirection table in bit-reversed order for this
/// function (`mlx5e_bits_invert`), from which the reversal is inferred.
pub fn inverted_xor8(input: &[u8]) -> u32 {
    u32::from(input.iter().fold(0u8, |acc, b| acc ^ b).reverse_bits())
}
