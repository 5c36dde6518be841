#![forbid(unsafe_code)]
//! Layouts of the mlx5 programming interface: one declarative table.

pub mod capability;
pub mod event;
pub mod field;
pub mod layouts;
pub mod names;
pub mod opcode;
pub mod register;
pub mod states;
pub mod steering;
pub mod uar;
pub mod wqe;

pub use field::{Area, Field, Layout, Source};
