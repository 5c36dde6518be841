use std::os::fd::OwnedFd;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};

use super::*;

const RW: Perm = Perm { read: true, write: true };
const RO: Perm = Perm { read: true, write: false };
const FILE: u64 = 0x10000;

fn memfd() -> OwnedFd {
    let fd = rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, FILE).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    fd
}

fn memory() -> FunctionMemory {
    let mut memory = FunctionMemory::new(Arc::new(Irqs::new(4)));
    memory.set_bus_master(true);
    memory
}

fn mapping(fd: &OwnedFd, first: u64, size: u64, offset: u64, perm: Perm) -> Mapping {
    let backing = Backing::open(fd, offset, size, perm.write).unwrap();
    assert!(backing.is_some());
    Mapping { first, last: first + (size - 1), perm, backing }
}

fn byte_of(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

fn fill(fd: &OwnedFd) -> Backing {
    let backing = Backing::open(fd, 0, FILE, true).unwrap().unwrap();
    let bytes: Vec<u8> = (0..FILE).map(byte_of).collect();
    backing.map.slice(0, FILE as usize).unwrap().copy_from(&bytes);
    backing
}

#[test]
fn an_access_crosses_ranges_and_stops_at_the_first_hole() {
    let fd = memfd();
    let mut m = memory();
    m.map(mapping(&fd, 0x1000, 0x1000, 0x8000, RW)).unwrap();
    m.map(mapping(&fd, 0x2000, 0x1000, 0x0, RW)).unwrap();
    let data: Vec<u8> = (0..=255).collect();
    m.write(Attrs::PLAIN, 0x1f80, &data).unwrap();
    let mut back = [0; 256];
    m.read(Attrs::PLAIN, 0x1f80, &mut back).unwrap();
    assert_eq!(back[..], data[..]);
    let raw = Backing::open(&fd, 0, FILE, true).unwrap().unwrap();
    let mut low = [0; 128];
    raw.map.slice(0, 128).unwrap().copy_to(&mut low);
    assert_eq!(low[..], data[128..], "the second half is at the start of the file");
    assert_eq!(m.read(Attrs::PLAIN, 0x2fff, &mut [0; 2]), Err(DmaError::Unmapped { addr: 0x3000 }));
    assert_eq!(m.read(Attrs::PLAIN, u64::MAX - 1, &mut [0; 8]), Err(DmaError::Unmapped { addr: u64::MAX - 1 }));
}

#[test]
fn bus_master_and_reset_disable_everything() {
    let fd = memfd();
    let mut m = memory();
    m.map(mapping(&fd, 0, 0x1000, 0, RW)).unwrap();
    m.read(Attrs::PLAIN, 0, &mut [0; 4]).unwrap();
    for refuse in [false, true] {
        m.set_bus_master(refuse);
        m.refuse_dma(refuse);
        let off = Err(DmaError::Disabled);
        assert_eq!(m.read(Attrs::PLAIN, 0, &mut [0; 4]), off);
        assert_eq!(m.write(Attrs::PLAIN, 0, &[0; 4]), off);
        assert_eq!(m.load_be32(Attrs::PLAIN, 0).map(|_| ()), off);
        assert_eq!(m.write_release(Attrs::PLAIN, 0, &[1]), off);
        assert_eq!(m.fetch_add_u64(Attrs::PLAIN, 0, 1).map(|_| ()), off);
        assert_eq!(m.compare_swap_u64(Attrs::PLAIN, 0, 1, 1).map(|_| ()), off);
        assert_eq!(m.copy(Attrs::PLAIN, 0, &m, Attrs::PLAIN, 16, 4), off);
        m.msi(1);
        assert!(!m.irqs().is_pending(1));
    }
}

#[test]
fn permissions_hold_even_for_a_file_that_others_may_write() {
    let fd = memfd();
    let mut m = memory();
    m.map(mapping(&fd, 0, 0x1000, 0, RO)).unwrap();
    m.read(Attrs::PLAIN, 0x10, &mut [0; 4]).unwrap();
    assert_eq!(m.write(Attrs::PLAIN, 0x10, &[1]), Err(DmaError::Denied { addr: 0x10 }));
    assert_eq!(m.fetch_add_u64(Attrs::PLAIN, 0x10, 1), Err(DmaError::Denied { addr: 0x10 }));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let read_only = rustix::fs::open(path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let mut lie = mapping(&read_only, 0x1000, 0x1000, 0, RO);
    lie.perm = RW;
    m.map(lie).unwrap();
    assert_eq!(m.write(Attrs::PLAIN, 0x1000, &[1]), Err(DmaError::Denied { addr: 0x1000 }));
}

#[test]
fn what_was_unmapped_is_gone_for_every_thread_and_memory() {
    let fd = memfd();
    let (mut a, mut b) = (memory(), memory());
    a.map(mapping(&fd, 0x1000, 0x1000, 0, RW)).unwrap();
    a.write(Attrs::PLAIN, 0x1100, &[7]).unwrap();
    assert!(b.read(Attrs::PLAIN, 0x1100, &mut [0]).is_err(), "another function's range");
    b.map(mapping(&fd, 0x1000, 0x1000, 0x4000, RW)).unwrap();
    let mut got = [9];
    b.read(Attrs::PLAIN, 0x1100, &mut got).unwrap();
    assert_eq!(got, [0]);
    a.read(Attrs::PLAIN, 0x1100, &mut got).unwrap();
    assert_eq!(got, [7]);
    assert_eq!(a.unmap(0x1100, 0x11ff), 0x100);
    assert_eq!(a.read(Attrs::PLAIN, 0x1100, &mut got), Err(DmaError::Unmapped { addr: 0x1100 }));
    a.read(Attrs::PLAIN, 0x1200, &mut got).unwrap();
    a.detach();
    a.set_bus_master(true);
    assert!(a.read(Attrs::PLAIN, 0x1200, &mut got).is_err());
}

#[test]
fn overlaps_are_refused_and_change_nothing() {
    let fd = memfd();
    let mut m = memory();
    m.map(mapping(&fd, 0x1000, 0x2000, 0, RW)).unwrap();
    assert_eq!(m.map(mapping(&fd, 0x2000, 0x2000, 0, RW)), Err(MapError::Overlap));
    assert_eq!(m.ranges(), 1);
    assert!(m.read(Attrs::PLAIN, 0x3000, &mut [0]).is_err());
}

#[test]
fn operands_must_be_aligned_on_both_sides() {
    let fd = memfd();
    let mut m = memory();
    m.map(mapping(&fd, 0, 0x1000, 0, RW)).unwrap();
    m.map(mapping(&fd, 0x2000, 0x1000, 0x2002, RW)).unwrap();
    assert_eq!(m.load_be32(Attrs::PLAIN, 2), Err(DmaError::Misaligned { addr: 2 }));
    assert_eq!(m.fetch_add_u64(Attrs::PLAIN, 4, 1), Err(DmaError::Misaligned { addr: 4 }));
    assert_eq!(m.load_be32(Attrs::PLAIN, 0x2000), Err(DmaError::Misaligned { addr: 0x2000 }));
    assert_eq!(m.compare_swap_u64(Attrs::PLAIN, 0x2000, 0, 1), Err(DmaError::Misaligned { addr: 0x2000 }));
    m.write(Attrs::PLAIN, 0x10, &[0x11, 0x22, 0x33, 0x44]).unwrap();
    assert_eq!(m.load_be32(Attrs::PLAIN, 0x10), Ok(0x1122_3344));
}

#[test]
fn atomics_are_atomic_with_the_guests_own() {
    const ROUNDS: u64 = 20_000;
    let fd = memfd();
    let guest = fill(&fd);
    guest.map.slice(0x100, 16).unwrap().copy_from(&[0u8; 16]);
    let mut m = memory();
    m.map(mapping(&fd, 0x8000, 0x1000, 0, RW)).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            let cpu = guest.map.slice(0x100, 8).unwrap();
            let word = cpu.get_atomic_ref::<AtomicU64>(0).unwrap();
            for _ in 0..ROUNDS {
                word.fetch_add(1, Ordering::Relaxed);
            }
        });
        s.spawn(|| {
            for _ in 0..ROUNDS {
                m.fetch_add_u64(Attrs::PLAIN, 0x8100, 1).unwrap();
            }
        });
        s.spawn(|| {
            for _ in 0..ROUNDS {
                let mut old = 0;
                loop {
                    match m.compare_swap_u64(Attrs::PLAIN, 0x8100, old, old + 1).unwrap() {
                        now if now == old => break,
                        now => old = now,
                    }
                }
            }
        });
    });
    assert_eq!(m.fetch_add_u64(Attrs::PLAIN, 0x8100, 0), Ok(3 * ROUNDS));
    assert_eq!(m.fetch_add_u64(Attrs::PLAIN, 0x8108, u64::MAX), Ok(0));
    assert_eq!(m.fetch_add_u64(Attrs::PLAIN, 0x8108, 1), Ok(u64::MAX), "wraps, as an AtomicOp does");
}

#[test]
fn the_last_byte_of_a_release_is_seen_after_the_others() {
    let fd = memfd();
    let guest = Backing::open(&fd, 0, FILE, true).unwrap().unwrap();
    let mut m = memory();
    m.map(mapping(&fd, 0, FILE, 0, RW)).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 1..=200u8 {
                m.write_release(Attrs::PLAIN, 0x200, &[round; 64]).unwrap();
                // The consumer takes it before the next one is written.
                while m.load_be32(Attrs::PLAIN, 0x300).unwrap() != u32::from(round) {
                    std::thread::yield_now();
                }
            }
        });
        for round in 1..=200u8 {
            let owner = guest.map.slice(0x23f, 1).unwrap();
            while owner.load::<u8>(0, Ordering::Acquire).unwrap() != round {
                std::thread::yield_now();
            }
            let mut entry = [0; 63];
            guest.map.slice(0x200, 63).unwrap().copy_to(&mut entry);
            assert_eq!(entry, [round; 63]);
            let record = guest.map.slice(0x300, 4).unwrap();
            record.store(u32::from(round).to_be(), 0, Ordering::Release).unwrap();
        }
    });
}

#[test]
fn a_copy_between_functions_crosses_ranges_on_both_sides() {
    let fd = memfd();
    fill(&fd);
    let (mut a, mut b) = (memory(), memory());
    a.map(mapping(&fd, 0x0, 0x1000, 0x2000, RO)).unwrap();
    a.map(mapping(&fd, 0x1000, 0x1000, 0x0, RO)).unwrap();
    let other = memfd();
    b.map(mapping(&other, 0x5000, 0x1800, 0, RW)).unwrap();
    b.map(mapping(&other, 0x6800, 0x1800, 0x4000, RW)).unwrap();
    a.copy(Attrs::PLAIN, 0x800, &b, Attrs::PLAIN, 0x5f00, 0x1800).unwrap();
    let (mut from, mut to) = (vec![0; 0x1800], vec![0; 0x1800]);
    a.read(Attrs::PLAIN, 0x800, &mut from).unwrap();
    b.read(Attrs::PLAIN, 0x5f00, &mut to).unwrap();
    assert!(from == to && from.iter().any(|x| *x != 0));
    let denied = b.copy(Attrs::PLAIN, 0x5000, &a, Attrs::PLAIN, 0x10, 4);
    assert_eq!(denied, Err(DmaError::Denied { addr: 0x10 }));
}

#[derive(Debug, Clone)]
enum Op {
    Map { first: u64, size: u64, offset: u64 },
    Unmap { first: u64, size: u64 },
    Read { addr: u64, len: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let (first, size) = (0u64..0x900, 1u64..0x200);
    prop_oneof![
        (first.clone(), size.clone(), 0..FILE - 0x200).prop_map(|(first, size, offset)| Op::Map {
            first,
            size,
            offset
        }),
        (first, size).prop_map(|(first, size)| Op::Unmap { first, size }),
        (0u64..0xb00, 1usize..0x180).prop_map(|(addr, len)| Op::Read { addr, len }),
    ]
}

proptest! {
    #[test]
    fn reads_agree_with_a_table_of_every_address(ops in proptest::collection::vec(op(), 1..60)) {
        let fd = memfd();
        let _held = fill(&fd);
        let mut m = memory();
        let mut model: Vec<Option<u8>> = vec![None; 0x1000];
        for op in ops {
            match op {
                Op::Map { first, size, offset } => {
                    let free = (first..first + size).all(|a| model[a as usize].is_none());
                    prop_assert_eq!(m.map(mapping(&fd, first, size, offset, RW)).is_ok(), free);
                    if free {
                        (0..size).for_each(|i| model[(first + i) as usize] = Some(byte_of(offset + i)));
                    }
                }
                Op::Unmap { first, size } => {
                    let had = (first..first + size).filter_map(|a| model[a as usize].take()).count();
                    prop_assert_eq!(m.unmap(first, first + size - 1), had as u64);
                }
                Op::Read { addr, len } => {
                    let want: Option<Vec<u8>> = (addr as usize..addr as usize + len).map(|a| model[a]).collect();
                    let mut got = vec![0; len];
                    match m.read(Attrs::PLAIN, addr, &mut got) {
                        Ok(()) => prop_assert_eq!(Some(got), want),
                        Err(DmaError::Unmapped { addr: hole }) => {
                            let first_hole = (addr..).find(|a| model[*a as usize].is_none());
                            prop_assert_eq!(Some(hole), first_hole);
                        }
                        Err(e) => prop_assert!(false, "{}", e),
                    }
                }
            }
        }
    }
}
