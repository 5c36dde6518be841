//! Reporting errors: what PCI Express Base 6.0, section 6.2.5 does to the registers, and the message that results.

use super::ConfigSpace;
use super::header::{COMMAND, COMMAND_SERR, STATUS, STATUS_SERR};
use crate::capability::{CorrectableError, ErrorMessage, UncorrectableError, aer_regs, express_regs};

impl ConfigSpace {
    /// Reports an error that the hardware has mended. Returns the message to send, if software enabled it.
    pub fn report_correctable(&mut self, error: CorrectableError) -> Option<ErrorMessage> {
        self.raise_devsta(express_regs::DEVSTA_CED);
        let masked = self.log_correctable(error);
        let enabled = self.devctl() & express_regs::DEVCTL_CERE != 0;
        (enabled && !masked).then_some(ErrorMessage::Correctable)
    }

    /// Reports an error that lost something. `header` is the header of the TLP at fault, in the Header Log's byte order
    /// (first byte in bits 31:24); `advisory` says that it is one of the cases of section 6.2.3.2.4, in which another
    /// party reports the error too: with non-fatal severity it then counts as correctable.
    ///
    /// Returns the message to send, if software enabled it.
    pub fn report_uncorrectable(
        &mut self,
        error: UncorrectableError,
        header: Option<[u32; 4]>,
        advisory: bool,
    ) -> Option<ErrorMessage> {
        let unsupported = error == UncorrectableError::UnsupportedRequest;
        if unsupported {
            self.raise_devsta(express_regs::DEVSTA_URD);
        }
        let fatal = self.is_fatal(error);
        if advisory && !fatal {
            self.raise_devsta(express_regs::DEVSTA_CED);
            if self.log_correctable(CorrectableError::AdvisoryNonFatal) {
                return None;
            }
            self.log_uncorrectable(error, header);
            let enabled = self.devctl() & express_regs::DEVCTL_CERE != 0;
            return enabled.then_some(ErrorMessage::Correctable);
        }
        self.raise_devsta(if fatal { express_regs::DEVSTA_FED } else { express_regs::DEVSTA_NFED });
        if self.log_uncorrectable(error, header) {
            return None;
        }
        self.signal(fatal, unsupported)
    }

    /// Severity of an error: the AER register's, or without AER the one that the register has after reset.
    fn is_fatal(&self, error: UncorrectableError) -> bool {
        let severity = self.aer.map_or(aer_regs::SEVERITY_RESET, |at| self.get32(at + aer_regs::UNCOR_SEVERITY));
        severity & error.bit() != 0
    }

    /// Sets the error's status bit. Returns whether the error is masked; without AER nothing is.
    fn log_correctable(&mut self, error: CorrectableError) -> bool {
        let Some(aer) = self.aer else { return false };
        let status = self.get32(aer + aer_regs::COR_STATUS);
        self.put32(aer + aer_regs::COR_STATUS, status | error.bit());
        self.get32(aer + aer_regs::COR_MASK) & error.bit() != 0
    }

    /// Sets the error's status bit and, for the first unmasked error, First Error Pointer and Header Log. Returns whether
    /// the error is masked.
    fn log_uncorrectable(&mut self, error: UncorrectableError, header: Option<[u32; 4]>) -> bool {
        let Some(aer) = self.aer else { return false };
        let status = self.get32(aer + aer_regs::UNCOR_STATUS);
        self.put32(aer + aer_regs::UNCOR_STATUS, status | error.bit());
        if self.get32(aer + aer_regs::UNCOR_MASK) & error.bit() != 0 {
            return true;
        }
        // The pointer is valid, and the log in use, while the status bit that it points to is set (6.2.4.2).
        let control = self.get32(aer + aer_regs::CONTROL);
        if status >> (control & aer_regs::CONTROL_FIRST_ERROR) & 1 == 0 {
            let control = (control & !aer_regs::CONTROL_FIRST_ERROR) | error as u32;
            self.put32(aer + aer_regs::CONTROL, control);
            for (at, dword) in (0u16..).step_by(4).zip(header.unwrap_or_default()) {
                self.put32(aer + aer_regs::HEADER_LOG + at, dword);
            }
        }
        false
    }

    /// The message for an unmasked uncorrectable error: enabled by SERR# Enable, or by the bits of Device Control.
    fn signal(&mut self, fatal: bool, unsupported: bool) -> Option<ErrorMessage> {
        let serr = self.get16(COMMAND) & COMMAND_SERR != 0;
        let devctl = self.devctl();
        let severity = if fatal { express_regs::DEVCTL_FERE } else { express_regs::DEVCTL_NFERE };
        let unsupported_enabled = !unsupported || devctl & express_regs::DEVCTL_URRE != 0;
        if !serr && (devctl & severity == 0 || !unsupported_enabled) {
            return None;
        }
        if serr {
            self.put16(STATUS, self.get16(STATUS) | STATUS_SERR);
        }
        Some(if fatal { ErrorMessage::Fatal } else { ErrorMessage::NonFatal })
    }
}
