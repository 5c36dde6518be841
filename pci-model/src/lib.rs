#![forbid(unsafe_code)]
//! A model of any PCI Express function, without I/O: memory, interrupts and time are traits that others implement.
//! It knows nothing of mlx5.

pub mod dma;

pub use dma::{Attrs, DmaError, DmaSpace, ProcessingHint, Tph};
