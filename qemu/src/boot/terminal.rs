//! The user's terminal: its size, and its settings back as they were.

use std::io::{IsTerminal, stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// The terminal's size, or the usual one when there is none.
pub(crate) fn size() -> Size {
    match tcgetwinsize(stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size { rows: size.ws_row, columns: size.ws_col },
        _ => Size { rows: 24, columns: 80 },
    }
}

/// Whether somebody sits there.
pub(crate) fn is_interactive() -> bool {
    stdin().is_terminal()
}

/// Remembers the terminal's settings and restores them when dropped. QEMU switches to raw mode and back itself, but not
/// when it is killed.
#[derive(Debug)]
pub(crate) struct Restore {
    before: Option<Termios>,
}

impl Restore {
    pub(crate) fn remember() -> Self {
        Self { before: tcgetattr(stdin()).ok() }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
