#![forbid(unsafe_code)]
//! Layouts of the mlx5 programming interface: one declarative table.

pub mod capability;
pub mod command;
pub mod decode;
pub mod event;
pub mod field;
pub mod layouts;
pub mod names;
pub mod opcode;
pub mod register;
pub mod search;
pub mod states;
pub mod steering;
pub mod uar;
pub mod views;
pub mod wqe;

pub use field::{Area, Field, Layout, Source};
