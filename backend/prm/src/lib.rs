#![forbid(unsafe_code)]
//! The mlx5 programming interface as data: where every field of a command, context, work queue entry, completion, event,
//! register and capability lies, and what numbers mean. It has no behaviour.
//!
//! * [`mod@layouts`]: one module for each structure, named as the kernel names it; [`Field`] reads and writes.
//! * [`opcode`], [`event`], [`register`], [`states`], [`steering`], [`scheduling`], [`wqe`], [`capability`]: numbers with names, all open.
//! * [`uar`]: the doorbells.
//! * [`command`]: which layouts a command has. [`search`]: a field by its path, for fault rules. [`decode`]: a structure
//!   field by field, for people. [`views`]: what depends on another field.
//!
//! ```
//! use mlx5emu_prm::layouts::{create_sq_in, sqc};
//! use mlx5emu_prm::opcode::Opcode;
//! use mlx5emu_prm::states::SqState;
//!
//! let mut input = vec![0u8; create_sq_in::SIZE];
//! create_sq_in::opcode.set(&mut input, Opcode::CREATE_SQ.0.into());
//! let ctx = create_sq_in::ctx.of_mut(&mut input);
//! sqc::state.set(ctx, SqState::RDY.0.into());
//!
//! let shown = mlx5emu_prm::decode::decode_input(&input);
//! let shown: Vec<String> = shown.iter().map(|(path, value)| format!("{path}={value}")).collect();
//! assert_eq!(shown, ["opcode=CREATE_SQ", "ctx.state=RDY"]);
//! ```
//!
//! The kernel is the reference. `facts/` says where each kernel line of `kernels.txt` has the same fields, and the tests
//! compare; `scripts/check-prm --refresh` makes the facts from the kernel's sources, `scripts/check-prm --print STRUCT`
//! prints a structure in this table's syntax. A field that no kernel line has does not pass; one that only some have is
//! listed as absent in the facts of the others.
//!
//! What it is not: a second definition of what a command *does* (that is the card's), nor of network packets.

pub mod capability;
pub mod command;
pub mod decode;
pub mod event;
pub mod field;
pub mod layouts;
pub mod names;
pub mod opcode;
pub mod register;
pub mod scheduling;
pub mod search;
pub mod states;
pub mod steering;
pub mod uar;
pub mod views;
pub mod wqe;

pub use field::{Area, Field, Layout, Source};
