//! Advanced Error Reporting (PCI Express Base 6.0, sections 7.8.4 and 6.2).

use super::{AER_ID, ExtendedCapability};
use crate::config::Register;

pub(crate) mod regs {
    /// Length with the TLP Prefix Log, which version 2 of the capability has.
    pub(crate) const LENGTH: u16 = 0x48;
    /// Uncorrectable Error Status, Mask and Severity (sections 7.8.4.2 to 7.8.4.4).
    pub(crate) const UNCOR_STATUS: u16 = 0x04;
    pub(crate) const UNCOR_MASK: u16 = 0x08;
    pub(crate) const UNCOR_SEVERITY: u16 = 0x0c;
    /// Severity after reset: data link, flow control, overflow, malformed TLP and internal errors are fatal.
    pub(crate) const SEVERITY_RESET: u32 = 1 << 4 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 22;
    /// Correctable Error Status and Mask (sections 7.8.4.5, 7.8.4.6).
    pub(crate) const COR_STATUS: u16 = 0x10;
    pub(crate) const COR_MASK: u16 = 0x14;
    /// Advanced Error Capabilities and Control (section 7.8.4.7): First Error Pointer in bits 4:0.
    pub(crate) const CONTROL: u16 = 0x18;
    pub(crate) const CONTROL_FIRST_ERROR: u32 = 0x1f;
    /// Header Log, four dwords (section 7.8.4.8).
    pub(crate) const HEADER_LOG: u16 = 0x1c;
}
use regs::*;

/// Uncorrectable Error Mask after reset (7.8.4.3): internal errors are masked.
const UNCOR_MASK_RESET: u32 = 1 << 22;
/// Correctable Error Mask after reset (7.8.4.6): advisory non-fatal and corrected internal errors are masked.
const COR_MASK_RESET: u32 = 1 << 13 | 1 << 14;

/// Errors that lose something (PCI Express Base 6.0, section 7.8.4.2): the bit in status, mask and severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum UncorrectableError {
    /// Data Link Protocol Error.
    DataLinkProtocol = 4,
    /// Poisoned TLP Received.
    PoisonedTlp = 12,
    /// Flow Control Protocol Error.
    FlowControlProtocol = 13,
    /// Completion Timeout.
    CompletionTimeout = 14,
    /// Completer Abort.
    CompleterAbort = 15,
    /// Unexpected Completion.
    UnexpectedCompletion = 16,
    /// Receiver Overflow.
    ReceiverOverflow = 17,
    /// Malformed TLP.
    MalformedTlp = 18,
    /// Unsupported Request Error.
    UnsupportedRequest = 20,
    /// Uncorrectable Internal Error.
    Internal = 22,
}

impl UncorrectableError {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::DataLinkProtocol,
        Self::PoisonedTlp,
        Self::FlowControlProtocol,
        Self::CompletionTimeout,
        Self::CompleterAbort,
        Self::UnexpectedCompletion,
        Self::ReceiverOverflow,
        Self::MalformedTlp,
        Self::UnsupportedRequest,
        Self::Internal,
    ];

    /// Its bit in the status, mask and severity registers.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Errors that the hardware has mended (PCI Express Base 6.0, section 7.8.4.5): the bit in status and mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CorrectableError {
    /// Receiver Error.
    Receiver = 0,
    /// Bad TLP.
    BadTlp = 6,
    /// Bad DLLP.
    BadDllp = 7,
    /// REPLAY_NUM Rollover.
    ReplayNumRollover = 8,
    /// Replay Timer Timeout.
    ReplayTimerTimeout = 12,
    /// Advisory Non-Fatal Error.
    AdvisoryNonFatal = 13,
    /// Corrected Internal Error.
    CorrectedInternal = 14,
}

impl CorrectableError {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Receiver,
        Self::BadTlp,
        Self::BadDllp,
        Self::ReplayNumRollover,
        Self::ReplayTimerTimeout,
        Self::AdvisoryNonFatal,
        Self::CorrectedInternal,
    ];

    /// Its bit in the status and mask registers.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The message that an error sends to the Root Complex (PCI Express Base 6.0, section 2.2.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorMessage {
    /// ERR_COR.
    Correctable,
    /// ERR_NONFATAL.
    NonFatal,
    /// ERR_FATAL.
    Fatal,
}

/// Advanced Error Reporting of an Endpoint, without ECRC and multiple header recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aer;

impl From<Aer> for ExtendedCapability {
    fn from(Aer: Aer) -> Self {
        let uncorrectable = UncorrectableError::ALL.iter().fold(0, |bits, error| bits | error.bit());
        let correctable = CorrectableError::ALL.iter().fold(0, |bits, error| bits | error.bit());
        let mut registers = vec![
            Register::u32(UNCOR_STATUS, 0).w1c(uncorrectable).sticky(uncorrectable),
            Register::u32(UNCOR_MASK, UNCOR_MASK_RESET).writable(uncorrectable).sticky(uncorrectable),
            Register::u32(UNCOR_SEVERITY, SEVERITY_RESET).writable(uncorrectable).sticky(uncorrectable),
            Register::u32(COR_STATUS, 0).w1c(correctable).sticky(correctable),
            Register::u32(COR_MASK, COR_MASK_RESET).writable(correctable).sticky(correctable),
            Register::u32(CONTROL, 0).sticky(CONTROL_FIRST_ERROR),
        ];
        registers.extend((0..4).map(|i| Register::u32(HEADER_LOG + 4 * i, 0).sticky(u32::MAX)));
        ExtendedCapability::new(AER_ID, 2, LENGTH, registers)
    }
}
