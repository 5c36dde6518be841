#![forbid(unsafe_code)]
//! The card, sans-IO: a ConnectX-class device as state and handlers. It has no thread, socket, clock or randomness of its
//! own; two executors in `backend/server` run it (worker threads, and a stepper that a seed drives).
//!
//! How to read it, following a command downwards:
//!
//! 1. [`function::front`]: the guest writes the command doorbell; a slot is queued.
//! 2. [`commands::queue`]: the entry and its mailboxes are fetched (gate shared), executed (gate exclusive) and answered
//!    (gate shared).
//! 3. [`commands::opcodes`]: the opcode table, the only place that knows every room.
//! 4. The room that owns the object: [`queues`] (EQ, CQ, WQ), [`memory`] (PD, mkey), [`ethernet`] (SQ, RQ, TIR …, the
//!    ports), [`eswitch`] (vports), [`function`] (HCA state, pages, capabilities).
//!
//! And a packet: the send queue's doorbell is a bit in the front; [`ethernet::send`] reads WQEs, [`ethernet::port`] carries
//! the frame to the other end of the wire ([`ethernet::uplink`] if that is outside the card), [`ethernet::receive`] finds the receive queue by flow tables and fills a WQE,
//! [`queues::cq`] and [`queues::eq`] tell the driver.
//!
//! # The gate
//! The executor keeps a [`Card`] in one fair reader-writer lock. Methods that take `&self` are bursts and run with the lock
//! shared; methods that take `&mut self` change or take away something and run with it exclusive. Inside, only leaf locks
//! are taken, in the order send queue, receive queue, CQ, EQ, never two of a kind.

pub mod capture;
pub mod card;
pub mod commands;
pub mod error;
pub mod eswitch;
pub mod ethernet;
pub mod faults;
pub mod function;
pub mod inspect;
pub mod limiter;
pub mod memory;
pub mod notices;
pub mod queues;
pub mod rdma;
pub mod serve;
pub mod table;

pub use card::{
    Card, FunctionIndex, FunctionSetup, Garbage, NeedsFetch, PageCounts, Personality, PortSetup, ResetKind, Served,
    VfPageCounts,
};
pub use ethernet::uplink::Uplink;
pub use function::front::Front;
pub use function::pages::inject::{PageChange, PageTarget};
pub use function::pages::{PageIds, PageManner};
