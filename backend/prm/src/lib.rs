#![forbid(unsafe_code)]
//! Layouts of the mlx5 programming interface: one declarative table.

pub mod field;
pub mod layouts;

pub use field::{Area, Field, Layout, Source};
