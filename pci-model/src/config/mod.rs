//! Configuration space of one function: registers, capabilities, BARs, and what writing to them asks for.
//!
//! A space is declared with a [`ConfigBuilder`] and then only read, written and reset. Every access is legal here,
//! whatever its size and alignment: a guest can try them all.

mod bar;
mod builder;
mod effects;
mod errors;
mod header;
mod register;
mod space;
mod virtual_functions;

pub use bar::{BAR_COUNT, Bar};
pub use builder::{BuildError, ConfigBuilder, Identity};
pub use effects::{BarSet, Effects, MsixControl, PowerState};
pub use register::{Register, ResetKind};
pub use space::{ConfigSpace, SIZE};
