#![forbid(unsafe_code)]
//! A model of any PCI Express function, without I/O: memory, interrupts and time are traits that others implement.
//! It knows nothing of mlx5.

pub mod capability;
pub mod config;
pub mod dma;
mod generation;
pub mod msix;
pub mod testing;

pub use config::{Bar, ConfigBuilder, ConfigSpace, Effects, Identity, ResetKind};
pub use dma::{Attrs, DmaError, DmaSpace, ProcessingHint, Tph};
pub use generation::{Generation, GenerationCounter};
pub use msix::MsixLayout;
