//! Error reporting: what is logged where, what is masked, what is signalled.

use crate::common::*;
use mlx5emu_pci_model::capability::{CorrectableError, ErrorMessage, UncorrectableError};
use mlx5emu_pci_model::config::{ConfigBuilder, ResetKind};

const UNCOR_STATUS: u64 = 0x104;
const UNCOR_MASK: u64 = 0x108;
const UNCOR_SEVERITY: u64 = 0x10c;
const COR_STATUS: u64 = 0x110;
const COR_MASK: u64 = 0x114;
const CONTROL: u64 = 0x118;
const HEADER_LOG: u64 = 0x11c;

fn log(space: &mlx5emu_pci_model::ConfigSpace) -> [u32; 4] {
    [0, 4, 8, 12].map(|at| r32(space, HEADER_LOG + at))
}

#[test]
fn only_implemented_bits_can_be_masked_and_severities_default_as_specified() {
    let mut space = function();
    assert_eq!((r32(&space, UNCOR_SEVERITY), r32(&space, UNCOR_MASK)), (0x0046_2010, 0x0040_0000));
    assert_eq!(r32(&space, COR_MASK), 0x6000);
    for at in [UNCOR_MASK, UNCOR_SEVERITY] {
        _ = w32(&mut space, at, u32::MAX);
        assert_eq!(r32(&space, at), 0x0057_f010);
    }
    _ = w32(&mut space, COR_MASK, u32::MAX);
    assert_eq!(r32(&space, COR_MASK), 0x71c1);
    assert_eq!(r32(&space, UNCOR_STATUS), 0);
}

#[test]
fn the_first_error_keeps_pointer_and_header_until_it_is_cleared() {
    let mut space = function();
    let devsta = cap(&space, 0x10) + 0xa;
    assert_eq!(space.report_uncorrectable(UncorrectableError::CompletionTimeout, None, false), None, "not enabled");
    assert_eq!((r32(&space, UNCOR_STATUS), r32(&space, CONTROL)), (1 << 14, 14));
    space.report_uncorrectable(UncorrectableError::MalformedTlp, Some([1, 2, 3, 4]), false);
    assert_eq!((r32(&space, UNCOR_STATUS), r32(&space, CONTROL)), (1 << 14 | 1 << 18, 14));
    assert_eq!(log(&space), [0; 4]);
    assert_eq!(r16(&space, devsta), 0b0110, "one non-fatal, one fatal");

    _ = w32(&mut space, UNCOR_STATUS, 1 << 14);
    assert_eq!(r32(&space, UNCOR_STATUS), 1 << 18, "RW1C, bit by bit");
    space.report_uncorrectable(UncorrectableError::PoisonedTlp, Some([5, 6, 7, 8]), false);
    assert_eq!((r32(&space, CONTROL), log(&space)), (12, [5, 6, 7, 8]));
    _ = w16(&mut space, devsta, 0b0100);
    assert_eq!(r16(&space, devsta), 0b0010);
}

#[test]
fn messages_follow_severity_and_enables() {
    let mut space = function();
    let devctl = cap(&space, 0x10) + 8;
    let poisoned = UncorrectableError::PoisonedTlp;
    _ = w16(&mut space, devctl, 0b0010);
    assert_eq!(space.report_uncorrectable(poisoned, None, false), Some(ErrorMessage::NonFatal));
    assert_eq!(r16(&space, STATUS), 0x10, "SERR# Enable is off");
    _ = w32(&mut space, UNCOR_SEVERITY, poisoned.bit());
    assert_eq!(space.report_uncorrectable(poisoned, None, false), None, "fatal now, and not enabled");
    _ = w16(&mut space, COMMAND, 1 << 8);
    assert_eq!(space.report_uncorrectable(poisoned, None, false), Some(ErrorMessage::Fatal));
    assert_eq!(r16(&space, STATUS), 0x4010, "Signaled System Error");
    _ = w16(&mut space, STATUS, 0x4000);
    assert_eq!(r16(&space, STATUS), 0x10);
}

#[test]
fn unsupported_requests_need_their_own_enable_too() {
    let mut space = function();
    let devctl = cap(&space, 0x10) + 8;
    let error = UncorrectableError::UnsupportedRequest;
    _ = w16(&mut space, devctl, 0b0010);
    assert_eq!(space.report_uncorrectable(error, None, false), None);
    assert_eq!(r16(&space, devctl + 2), 0b1010);
    _ = w16(&mut space, devctl, 0b1010);
    assert_eq!(space.report_uncorrectable(error, None, false), Some(ErrorMessage::NonFatal));
}

#[test]
fn a_masked_error_sets_its_status_bit_and_nothing_more() {
    let mut space = function();
    let devctl = cap(&space, 0x10) + 8;
    _ = w16(&mut space, devctl, 0b1111);
    assert_eq!(space.report_uncorrectable(UncorrectableError::Internal, Some([9; 4]), false), None);
    assert_eq!((r32(&space, UNCOR_STATUS), r32(&space, CONTROL), log(&space)), (1 << 22, 0, [0; 4]));
    assert_eq!(space.report_correctable(CorrectableError::CorrectedInternal), None);
    assert_eq!(space.report_correctable(CorrectableError::BadTlp), Some(ErrorMessage::Correctable));
    assert_eq!(r32(&space, COR_STATUS), 1 << 14 | 1 << 6);
    _ = w32(&mut space, COR_STATUS, 1 << 6);
    assert_eq!(r32(&space, COR_STATUS), 1 << 14);
}

#[test]
fn an_advisory_error_counts_as_correctable_unless_it_is_fatal() {
    let mut space = function();
    let devctl = cap(&space, 0x10) + 8;
    let error = UncorrectableError::CompleterAbort;
    _ = w16(&mut space, devctl, 0b1111);
    assert_eq!(space.report_uncorrectable(error, None, true), None, "advisory errors are masked after reset");
    assert_eq!((r32(&space, COR_STATUS), r32(&space, UNCOR_STATUS)), (1 << 13, 0));
    assert_eq!(r16(&space, devctl + 2), 0b0001);
    _ = w32(&mut space, COR_MASK, 0);
    assert_eq!(space.report_uncorrectable(error, Some([1; 4]), true), Some(ErrorMessage::Correctable));
    assert_eq!((r32(&space, UNCOR_STATUS), log(&space)), (error.bit(), [1; 4]));
    _ = w32(&mut space, UNCOR_SEVERITY, error.bit());
    assert_eq!(space.report_uncorrectable(error, None, true), Some(ErrorMessage::Fatal));
}

#[test]
fn logged_errors_survive_all_but_a_fundamental_reset() {
    let mut space = function();
    space.report_uncorrectable(UncorrectableError::CompleterAbort, Some([1, 2, 3, 4]), false);
    space.report_correctable(CorrectableError::Receiver);
    _ = w32(&mut space, COR_MASK, 1);
    for kind in [ResetKind::Flr, ResetKind::Conventional] {
        _ = space.reset(kind);
        assert_eq!((r32(&space, UNCOR_STATUS), r32(&space, COR_STATUS)), (1 << 15, 1));
        assert_eq!((r32(&space, CONTROL), log(&space)), (15, [1, 2, 3, 4]));
        assert_eq!(r32(&space, COR_MASK), 1);
        assert_eq!(r16(&space, cap(&space, 0x10) + 0xa), 0, "Device Status is not sticky");
    }
    _ = space.reset(ResetKind::Fundamental);
    assert_eq!((r32(&space, UNCOR_STATUS), r32(&space, COR_STATUS), r32(&space, CONTROL)), (0, 0, 0));
    assert_eq!(log(&space), [0; 4]);
}

#[test]
fn a_function_without_aer_and_express_still_signals_by_serr() {
    let mut space = ConfigBuilder::new(identity()).build().unwrap();
    assert_eq!(space.report_uncorrectable(UncorrectableError::MalformedTlp, None, false), None);
    _ = w16(&mut space, COMMAND, 1 << 8);
    let message = space.report_uncorrectable(UncorrectableError::MalformedTlp, None, false);
    assert_eq!(message, Some(ErrorMessage::Fatal));
    assert_eq!(space.report_correctable(CorrectableError::Receiver), None);
}
