//! The in-memory address space: what it answers, what it logs, and that its operations are atomic.

use mlx5emu_pci_model::testing::{TestSpace, Transfer, TransferKind};
use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace, ProcessingHint, Tph};

const P: Attrs = Attrs::PLAIN;

#[test]
fn bytes_come_back_from_where_they_were_put() {
    let space = TestSpace::with_base(0x1000, 0x100);
    space.write(P, 0x1010, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let mut buf = [0; 4];
    space.clone().read(P, 0x1012, &mut buf).unwrap();
    assert_eq!(buf, [3, 4, 5, 6]);
    assert_eq!(space.load_be32(P, 0x1010), Ok(0x0102_0304));
    space.write_release(P, 0x1010, &[0xff]).unwrap();
    assert_eq!(space.fetch_add_u64(P, 0x1010, 1), Ok(0x0807_0605_0403_02ff));
    assert_eq!(space.compare_swap_u64(P, 0x1010, 0, 7), Ok(0x0807_0605_0403_0300));
    assert_eq!(space.compare_swap_u64(P, 0x1010, 0x0807_0605_0403_0300, 7), Ok(0x0807_0605_0403_0300));
    let mut quad = [0; 8];
    assert!(space.peek(0x1010, &mut quad));
    assert_eq!(u64::from_le_bytes(quad), 7);
    assert!(space.poke(0x10f8, &[9; 8]) && !space.poke(0x10f9, &[9; 8]) && !space.peek(0xfff, &mut quad));
}

#[test]
fn addresses_outside_answer_with_the_first_one_that_is() {
    let space = TestSpace::with_base(0x1000, 0x100);
    let mut buf = [0; 8];
    assert_eq!(space.read(P, 0xfff, &mut buf), Err(DmaError::Unmapped { addr: 0xfff }));
    assert_eq!(space.read(P, 0x10fc, &mut buf), Err(DmaError::Unmapped { addr: 0x1100 }));
    assert_eq!(space.write(P, u64::MAX, &buf), Err(DmaError::Unmapped { addr: u64::MAX }));
    assert_eq!(space.read(P, 0, &mut []), Ok(()), "nothing is asked for");
    assert_eq!(space.load_be32(P, 0x1002), Err(DmaError::Misaligned { addr: 0x1002 }));
    assert_eq!(space.fetch_add_u64(P, 0x1004, 1), Err(DmaError::Misaligned { addr: 0x1004 }));
    let top = TestSpace::with_base(u64::MAX - 15, 4096);
    assert_eq!(top.len(), 15);
    assert_eq!(top.read(P, u64::MAX - 7, &mut buf), Err(DmaError::Unmapped { addr: u64::MAX }));
}

#[test]
fn bus_master_off_stops_requests_and_messages() {
    let space = TestSpace::new(64);
    space.msi(3);
    space.set_bus_master(false);
    space.msi(3);
    assert_eq!(space.read(P, 0, &mut [0]), Err(DmaError::Disabled));
    assert_eq!(space.write_release(P, 0, &[1]), Err(DmaError::Disabled));
    space.set_bus_master(true);
    space.msi(u16::MAX);
    assert_eq!((space.msi_count(3), space.msi_count(u16::MAX), space.msi_total()), (1, 0, 1));
}

#[test]
fn remote_ranges_ask_to_be_fetched_piece_by_piece() {
    let space = TestSpace::new(0x1000);
    space.set_remote(0x100..0x300);
    let mut buf = [0; 0x100];
    let fetch = |addr, len| Err(DmaError::Fetch { addr, len });
    assert_eq!(space.read(P, 0, &mut buf), Ok(()));
    assert_eq!(space.read(P, 0x80, &mut buf), fetch(0x100, 0x80));
    assert_eq!(space.write(P, 0x280, &buf), fetch(0x280, 0x80));
    space.fetch(0x180, 0x80);
    assert_eq!(space.read(P, 0x180, &mut buf), fetch(0x200, 0x80));
    assert_eq!(space.read(P, 0x180, &mut buf[..0x80]), Ok(()));
    space.set_remote(0x40..0x48);
    assert_eq!(space.read(P, 0x40, &mut buf), fetch(0x40, 8), "the first of several");
    space.fetch(0, u32::MAX);
    assert_eq!(space.read(P, 0x180, &mut buf), Ok(()));
}

#[test]
fn read_only_ranges_deny_writes_only() {
    let space = TestSpace::new(0x1000);
    space.set_read_only(0x100..0x110);
    let denied = |addr| DmaError::Denied { addr };
    assert_eq!(space.write(P, 0xfc, &[0; 8]), Err(denied(0x100)));
    assert_eq!(space.fetch_add_u64(P, 0x108, 1), Err(denied(0x108)));
    assert_eq!(space.read(P, 0xfc, &mut [0; 8]), Ok(()));
}

#[test]
fn the_log_has_each_transfer_with_its_attributes_in_order() {
    let space = TestSpace::new(0x100);
    let hinted = Attrs { relaxed_ordering: true, tph: Some(Tph { ph: ProcessingHint::Target, st: 5 }), ..P };
    space.write(P, 0, &[1; 16]).unwrap();
    space.start_log(3);
    space.write(hinted, 0x40, &[0; 63]).unwrap();
    space.read(P, 0x1000, &mut [0]).unwrap_err();
    space.write_release(P, 0x7f, &[1]).unwrap();
    space.msi(2);
    space.msi(2);
    let lost = space.lost();
    let entry = |kind, addr, len, attrs| Transfer { kind, addr, len, attrs };
    assert_eq!(
        space.stop_log(),
        [
            entry(TransferKind::Write, 0x40, 63, hinted),
            entry(TransferKind::Store, 0x7f, 1, P),
            entry(TransferKind::Msi, 2, 0, P),
        ]
    );
    assert_eq!(lost, 1);
    space.write(P, 0, &[1]).unwrap();
    assert!(space.take_log().is_empty(), "it ended");
}

#[test]
fn copies_move_bytes_within_and_between_spaces() {
    let (a, b) = (TestSpace::new(0x4000), TestSpace::with_base(0x10_0000, 0x4000));
    let pattern: Vec<u8> = (0..0x3000u32).map(|i| (i * 7 % 251) as u8).collect();
    assert!(a.poke(0, &pattern));
    a.copy(P, 0, &b, P, 0x10_0800, 0x3000).unwrap();
    let mut back = vec![0; 0x3000];
    assert!(b.peek(0x10_0800, &mut back));
    assert_eq!(back, pattern);
    a.copy(P, 0, &a.clone(), P, 0x1000, 0x3000).unwrap();
    assert!(a.peek(0x1000, &mut back));
    assert_eq!(back, pattern, "overlapping");
    assert_eq!(a.copy(P, 0, &b, P, 0x10_3fff, 2), Err(DmaError::Unmapped { addr: 0x10_4000 }));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what the executors' threads do is tried with threads")]
fn operations_are_atomic_to_each_other() {
    const ROUNDS: u64 = 20_000;
    let space = TestSpace::new(64);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| assert!(space.fetch_add_u64(P, 8, 1).is_ok())));
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut old = space.fetch_add_u64(P, 16, 0).unwrap();
                    while let seen = space.compare_swap_u64(P, 16, old, old + 3).unwrap()
                        && seen != old
                    {
                        old = seen;
                    }
                }
            });
        }
        // A dword that is always written whole is never read in halves.
        scope.spawn(|| (0..ROUNDS).for_each(|i| space.write(P, 32, &[i as u8; 4]).unwrap()));
        for _ in 0..ROUNDS {
            let dword = space.load_be32(P, 32).unwrap();
            assert_eq!(dword, (dword & 0xff) * 0x0101_0101);
        }
    });
    assert_eq!(space.fetch_add_u64(P, 8, 0), Ok(2 * ROUNDS));
    assert_eq!(space.fetch_add_u64(P, 16, 0), Ok(2 * ROUNDS * 3));
}
