//! What the tests share: two drivers on one card, and frames.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod vfs;

use mlx5emu_driver::in_process::{InProcess, SharedWorld, World, two_ports};
use mlx5emu_driver::{Config, Driver, Farewell, NetConfig};

/// A driver on a card in the same thread.
pub type Drv = Driver<InProcess>;

/// A world with the card of two ports, and its two machines.
pub fn world(seed: u64) -> (SharedWorld, InProcess, InProcess) {
    let (world, hosts) = World::new(two_ports(), seed).hosts();
    let [a, b] = <[InProcess; 2]>::try_from(hosts).ok().unwrap();
    (world, a, b)
}

/// Both functions probed.
pub fn probed(seed: u64) -> (SharedWorld, Drv, Drv) {
    let (world, a, b) = world(seed);
    let a = Driver::probe(a, Config::default()).unwrap();
    let b = Driver::probe(b, Config::default()).unwrap();
    (world, a, b)
}

/// Adds fault rules.
pub fn rules(world: &SharedWorld, texts: &[&str]) {
    let rules: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
    world.borrow_mut().card().add_faults(&rules).unwrap();
}

/// Both functions open, the link up on both.
pub fn opened(seed: u64, net: &NetConfig) -> (SharedWorld, Drv, Drv) {
    let (world, mut a, mut b) = probed(seed);
    a.open(net.clone()).unwrap();
    b.open(net.clone()).unwrap();
    for driver in [&mut a, &mut b] {
        assert!(driver.link_up().unwrap());
    }
    (world, a, b)
}

/// Removes a driver and checks that nothing is left.
pub fn goodbye(driver: Drv) -> (InProcess, Farewell) {
    let (host, farewell) = driver.remove().unwrap();
    assert_eq!(farewell.pages_given, farewell.pages_returned, "{farewell:?}");
    assert!(farewell.pages_given > 0);
    assert_eq!(mlx5emu_driver::Host::dma_in_use(&host), 0, "memory is leaked");
    (host, farewell)
}

/// Address of a port.
pub fn mac(driver: &Drv) -> [u8; 6] {
    driver.net().unwrap().mac
}

/// A number from a seed and a count: SplitMix64.
pub fn mix(seed: u64, n: u64) -> u64 {
    let mut x = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A source of numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64, u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed, 0)
    }
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.1 += 1;
        mix(self.0, self.1)
    }
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
    /// One of `list`.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// An Ethernet frame of `len` bytes with an ethertype of local experiments.
pub fn plain(dst: [u8; 6], src: [u8; 6], len: usize, tag: u64) -> Vec<u8> {
    let mut frame = [&dst[..], &src[..], &[0x88, 0xb5]].concat();
    frame.extend((0..len.saturating_sub(14)).map(|n| mix(tag, n as u64) as u8));
    frame
}

/// A VLAN tag put in.
pub fn tagged(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend_from_slice(&tpid.to_be_bytes());
    out.extend_from_slice(&tci.to_be_bytes());
    out.extend_from_slice(&frame[12..]);
    out
}

/// Ones-complement sum, not inverted: word by word, from RFC 1071.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// An IP packet's ends and ports.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Source address; IPv4 uses the last four bytes.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

impl Flow {
    /// Addresses and ports from a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let address = |rng: &mut Rng| {
            let mut a = [0u8; 16];
            a.copy_from_slice(&rng.bytes(16));
            (a[0], a[12]) = (0x20, 10);
            a
        };
        let (src, dst) = (address(&mut rng), address(&mut rng));
        Self { src, dst, sport: rng.next() as u16, dport: rng.next() as u16 }
    }
}

/// Kind of an IP frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// IPv6, else IPv4.
    pub v6: bool,
    /// IP protocol: 6, 17, or another.
    pub protocol: u8,
}

/// An IP frame with `payload` behind its headers. Checksums are right when `fill`, else zero (L4: the pseudo header's sum,
/// as drivers that offload leave it).
pub fn ip_frame(dst: [u8; 6], src: [u8; 6], kind: Kind, flow: &Flow, payload: &[u8], fill: bool) -> Vec<u8> {
    let mut l4 = Vec::new();
    let checksum_at = match kind.protocol {
        6 => {
            l4.extend_from_slice(&flow.sport.to_be_bytes());
            l4.extend_from_slice(&flow.dport.to_be_bytes());
            l4.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 5 << 4, 0x10, 0x20, 0, 0, 0, 0, 0]);
            Some(16)
        }
        17 => {
            l4.extend_from_slice(&flow.sport.to_be_bytes());
            l4.extend_from_slice(&flow.dport.to_be_bytes());
            l4.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
            l4.extend_from_slice(&[0, 0]);
            Some(6)
        }
        _ => None,
    };
    l4.extend_from_slice(payload);
    let (from, to) = if kind.v6 { (&flow.src[..], &flow.dst[..]) } else { (&flow.src[12..], &flow.dst[12..]) };
    if let Some(at) = checksum_at {
        let pseudo = [from, to, &[0, kind.protocol], &(l4.len() as u16).to_be_bytes()[..]].concat();
        let value = if fill { !sum(&[&pseudo[..], &l4].concat()) } else { sum(&pseudo) };
        l4[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    let mut frame = [&dst[..], &src[..]].concat();
    if kind.v6 {
        frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend_from_slice(&(l4.len() as u16).to_be_bytes());
        frame.extend_from_slice(&[kind.protocol, 64]);
        frame.extend_from_slice(from);
        frame.extend_from_slice(to);
    } else {
        frame.extend_from_slice(&[0x08, 0x00]);
        let mut ip = vec![0x45, 0];
        ip.extend_from_slice(&(20 + l4.len() as u16).to_be_bytes());
        ip.extend_from_slice(&[0x12, 0x34, 0x40, 0, 64, kind.protocol, 0, 0]);
        ip.extend_from_slice(from);
        ip.extend_from_slice(to);
        if fill {
            let value = !sum(&ip);
            ip[10..12].copy_from_slice(&value.to_be_bytes());
        }
        frame.extend_from_slice(&ip);
    }
    frame.extend_from_slice(&l4);
    frame
}

/// Toeplitz hash, bit by bit, from its definition.
pub fn toeplitz(key: &[u8; 40], input: &[u8]) -> u32 {
    let bit = |n: usize| u32::from(key[n / 8] >> (7 - n % 8) & 1);
    let window = |n: usize| (0..32).fold(0, |w, i| w << 1 | bit(n + i));
    let set = (0..input.len() * 8).filter(|n| input[n / 8] >> (7 - n % 8) & 1 == 1);
    set.fold(0, |hash, n| hash ^ window(n))
}
