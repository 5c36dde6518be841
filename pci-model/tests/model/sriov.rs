//! SR-IOV as Linux's sriov_init, sriov_enable and sriov_restore_state drive it (drivers/pci/iov.c).

use mlx5emu_pci_model::ResetKind;
use mlx5emu_pci_model::capability::{Ari, Sriov, VirtualFunctions};
use mlx5emu_pci_model::config::{Bar, BuildError, ConfigSpace};

use crate::common::*;
use proptest::prelude::*;

const CONTROL: u64 = 0x08;
const NUM: u64 = 0x10;
const SYSTEM_PAGE: u64 = 0x20;
const VF_BAR0: u64 = 0x24;
const VFE_MSE: u16 = 1 | 1 << 3;
const VF_BAR_SIZE: u64 = 1 << 20;

pub(crate) fn sriov() -> Sriov {
    Sriov::new(8, 2, 1, 0x101e).bar(0, Bar::memory64(VF_BAR_SIZE).prefetchable())
}

pub(crate) fn pf() -> ConfigSpace {
    builder().extended_at(0x180, sriov().ari_hierarchy()).build().expect("the declaration is sound")
}

/// A PF with its VF BARs at `base`.
fn placed(base: u64) -> (ConfigSpace, u64) {
    let mut pf = pf();
    let at = ext(&pf, 0x10);
    let _ = w32(&mut pf, at + VF_BAR0, base as u32);
    let _ = w32(&mut pf, at + VF_BAR0 + 4, (base >> 32) as u32);
    (pf, at)
}

fn enable(pf: &mut ConfigSpace, at: u64, count: u16) -> Option<VirtualFunctions> {
    let _ = w16(pf, at + NUM, count);
    w16(pf, at + CONTROL, VFE_MSE).virtual_functions
}

#[test]
fn software_finds_what_was_declared() {
    let mut pf = pf();
    let at = ext(&pf, 0x10);
    assert_eq!((r16(&pf, at + 0x0c), r16(&pf, at + 0x0e)), (8, 8), "InitialVFs, TotalVFs");
    assert_eq!((r16(&pf, at + 0x14), r16(&pf, at + 0x16)), (2, 1), "First VF Offset, VF Stride");
    assert_eq!(r16(&pf, at + 0x1a), 0x101e);
    assert_eq!(r32(&pf, at + 0x1c), 0x553);
    let _ = w32(&mut pf, at + SYSTEM_PAGE, 1);
    // Sizing: a 64-bit prefetchable megabyte.
    let _ = w32(&mut pf, at + VF_BAR0, u32::MAX);
    let _ = w32(&mut pf, at + VF_BAR0 + 4, u32::MAX);
    assert_eq!(r32(&pf, at + VF_BAR0), 0xfff0_000c);
    assert_eq!(r32(&pf, at + VF_BAR0 + 4), u32::MAX);
    assert_eq!(r32(&pf, at + VF_BAR0 + 8), 0, "no third BAR");
}

#[test]
fn enabling_says_how_many_and_where_they_are() {
    let (mut pf, at) = placed(0x8_0000_0000);
    assert_eq!(enable(&mut pf, at, 3), Some(VirtualFunctions { enabled: 3, memory: true }));
    assert_eq!(pf.vf_bar_address(0, 0), Some(0x8_0000_0000));
    assert_eq!(pf.vf_bar_address(2, 0), Some(0x8_0020_0000));
    assert_eq!(pf.vf_bar_address(3, 0), None);
    assert_eq!(pf.vf_bar_address(0, 1), None);
    let off = w16(&mut pf, at + CONTROL, 0).virtual_functions;
    assert_eq!(off, Some(VirtualFunctions::default()));
    assert_eq!(pf.vf_bar_address(0, 0), None);
}

#[test]
fn numbers_stay_while_vfs_exist() {
    let (mut pf, at) = placed(0x8_0000_0000);
    let _ = enable(&mut pf, at, 3);
    assert!(w16(&mut pf, at + NUM, 5).is_empty());
    assert!(w32(&mut pf, at + SYSTEM_PAGE, 4).is_empty());
    assert_eq!((r16(&pf, at + NUM), r32(&pf, at + SYSTEM_PAGE)), (3, 1));
    let _ = w16(&mut pf, at + CONTROL, 0);
    let _ = w16(&mut pf, at + NUM, 5);
    assert_eq!(r16(&pf, at + NUM), 5);
}

#[test]
fn more_than_all_are_all() {
    let (mut pf, at) = placed(0x8_0000_0000);
    assert_eq!(enable(&mut pf, at, 9).map(|vfs| vfs.enabled), Some(8));
}

#[test]
fn a_larger_page_spreads_the_bars() {
    let mut pf = builder().extended_at(0x180, Sriov::new(4, 1, 1, 0x101e).bar(2, Bar::memory32(4096))).build().unwrap();
    let at = ext(&pf, 0x10);
    let _ = w32(&mut pf, at + SYSTEM_PAGE, 1 << 4);
    assert_eq!(pf.vf_bar_aperture(2), Some(64 << 10));
    let effects = w32(&mut pf, at + VF_BAR0 + 8, 0xfe01_2000);
    assert!(effects.vf_bars.contains(2));
    assert_eq!(r32(&pf, at + VF_BAR0 + 8), 0xfe01_0000);
    let _ = enable(&mut pf, at, 2);
    assert_eq!(pf.vf_bar_address(1, 2), Some(0xfe02_0000));
    for page in [0, 3, 1 << 1 | 1 << 4, 1 << 3] {
        let _ = w16(&mut pf, at + CONTROL, 0);
        let _ = w32(&mut pf, at + SYSTEM_PAGE, page);
        assert_ne!(r32(&pf, at + SYSTEM_PAGE), page, "{page:#x} is no page size");
    }
}

#[test]
fn only_the_first_pf_has_the_ari_bit() {
    for (declared, seen) in [(sriov().ari_hierarchy(), 1 << 4), (sriov(), 0)] {
        let mut pf = builder().extended_at(0x180, declared).build().unwrap();
        let at = ext(&pf, 0x10);
        let _ = w16(&mut pf, at + CONTROL, 1 << 4);
        assert_eq!(r16(&pf, at + CONTROL), seen);
    }
    assert_eq!(r16(&function(), ext(&function(), 0x0e) + 4), u16::from(Ari { next_function: 1 }.next_function) << 8);
}

#[test]
fn every_reset_ends_the_vfs() {
    for kind in [ResetKind::Flr, ResetKind::Conventional, ResetKind::Fundamental] {
        let (mut pf, at) = placed(0x8_0000_0000);
        let _ = enable(&mut pf, at, 2);
        let effects = pf.reset(kind);
        assert_eq!(effects.virtual_functions, Some(VirtualFunctions::default()), "{kind:?}");
        assert_eq!((r16(&pf, at + NUM), r32(&pf, at + VF_BAR0)), (0, 0xc), "{kind:?}");
    }
}

#[test]
fn bars_that_do_not_fit_are_refused() {
    let wide = Bar::memory64(1 << 20);
    for (declared, index) in [
        (Sriov::new(1, 1, 1, 0).bar(5, wide), 5),
        (Sriov::new(1, 1, 1, 0).bar(0, wide).bar(1, Bar::memory32(4096)), 1),
        (Sriov::new(1, 1, 1, 0).bar(3, Bar::memory32(2048)), 3),
    ] {
        let error = builder().extended_at(0x180, declared).build().unwrap_err();
        assert_eq!(error, BuildError::VfBar { index });
    }
}

proptest! {
    #[test]
    fn whatever_is_written_the_effects_tell_and_addresses_are_addresses(
        writes in prop::collection::vec((0x180u64..0x1c0, prop::collection::vec(any::<u8>(), 1..9)), 1..80),
    ) {
        let mut pf = pf();
        let picture = |pf: &ConfigSpace| (pf.virtual_functions(), [0, 7].map(|vf| pf.vf_bar_address(vf, 0)));
        for (at, data) in writes {
            let before = picture(&pf);
            let effects = pf.write(at, &data);
            let now = picture(&pf);
            prop_assert_eq!(effects.virtual_functions, (before.0 != now.0).then_some(now.0));
            prop_assert!(before == now || effects.virtual_functions.is_some() || effects.vf_bars.contains(0));
            prop_assert!(now.0.enabled <= 8);
            for address in now.1.into_iter().flatten() {
                prop_assert!(address % VF_BAR_SIZE == 0 && address.checked_add(VF_BAR_SIZE).is_some());
            }
        }
    }
}
