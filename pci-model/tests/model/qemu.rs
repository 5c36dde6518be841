//! The space as QEMU's vfio-user client takes it apart: one read of all of it at realize, a walk over both capability
//! lists in that copy, and a few single reads and writes around a machine reset.

use crate::common::*;

const SIZE: usize = 4096;

fn le16(copy: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([copy[at], copy[at + 1]])
}

fn le32(copy: &[u8], at: usize) -> u32 {
    u32::from(le16(copy, at)) | u32::from(le16(copy, at + 2)) << 16
}

/// Room of a standard capability, as the client computes it: up to the next one by address.
fn room(offsets: &[usize], at: usize) -> usize {
    offsets.iter().copied().filter(|&other| other > at).min().unwrap_or(0x100) - at
}

#[test]
fn the_snapshot_satisfies_every_check_of_the_client() {
    let space = function();
    let mut copy = [0; SIZE];
    space.read(0, &mut copy);

    assert_eq!(copy[0x0e] & 0x7f, 0, "a Type 0 header");
    assert_ne!(le16(&copy, 0x06) & 0x10, 0, "STATUS says that there are capabilities");
    assert_eq!(copy[0x3d], 0, "no INTx");
    assert_eq!(le32(&copy, 0x10) & 0xf, 0xc, "BAR 0 is 64-bit prefetchable memory");

    let mut offsets = Vec::new();
    let mut at = usize::from(copy[0x34]);
    while at != 0 {
        assert!((0x40..0x100).contains(&at) && at % 4 == 0);
        assert!(!offsets.contains(&at), "the list has no cycle");
        offsets.push(at);
        at = usize::from(copy[at + 1]);
    }
    let ids: Vec<u8> = offsets.iter().map(|&at| copy[at]).collect();
    assert_eq!(ids, [0x10, 0x11, 0x09, 0x01]);
    let find = |id: u8| offsets.iter().copied().find(|&at| copy[at] == id).unwrap();

    let express = find(0x10);
    assert!(room(&offsets, express) >= 0x3c, "room for version 2");
    assert_eq!(le16(&copy, express + 2) & 0xff, 0x02, "version 2, an Endpoint");
    let msix = find(0x11);
    let (control, table, pba) = (le16(&copy, msix + 2), le32(&copy, msix + 4), le32(&copy, msix + 8));
    let entries = u64::from(control & 0x7ff) + 1;
    assert_eq!((entries, table & 7, pba & 7), (64, 0, 0));
    assert!(u64::from(table & !7) + entries * 16 <= BAR0_SIZE);
    assert!(u64::from(pba & !7) + entries.div_ceil(64) * 8 <= BAR0_SIZE);
    assert!(room(&offsets, msix) >= 12);
    let vendor = find(0x09);
    assert!(room(&offsets, vendor) >= usize::from(copy[vendor + 2]) && copy[vendor + 2] >= 0x18);
    assert!(room(&offsets, find(0x01)) >= 8);
    assert_eq!(le16(&copy, find(0x01) + 4) & 0xb, 8, "in D0, and going to D3hot and back does not reset");

    let mut extended = Vec::new();
    let mut at = 0x100;
    while at != 0 {
        assert!((0x100..SIZE - 4).contains(&at) && at % 4 == 0);
        assert!(extended.last().is_none_or(|&(last, _)| at >= last + 8), "8 bytes apart, ascending");
        let header = le32(&copy, at);
        assert!(header as u16 != 0 && header >> 16 & 0xf != 0, "an ID and a version");
        extended.push((at, header as u16));
        at = (header >> 20) as usize;
    }
    // SR-IOV and ARI may not be first: the client owns all of the first header, only the next pointer of the others.
    assert_eq!(extended, [(0x100, 0x01), (0x150, 0x0e), (0x1c0, 0x03), (0x1d0, 0x0b)]);
}

#[test]
fn the_lists_are_the_same_in_any_order_of_declaration() {
    use mlx5emu_pci_model::capability::{Aer, DeviceSerialNumber};
    use mlx5emu_pci_model::config::ConfigBuilder;
    let space = ConfigBuilder::new(identity()).extended_at(0x200, DeviceSerialNumber(1)).extended_at(0x100, Aer);
    let space = space.build().unwrap();
    assert_eq!((r32(&space, 0x100), r32(&space, 0x200)), (0x2002_0001, 0x0001_0003));
    assert_eq!(r8(&space, 0x34), 0, "no standard capability");
}

#[test]
fn rom_sizing_finds_no_rom() {
    let mut space = function();
    let before = r32(&space, 0x30);
    assert!(w32(&mut space, 0x30, 0xffff_f800).is_empty());
    assert_eq!(r32(&space, 0x30), 0);
    assert!(w32(&mut space, 0x30, before).is_empty());
}

#[test]
fn a_machine_reset_leaves_the_function_off() {
    let mut space = builder().keep_bars_on_flr(true).build().unwrap();
    _ = w32(&mut space, BAR0, 0xf800_0000);
    _ = w16(&mut space, COMMAND, 6);
    let pmcsr = cap(&space, 1) + 4;
    // Before the reset: COMMAND without memory, bus master and INTx disable; PMCSR to see that the function is in D0.
    let command = r16(&space, COMMAND);
    _ = w16(&mut space, COMMAND, command & !6);
    assert_eq!(r16(&space, pmcsr) & 3, 0);
    _ = space.reset(mlx5emu_pci_model::ResetKind::Conventional);
    for bar in 0..6 {
        assert!(w32(&mut space, BAR0 + 4 * bar, 0).is_empty());
    }
    assert_eq!((r16(&space, COMMAND), r32(&space, BAR0)), (0, 0xc));
}
