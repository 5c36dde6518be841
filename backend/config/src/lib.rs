#![forbid(unsafe_code)]
//! What every part of mlx5emu may know about a card: its description (`CARD.toml`), the names of its PCI functions, where each
//! is plugged into the guest's PCI Express tree, the directory of its sockets, the QEMU arguments that attach it, how to talk
//! to QEMU's monitor, and the protocol of its control socket.
//!
//! Nothing here runs a card and nothing here knows a register: the room depends on no other room.
//!
//! ```
//! use mlx5emu_config::{Card, FunctionName, Placement};
//!
//! let card = Card::parse("name = \"lab\"\nports = 2\n").unwrap();
//! assert_eq!(card.functions(), [FunctionName::pf(0), FunctionName::pf(1)]);
//! assert_eq!(Placement::of(&card).functions[1].bdf(), "01:00.1");
//! ```

mod card;
pub mod control;
pub mod dir;
pub mod fault;
mod function;
mod keys;
mod parse;
mod placement;
mod qemu_args;
pub mod qmp;
mod size;
mod text;
mod timeouts;
mod wire;

pub use card::{
    BAR0_BYTES, Card, Firmware, FwVersion, Limits, MacAddr, PageIds, Pages, PciAnchor, Port, SF_WINDOW_BYTES, Slips,
    Speed, VfPages,
};
pub use function::{FunctionName, FunctionNameError};
pub use keys::CardError;
pub use placement::{PlacedFunction, Placement, PlacementError, RootPort};
pub use qemu_args::{ArgsError, Format, device_args, qemu_args};
pub use size::{MemSize, MemSizeError};
pub use text::printable;
pub use timeouts::Timeouts;
pub use wire::{Role, Wire, WireError};
