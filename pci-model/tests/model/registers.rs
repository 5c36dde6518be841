//! What software sees: header, BARs, capabilities, effects of writes, resets.

use crate::common::*;
use mlx5emu_pci_model::capability::{
    Capability, DeviceSerialNumber, Express, ExtendedCapability, LinkSpeed, Msix, VendorSpecific,
};
use mlx5emu_pci_model::config::{
    Bar, BuildError, ConfigBuilder, Effects, MsixControl, PowerState, Register, ResetKind,
};
use mlx5emu_pci_model::msix::MsixLayout;

const MEMORY: u16 = 2;
const MASTER: u16 = 4;
const FLR: u16 = 1 << 15;

#[test]
fn the_header_tells_who_the_function_is_and_cannot_be_changed() {
    let mut space = function();
    for at in [0x00, 0x08, 0x2c] {
        let before = r32(&space, at);
        assert!(w32(&mut space, at, !before).is_empty());
        assert_eq!(r32(&space, at), before);
    }
    assert_eq!(r32(&space, 0x00), 0x101d_15b3);
    assert_eq!(r32(&space, 0x08), 0x0200_0000);
    assert_eq!(r32(&space, 0x2c), 0x0043_15b3);
    assert_eq!(r8(&space, 0x0e), 0x80, "type 0, multifunction");
    assert_eq!(r8(&space, 0x3d), 0, "no INTx pin");
    assert_eq!(r16(&space, STATUS), 0x0010);
    assert_eq!(r32(&space, 0x30), 0, "no expansion ROM");
    let single = builder().multifunction(false).build().unwrap();
    assert_eq!(r8(&single, 0x0e), 0);
}

#[test]
fn command_takes_only_the_bits_it_implements_and_tells_what_changed() {
    let mut space = function();
    let effects = w16(&mut space, COMMAND, 0xffff);
    assert_eq!(r16(&space, COMMAND), 0x0546);
    assert_eq!((effects.bus_master, effects.memory_decode), (Some(true), Some(true)));
    assert!(effects.bars.is_empty(), "BAR 0 is not programmed yet");
    assert!(w16(&mut space, COMMAND, 0xffff).is_empty(), "nothing changed");
    let effects = w16(&mut space, COMMAND, MEMORY);
    assert_eq!((effects.bus_master, effects.memory_decode), (Some(false), None));
    assert!(!space.bus_master() && space.memory_decode());
}

#[test]
fn a_bar_is_sized_with_all_ones_and_then_placed() {
    let mut space = function();
    assert_eq!(r32(&space, BAR0), 0xc, "64-bit, prefetchable");
    assert!(w32(&mut space, BAR0, u32::MAX).is_empty(), "memory decode is off");
    _ = w32(&mut space, BAR0 + 4, u32::MAX);
    let asked = u64::from(r32(&space, BAR0 + 4)) << 32 | u64::from(r32(&space, BAR0));
    assert_eq!(!(asked & !0xf) + 1, BAR0_SIZE);

    _ = w32(&mut space, BAR0, 0xfa00_000c);
    _ = w32(&mut space, BAR0 + 4, 0x38);
    assert_eq!(space.bar_address(0), None, "memory decode is off");
    let effects = w16(&mut space, COMMAND, MEMORY);
    assert!(effects.bars.iter().eq([0]));
    assert_eq!(space.bar_address(0), Some(0x38_fa00_0000));

    // Moved while decoding, one half at a time.
    let effects = w32(&mut space, BAR0, 0xf800_0000);
    assert!(effects.bars.contains(0) && effects.memory_decode.is_none());
    assert_eq!(space.bar_address(0), Some(0x38_f800_0000));
    assert_eq!(r32(&space, BAR0), 0xf800_000c, "the attributes stay");
    // Sizing while decoding: the address is gone, then back.
    _ = w32(&mut space, BAR0, u32::MAX);
    _ = w32(&mut space, BAR0 + 4, u32::MAX);
    assert_eq!(space.bar_address(0), None);
    assert!((1..7).all(|index| space.bar_address(index).is_none()), "the upper half and the others are no BARs");
}

#[test]
fn a_32_bit_bar_ends_below_4_gib() {
    let mut space = ConfigBuilder::new(identity()).bar(2, Bar::memory32(4096)).build().unwrap();
    _ = w16(&mut space, COMMAND, MEMORY);
    _ = w32(&mut space, BAR0 + 8, u32::MAX);
    assert_eq!(r32(&space, BAR0 + 8), 0xffff_f000);
    assert_eq!(space.bar_address(2), None);
    assert!(w32(&mut space, BAR0 + 8, 0xfebf_1234).bars.contains(2));
    assert_eq!(space.bar_address(2), Some(0xfebf_1000));
    _ = w32(&mut space, BAR0 + 12, u32::MAX);
    assert_eq!(r32(&space, BAR0 + 12), 0, "an absent BAR reads 0");
}

#[test]
fn the_largest_bars_leave_one_address_bit() {
    let mut space =
        ConfigBuilder::new(identity()).bar(0, Bar::memory64(1 << 63)).bar(2, Bar::memory32(1 << 31)).build().unwrap();
    _ = w16(&mut space, COMMAND, MEMORY);
    for at in [0, 4, 8] {
        _ = w32(&mut space, BAR0 + at, u32::MAX);
    }
    assert_eq!([0, 4, 8].map(|at| r32(&space, BAR0 + at)), [0x4, 0x8000_0000, 0x8000_0000]);
    assert_eq!((space.bar_address(0), space.bar_address(2)), (None, None));
}

#[test]
fn initiate_flr_reads_zero_and_is_reported_once_per_write() {
    let mut space = function();
    let devctl = cap(&space, 0x10) + 8;
    let value = r16(&space, devctl);
    let effects = w16(&mut space, devctl, value | FLR);
    assert_eq!(effects, Effects { flr: true, ..Effects::default() });
    assert_eq!(r16(&space, devctl), value);
    assert!(space.write(devctl + 1, &[(value >> 8) as u8 | 0x80]).flr, "by byte");
    assert!(space.write(devctl - 4, &[0, 0, 0, 0, 0, 0x80, 0, 0]).flr, "by quadword");
    assert!(!space.write(devctl, &[0xff]).flr, "the low byte alone");
    assert!(!w16(&mut space, devctl, !FLR).flr);

    let fixed = Express::endpoint(LinkSpeed::Gts8, 8).flr(false);
    let mut space = ConfigBuilder::new(identity()).capability(fixed).build().unwrap();
    assert!(!w16(&mut space, 0x48, FLR).flr, "not capable of it");
}

#[test]
fn device_control_shapes_requests_within_what_is_supported() {
    let mut space = function();
    let devctl = cap(&space, 0x10) + 8;
    assert_eq!((space.max_payload(), space.max_read_request()), (128, 512));
    assert!(space.relaxed_ordering() && space.no_snoop() && !space.atomic_requests());
    assert!(w16(&mut space, devctl, 1 << 5 | 5 << 12).requests);
    assert_eq!((space.max_payload(), space.max_read_request()), (256, 4096));
    assert!(!space.relaxed_ordering() && !space.no_snoop());
    _ = w16(&mut space, devctl, 7 << 5 | 7 << 12);
    assert_eq!((space.max_payload(), space.max_read_request()), (512, 4096), "never more than supported or legal");
    assert!(w16(&mut space, devctl + 0x20, 1 << 6).requests);
    assert!(space.atomic_requests());
}

#[test]
fn the_link_is_reported_as_declared() {
    let space = function();
    let express = cap(&space, 0x10);
    assert_eq!(r16(&space, express + 2), 2, "version 2, endpoint");
    assert_eq!(r32(&space, express + 4) >> 28 & 1, 1, "FLR capable");
    assert_eq!(r32(&space, express + 0xc) & 0x3ff, 16 << 4 | 4);
    assert_eq!(r16(&space, express + 0x12) & 0x3ff, 16 << 4 | 4);
    assert_eq!(r32(&space, express + 0x2c), 0b11110, "2.5 to 16 GT/s");
    assert_eq!(r16(&space, express + 0x30), 4);
}

#[test]
fn d3hot_stops_requests_both_ways_and_keeps_the_rest() {
    let mut space = function();
    _ = w32(&mut space, BAR0, 0xf800_0000);
    _ = w16(&mut space, COMMAND, MEMORY | MASTER);
    let pmcsr = cap(&space, 0x01) + 4;
    assert_eq!(r16(&space, pmcsr), 8, "D0, No_Soft_Reset");

    let effects = w16(&mut space, pmcsr, 3);
    assert_eq!(effects.power_state, Some(PowerState::D3hot));
    assert_eq!((effects.bus_master, effects.memory_decode), (Some(false), Some(false)));
    assert!(effects.bars.contains(0) && space.bar_address(0).is_none());
    assert!(w16(&mut space, pmcsr, 1).is_empty(), "D1 is not supported");
    assert_eq!(r16(&space, pmcsr), 0xb);

    let effects = w16(&mut space, pmcsr, 0);
    assert_eq!((effects.power_state, effects.bus_master), (Some(PowerState::D0), Some(true)));
    assert_eq!(space.bar_address(0), Some(0xf800_0000));
    assert!(w16(&mut space, pmcsr, 2).is_empty(), "nor is D2");
    assert_eq!(r16(&space, pmcsr), 8);
}

#[test]
fn msix_control_is_writable_and_the_rest_describes_the_layout() {
    let mut space = function();
    let msix = cap(&space, 0x11);
    assert_eq!(r16(&space, msix + 2), 63);
    assert_eq!((r32(&space, msix + 4), r32(&space, msix + 8)), (0x2000, 0x3000));
    let effects = w16(&mut space, msix + 2, 0xffff);
    assert_eq!(effects.msix, Some(MsixControl { enabled: true, function_mask: true }));
    assert_eq!(r16(&space, msix + 2), 0xc03f);
    let effects = space.write(msix + 3, &[0x80]);
    assert_eq!(effects.msix, Some(MsixControl { enabled: true, function_mask: false }));
    _ = w32(&mut space, msix + 4, u32::MAX);
    assert_eq!(r32(&space, msix + 4), 0x2000);
}

#[test]
fn the_vendor_capability_reads_zero_and_ignores_writes() {
    let mut space = function();
    let vendor = cap(&space, 0x09);
    assert_eq!(r8(&space, vendor + 2), 0x18);
    for at in (4..0x18).step_by(4) {
        assert!(w32(&mut space, vendor + at, u32::MAX).is_empty());
        assert_eq!(r32(&space, vendor + at), 0);
    }
}

#[test]
fn identification_capabilities_hold_what_was_declared() {
    let space = function();
    let dsn = ext(&space, 3);
    assert_eq!((r32(&space, dsn + 4), r32(&space, dsn + 8)), (0xfe33_4455, 0x0011_22ff));
    assert_eq!(r16(&space, ext(&space, 0xe) + 4), 0x0100);
    let vsec = ext(&space, 0xb);
    assert_eq!((r32(&space, vsec + 4), r32(&space, vsec + 8)), (0x00c1_1234, 0xdead_beef));
    assert_eq!(space.find_extended(0xb), Some(vsec as u16));
    assert_eq!(space.find_capability(0x10), Some(0x60));
}

#[test]
fn transactions_pending_is_the_functions_to_set() {
    let mut space = function();
    let devsta = cap(&space, 0x10) + 0xa;
    space.set_transactions_pending(true);
    _ = w16(&mut space, devsta, 0xffff);
    assert_eq!(r16(&space, devsta), 0x20);
    space.set_transactions_pending(false);
    assert_eq!(r16(&space, devsta), 0);
}

/// Everything that software can change, changed.
fn used() -> mlx5emu_pci_model::ConfigSpace {
    let mut space = function();
    _ = w32(&mut space, BAR0, 0xf800_0000);
    _ = w16(&mut space, COMMAND, 0xffff);
    let (express, msix, pm) = (cap(&space, 0x10), cap(&space, 0x11), cap(&space, 0x01));
    _ = w16(&mut space, express + 8, 1 << 5);
    _ = w16(&mut space, express + 0x10, 0xffff);
    _ = w16(&mut space, express + 0x30, 1);
    _ = w16(&mut space, msix + 2, 0xffff);
    _ = w16(&mut space, pm + 4, 3);
    _ = w32(&mut space, 0x108, 0); // AER mask
    _ = w16(&mut space, 0x3c, 0x0b);
    space
}

#[test]
fn flr_keeps_sticky_bits_and_the_links_settings_only() {
    let mut space = used();
    let (express, msix) = (cap(&space, 0x10), cap(&space, 0x11));
    let effects = space.reset(ResetKind::Flr);
    assert_eq!(effects.power_state, Some(PowerState::D0));
    assert_eq!(effects.msix, Some(MsixControl::default()));
    assert_eq!((effects.bus_master, effects.flr), (None, false), "in D3hot it was off already");
    assert_eq!((r16(&space, COMMAND), r32(&space, BAR0), r8(&space, 0x3c)), (0, 0xc, 0));
    assert_eq!(r16(&space, msix + 2), 63);
    assert_eq!(r16(&space, express + 8), 0x2830, "Max_Payload_Size stays, the rest is reset");
    assert_eq!(r16(&space, express + 0x10), 0xcb, "Link Control stays");
    assert_eq!(r16(&space, express + 0x30), 1, "Target Link Speed is sticky");
    assert_eq!(r32(&space, 0x108), 0, "the AER mask is sticky");
}

#[test]
fn conventional_reset_keeps_sticky_bits_only_and_fundamental_reset_nothing() {
    let mut space = used();
    let express = cap(&space, 0x10);
    _ = space.reset(ResetKind::Conventional);
    assert_eq!((r16(&space, express + 8), r16(&space, express + 0x10)), (0x2810, 0));
    assert_eq!((r16(&space, express + 0x30), r32(&space, 0x108)), (1, 0));

    _ = space.reset(ResetKind::Fundamental);
    let (mut after, mut fresh) = ([0; 4096], [0; 4096]);
    space.read(0, &mut after);
    function().read(0, &mut fresh);
    assert_eq!(after, fresh);
}

#[test]
fn a_reset_reports_what_it_switched_off() {
    let mut space = function();
    _ = w32(&mut space, BAR0, 0xf800_0000);
    _ = w16(&mut space, COMMAND, MEMORY | MASTER);
    let effects = space.reset(ResetKind::Flr);
    assert_eq!((effects.bus_master, effects.memory_decode), (Some(false), Some(false)));
    assert!(effects.bars.contains(0));
}

#[test]
fn bars_survive_an_flr_when_the_client_shadows_them() {
    let mut space = builder().keep_bars_on_flr(true).build().unwrap();
    _ = w32(&mut space, BAR0, 0xf800_0000);
    _ = w32(&mut space, BAR0 + 4, 0x38);
    _ = w16(&mut space, COMMAND, MEMORY);
    assert!(space.reset(ResetKind::Flr).bars.contains(0), "COMMAND is reset, so nothing is decoded");
    assert!(w16(&mut space, COMMAND, MEMORY).bars.contains(0));
    assert_eq!(space.bar_address(0), Some(0x38_f800_0000));
    _ = space.reset(ResetKind::Conventional);
    assert_eq!((r32(&space, BAR0), r32(&space, BAR0 + 4)), (0xc, 0));
}

#[test]
fn unsound_declarations_are_refused_with_their_reason() {
    let with = |f: fn(ConfigBuilder) -> ConfigBuilder| f(ConfigBuilder::new(identity())).build().err();
    let msix = |layout: MsixLayout| {
        ConfigBuilder::new(identity()).bar(0, Bar::memory64(1 << 14)).capability(Msix(layout)).build().err()
    };
    assert_eq!(with(|b| b.bar(6, Bar::memory32(4096))), Some(BuildError::BarIndex { index: 6 }));
    assert_eq!(with(|b| b.bar(5, Bar::memory64(4096))), Some(BuildError::BarIndex { index: 5 }));
    assert_eq!(with(|b| b.bar(0, Bar::memory32(4095))), Some(BuildError::BarSize { index: 0, size: 4095 }));
    assert_eq!(with(|b| b.bar(0, Bar::memory32(64))), Some(BuildError::BarSize { index: 0, size: 64 }));
    assert_eq!(with(|b| b.bar(0, Bar::memory32(1 << 32))), Some(BuildError::BarSize { index: 0, size: 1 << 32 }));
    assert_eq!(
        with(|b| b.bar(0, Bar::memory64(4096)).bar(1, Bar::memory32(4096))),
        Some(BuildError::BarTaken { index: 1 })
    );
    let vendor = || VendorSpecific::inert(0x18);
    assert_eq!(
        with(|b| b.capability_at(0x3c, VendorSpecific::inert(8))),
        Some(BuildError::Placement { id: 9, offset: 0x3c })
    );
    assert_eq!(
        with(|b| b.capability_at(0xf0, VendorSpecific::inert(0x18))),
        Some(BuildError::Placement { id: 9, offset: 0xf0 })
    );
    let overlapping = ConfigBuilder::new(identity()).capability_at(0x50, vendor()).capability_at(0x60, vendor());
    assert_eq!(overlapping.build().err(), Some(BuildError::Placement { id: 9, offset: 0x60 }));
    let outside = Capability::new(3, 8, vec![Register::u32(6, 0)]);
    let outside = ConfigBuilder::new(identity()).capability(outside);
    assert_eq!(outside.build().err(), Some(BuildError::RegisterOutside { id: 3 }));
    let on_header = ExtendedCapability::new(0x17, 1, 12, vec![Register::u16(2, 0)]);
    let on_header = ConfigBuilder::new(identity()).extended(on_header);
    assert_eq!(on_header.build().err(), Some(BuildError::RegisterOutside { id: 0x17 }));
    let short = ConfigBuilder::new(identity()).capability(Capability::new(0x10, 8, Vec::new()));
    assert_eq!(short.build().err(), Some(BuildError::TooShort { id: 0x10, least: 0x3c }));
    let short = ExtendedCapability::new(1, 2, 8, Vec::new());
    let short = ConfigBuilder::new(identity()).extended_at(0x100, DeviceSerialNumber(1)).extended_at(0xff8, short);
    assert_eq!(short.build().err(), Some(BuildError::TooShort { id: 1, least: 0x48 }));
    let bare = || ExtendedCapability::new(0x17, 1, 4, Vec::new());
    let close = ConfigBuilder::new(identity()).extended_at(0x100, bare()).extended_at(0x104, DeviceSerialNumber(1));
    assert_eq!(close.build().err(), Some(BuildError::Placement { id: 3, offset: 0x104 }), "headers 8 bytes apart");
    let late = ConfigBuilder::new(identity()).extended_at(0x140, ExtendedCapability::new(0x17, 1, 12, Vec::new()));
    assert_eq!(late.build().err(), Some(BuildError::NoFirstExtended));
    let express = || Express::endpoint(LinkSpeed::Gts8, 8);
    let twice = ConfigBuilder::new(identity()).capability(express()).capability(express());
    assert_eq!(twice.build().err(), Some(BuildError::Duplicate { id: 0x10 }));
    let good = MsixLayout { vectors: 256, ..layout() };
    assert_eq!(msix(good), None);
    for bad in [
        MsixLayout { vectors: 0, ..good },
        MsixLayout { vectors: 2049, ..good },
        MsixLayout { vectors: 257, ..good },
        MsixLayout { table_bar: 1, ..good },
        MsixLayout { table_bar: 7, ..good },
        MsixLayout { pba_offset: 0x4000, ..good },
        MsixLayout { pba_offset: 0x3004, ..good },
    ] {
        assert_eq!(msix(bad), Some(BuildError::Msix), "{bad:?}");
    }
}

#[test]
fn msix_bytes_are_told_from_the_devices_own() {
    let layout = layout();
    let mut buf = [0xaa; 32];
    assert!(layout.overlay(0, 0x2000, &mut buf));
    assert_eq!(u128::from_le_bytes(buf[..16].try_into().unwrap()), 1 << 96, "masked, no address");
    let mut buf = [0xaa; 16];
    assert!(layout.overlay(0, 0x2ffc, &mut buf));
    assert_eq!(buf, [0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa]);
    assert!(!layout.overlay(0, u64::MAX, &mut buf) && !layout.overlay(2, 0x2000, &mut buf));
    assert!(layout.touches(0, 0x1ffc, 8) && layout.touches(0, 0x3007, 1));
    assert!(!layout.touches(0, 0x2400, 0xc00) && !layout.touches(0, u64::MAX, 8) && !layout.touches(1, 0x2000, 4));
}
