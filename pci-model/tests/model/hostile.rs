//! Any access that a guest can make: nothing panics, read-only bits never change, and the effects tell the truth.

use crate::common::*;
use mlx5emu_pci_model::capability::{CorrectableError, UncorrectableError};
use mlx5emu_pci_model::config::{ConfigSpace, Effects, ResetKind};
use proptest::prelude::*;

fn all(space: &ConfigSpace) -> Vec<u8> {
    let mut copy = vec![0; 4096];
    space.read(0, &mut copy);
    copy
}

/// Ors the bytes of `mask` into `table` from `at` on.
fn mark(table: &mut [u8], at: usize, mask: u32) {
    for (byte, mask) in table[at..].iter_mut().zip(mask.to_le_bytes()) {
        *byte |= mask;
    }
}

/// The bits of the function that software can set and clear, register by register.
fn writable() -> Vec<u8> {
    let mut table = vec![0; 4096];
    let registers = [
        (0x04, 0x0546),      // COMMAND
        (0x0c, 0xff),        // Cache Line Size
        (0x10, 0xfe00_0000), // BAR 0, 32 MiB
        (0x14, 0xffff_ffff),
        (0x3c, 0xff),         // Interrupt Line
        (0x68, 0x79ff),       // Device Control, without Phantom Functions, Aux Power, FLR
        (0x70, 0xcb),         // Link Control
        (0x88, 0x035f),       // Device Control 2
        (0x90, 0x0f),         // Link Control 2
        (0x9c, 0xc000_0000),  // MSI-X Message Control
        (0xc4, 0x0003),       // PMCSR
        (0x108, 0x0057_f010), // AER: masks and severity
        (0x10c, 0x0057_f010),
        (0x114, 0x71c1),
    ];
    registers.into_iter().for_each(|(at, mask)| mark(&mut table, at, mask));
    table
}

/// The bits that errors set: RW1C and read-only status.
fn reported() -> Vec<u8> {
    let mut table = vec![0; 4096];
    mark(&mut table, 0x04, 1 << 30); // STATUS: Signaled System Error
    mark(&mut table, 0x68, 0xf << 16); // Device Status
    mark(&mut table, 0x104, 0x0057_f010); // AER: status, First Error Pointer, Header Log
    mark(&mut table, 0x110, 0x71c1);
    mark(&mut table, 0x118, 0x1f);
    (0x11c..0x12c).step_by(4).for_each(|at| mark(&mut table, at, u32::MAX));
    table
}

#[test]
fn exactly_the_intended_bits_are_writable() {
    let mut found = vec![0; 4096];
    for at in 0..4096 {
        let mut space = function();
        for value in [0xff, 0x00, 0xff] {
            let before = all(&space);
            _ = space.write(at, &[value]);
            for (found, (a, b)) in found.iter_mut().zip(before.iter().zip(all(&space))) {
                *found |= a ^ b;
            }
        }
    }
    for (at, (found, meant)) in found.into_iter().zip(writable()).enumerate() {
        assert_eq!(found, meant, "at {at:#x}");
    }
}

#[derive(Debug, Clone)]
enum Access {
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Reset(ResetKind),
    Uncorrectable(UncorrectableError, [u32; 4], bool),
    Correctable(CorrectableError),
}

fn access() -> impl Strategy<Value = Access> {
    // Mostly where registers are, sometimes at the edges and far beyond.
    let offset = prop_oneof![
        6 => 0u64..0x1f0,
        2 => 0u64..4096,
        1 => 4080u64..4110,
        1 => Just(u64::MAX - 3),
        1 => any::<u64>(),
    ];
    let data = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..9),
        2 => prop::collection::vec(Just(0xffu8), 1..9),
        1 => prop::collection::vec(any::<u8>(), 0..5000),
    ];
    let kind = prop_oneof![Just(ResetKind::Flr), Just(ResetKind::Conventional), Just(ResetKind::Fundamental)];
    let uncorrectable = prop::sample::select(UncorrectableError::ALL.to_vec());
    let correctable = prop::sample::select(CorrectableError::ALL.to_vec());
    prop_oneof![
        8 => (offset.clone(), data).prop_map(|(at, data)| Access::Write(at, data)),
        3 => (offset, 0usize..5000).prop_map(|(at, len)| Access::Read(at, len)),
        1 => kind.prop_map(Access::Reset),
        1 => (uncorrectable, any::<[u32; 4]>(), any::<bool>()).prop_map(|(e, h, a)| Access::Uncorrectable(e, h, a)),
        1 => correctable.prop_map(Access::Correctable),
    ]
}

fn check_read(space: &ConfigSpace, at: u64, len: usize) -> Result<(), TestCaseError> {
    let copy = all(space);
    let mut buf = vec![0x5a; len];
    space.read(at, &mut buf);
    for (i, byte) in buf.into_iter().enumerate() {
        let inside = at.checked_add(i as u64).and_then(|at| copy.get(usize::try_from(at).ok()?));
        prop_assert_eq!(byte, inside.copied().unwrap_or(0xff));
    }
    Ok(())
}

/// What software can learn about the state that effects are about.
fn state(space: &ConfigSpace) -> (bool, bool, [Option<u64>; 6], bool, bool) {
    let bars = [0, 1, 2, 3, 4, 5].map(|index| space.bar_address(index));
    (space.bus_master(), space.memory_decode(), bars, space.msix().enabled, space.msix().function_mask)
}

proptest! {
    #[test]
    fn no_access_panics_or_changes_a_read_only_bit(accesses in prop::collection::vec(access(), 1..60)) {
        let (writable, reported) = (writable(), reported());
        let mut space = function();
        let fresh = all(&space);
        for access in accesses {
            let before = state(&space);
            let effects = match access {
                Access::Write(at, data) => space.write(at, &data),
                Access::Reset(kind) => space.reset(kind),
                Access::Read(at, len) => {
                    check_read(&space, at, len)?;
                    continue;
                }
                Access::Uncorrectable(error, header, advisory) => {
                    space.report_uncorrectable(error, Some(header), advisory);
                    Effects::default()
                }
                Access::Correctable(error) => {
                    space.report_correctable(error);
                    Effects::default()
                }
            };
            let now = state(&space);
            prop_assert_eq!(effects.bus_master, (before.0 != now.0).then_some(now.0));
            prop_assert_eq!(effects.memory_decode, (before.1 != now.1).then_some(now.1));
            for index in 0..6 {
                prop_assert_eq!(effects.bars.contains(index), before.2[index] != now.2[index]);
            }
            prop_assert_eq!(effects.msix.is_some(), (before.3, before.4) != (now.3, now.4));
            if let Some(address) = space.bar_address(0) {
                prop_assert!(address % BAR0_SIZE == 0 && address != 0 && address.checked_add(BAR0_SIZE).is_some());
            }
            for (at, (now, fresh)) in all(&space).into_iter().zip(&fresh).enumerate() {
                prop_assert_eq!((now ^ fresh) & !writable[at] & !reported[at], 0, "read-only bit at {:#x}", at);
            }
        }
    }

    #[test]
    fn a_write_in_pieces_is_the_same_write(at in 0u64..4096, data in prop::collection::vec(any::<u8>(), 1..9)) {
        // Not so for PowerState, whose two bits are judged as one: they share a byte, so pieces cannot part them.
        let (mut whole, mut pieces) = (function(), function());
        let whole_effects = whole.write(at, &data);
        let mut flr = false;
        for (i, byte) in data.iter().enumerate() {
            flr |= pieces.write(at + i as u64, &[*byte]).flr;
        }
        prop_assert_eq!(all(&whole), all(&pieces));
        prop_assert_eq!(whole_effects.flr, flr);
    }
}
