#![forbid(unsafe_code)]
//! A card that runs: it puts `backend/card`, `backend/vfio-user` and `backend/wire` together.
//!
//! * [`start`] makes a card from its description, with one socket a function and a control socket, and confines itself.
//! * [`threads`] is the executor of the product; [`stepper`] is the one for tests and replay: one thread, a virtual
//!   clock, the next step chosen by a seed. Both take their steps from [`mod@step`].
//! * [`function`] is one PCI function behind its socket: configuration space, BAR0, interrupts, resets.
//! * [`control`] answers on the control socket: inspection and recorded commands.
//!
//! # Who waits for whom
//! An I/O thread (one a function) waits for its socket and for the gate, whose holds are short. A worker waits for the
//! gate, and for work. A wire's thread waits for its socket and, at the coming and going of its other end, for the gate. A function's messenger (one a function, if it needs any) and the control socket's threads are the
//! only ones that wait for a client, and hold nothing meanwhile.
//!
//! It is not a device: it knows neither opcodes nor packets.

mod clock;
mod health;
mod memory;
mod monitor;
mod personality;
mod sandbox;
mod start;
mod wires;

pub mod control;
pub mod function;
pub mod space;
pub mod step;
pub mod stepper;
pub mod threads;

pub use clock::Clock;
pub use start::{Confinement, Running, StartError, StartOptions, start};

#[cfg(test)]
mod tests;
