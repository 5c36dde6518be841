//! What ends the command: one sentence and an exit status.

use std::fmt::Display;

/// The exit status for a wrong command line, card file or directory.
pub(crate) const USAGE: u8 = 2;
/// The exit status for anything else that went wrong.
pub(crate) const FAILED: u8 = 1;
/// The exit status when the virtual machine or the card failed, so that `git bisect run` skips.
pub(crate) const NOT_RUN: u8 = 125;

/// Why the command ends without having done its work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) code: u8,
    /// One sentence.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with exit status `code`.
    pub(crate) fn new(code: u8, message: impl Display) -> Failure {
        Failure { code, message: message.to_string() }
    }

    /// A wrong command line, card file or directory.
    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure::new(USAGE, message)
    }

    /// Anything else that the command could not do.
    pub(crate) fn failed(message: impl Display) -> Failure {
        Failure::new(FAILED, message)
    }

    /// The virtual machine or the card failed.
    pub(crate) fn not_run(message: impl Display) -> Failure {
        Failure::new(NOT_RUN, message)
    }
}

/// Nobody reads our output any more (`mlx5emu … | head`): that is the reader's choice, not an error.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { FAILED };
        Failure::new(code, format_args!("cannot write to standard output: {error}"))
    }
}
