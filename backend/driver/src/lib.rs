#![forbid(unsafe_code)]
//! A small mlx5 driver: it brings a card up and moves frames as `mlx5_core` and `mlx5e` do, without a kernel or a VM.
//!
//! It is generic over [`Host`], what a driver needs of its machine: registers, memory that the device reaches, interrupts
//! and patience. [`in_process`] runs a card in the same thread under the stepping executor, with the order of its tasks
//! drawn from a seed; [`socket`] drives a card that runs, as a client of a function's socket.
//!
//! The driver is also a referee. It looks at queues only when an interrupt or event told it to, so a lost one is a
//! timeout; and it notes as an [`Error::Device`] whatever real drivers would crash on: an event for a command slot that is
//! idle, a completion for a work request that was never posted, a page returned that was never given.
//!
//! [`Driver::probe`] → [`Driver::open`] → [`Driver::send`], [`Driver::recv`] → [`Driver::close`] → [`Driver::remove`].

pub mod arena;
pub mod buffer;
pub mod caps;
pub mod command;
pub mod cq;
pub mod decompress;
pub mod driver;
pub mod error;
pub mod event;
pub mod host;
pub mod in_process;
pub mod net;
pub mod objects;
pub mod pages;
pub mod rq;
pub mod socket;
pub mod split;
pub mod sq;
pub mod steering;
pub mod striding;
pub mod traffic;

pub use driver::{Config, Driver, Farewell};
pub use error::Error;
pub use host::Host;
pub use net::NetConfig;
pub use traffic::{Received, SendOptions};
