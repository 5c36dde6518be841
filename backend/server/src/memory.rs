//! The two kinds of memory that a card is run with: a VM's, and one for tests.

use std::sync::Arc;

use mlx5emu_pci_model::testing::TestSpace;
use mlx5emu_vfio_user::{FunctionMemory, Messages, Session, Sharing, StageError};
use parking_lot::Mutex;

use crate::space::{Agreement, Outside, Space};

impl Space for FunctionMemory {
    fn outside(&self) -> Arc<dyn Outside> {
        Arc::new(ByMessage { messages: self.messages(), session: Mutex::default() })
    }

    fn mapped(&self, addr: u64, buf: &mut [u8]) -> bool {
        self.peek(addr, buf).is_ok()
    }
}

/// A function's memory behind its socket, and what the step that it is at has fetched from there.
struct ByMessage {
    messages: Arc<Messages>,
    session: Mutex<Option<Session>>,
}

impl Outside for ByMessage {
    fn stage(&self, addr: u64, len: u32) -> Result<(), String> {
        // Taken out meanwhile: a settle during the wait must not have to wait.
        let mut session = self.session.lock().take().unwrap_or_else(|| self.messages.session());
        let staged = session.stage(addr, len);
        *self.session.lock() = Some(session);
        match staged {
            // The repeated step finds the connection or the generation gone.
            Ok(()) | Err(StageError::NoClient | StageError::Reset) => Ok(()),
            Err(error) => Err(format!("{len} bytes at {addr:#x} could not be read from the client: {error}")),
        }
    }

    fn settle(&self) {
        drop(self.session.lock().take());
    }

    fn pending(&self) -> bool {
        self.messages.needs_flush()
    }

    fn flush(&self) {
        if let Err(error) = self.messages.flush() {
            log::debug!("writes by message are lost: {error}");
        }
    }

    fn compare(&self, addr: u64, len: usize, peek: &mut dyn FnMut(&mut [u8]) -> bool) -> Agreement {
        let unmapped = mlx5emu_pci_model::DmaError::Unmapped { addr };
        let peek = |buf: &mut [u8]| if peek(buf) { Ok(()) } else { Err(unmapped) };
        match self.messages.check_shared(addr, len, peek) {
            Ok(Sharing::Shared) => Agreement::Shared,
            Ok(Sharing::Private) => Agreement::Private,
            Ok(Sharing::Unknown) | Err(_) => Agreement::Unknown,
        }
    }
}

impl Space for TestSpace {
    fn outside(&self) -> Arc<dyn Outside> {
        Arc::new(InProcess(self.clone()))
    }

    fn mapped(&self, addr: u64, buf: &mut [u8]) -> bool {
        self.peek(addr, buf)
    }
}

/// Memory without a client: what was marked as remote is fetched at once and then stays near.
struct InProcess(TestSpace);

impl Outside for InProcess {
    fn stage(&self, addr: u64, len: u32) -> Result<(), String> {
        self.0.fetch(addr, len);
        Ok(())
    }

    fn settle(&self) {}

    fn pending(&self) -> bool {
        false
    }

    fn flush(&self) {}

    fn compare(&self, _: u64, _: usize, _: &mut dyn FnMut(&mut [u8]) -> bool) -> Agreement {
        Agreement::Shared
    }
}
