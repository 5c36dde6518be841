//! The server side of the vfio-user protocol, as QEMU's `-device vfio-user-pci` speaks it, and the guest memory that
//! comes with it.
//!
//! # What it is for
//! One process offers any number of PCI functions, each on a unix socket of its own. For each of them:
//! * [`serve`] runs the socket: one thread, its only reader, one client at a time. What the function offers is a
//!   [`Device`].
//! * [`FunctionMemory`] is the function's address space, an implementation of [`mlx5emu_pci_model::DmaSpace`]: guest
//!   RAM that QEMU shared is accessed in place; everything else goes by message, outside the gate, with [`Messages`].
//! * [`Irqs`] holds the function's MSI-X vectors and their eventfds.
//! * [`Client`] is the other end of the socket, for whoever has to read or write QEMU's memory by message.
//! * [`client`] is the other side of all this: a client that behaves as QEMU does, for tests and benches.
//!
//! # What it is not
//! It is no device model and knows nothing of what the function does: registers, config space, queues are the
//! [`Device`]'s. It never mmaps a BAR to the client (that would switch posted writes off in QEMU), has no migration and
//! no dirty tracking, no legacy interrupt and no MSI (MSI-X only), and makes no use of a second socket.
//!
//! # Threads
//! A [`Device`] is called on the socket's thread and must answer in microseconds. QEMU serves a message of ours only
//! when it waits for none of its own, so no method of [`Device`] may wait for one: [`Client::dma_read`] and
//! [`Client::dma_write`] refuse to be called there. A client that does not read its socket fills its own outbox, and is
//! disconnected when that is full; nothing else notices.

mod attendant;
mod commands;
mod connection;
mod device;
mod framing;
mod irqs;
mod link;
mod memory;
mod ratelimit;
mod requests;
mod server;
mod version;

pub mod client;
pub mod proto;

pub use device::{Device, DeviceInfo, MapError, RegionInfo};
pub use irqs::{IrqError, Irqs};
pub use memory::backing::{Backing, BackingError, SharedMap};
pub use memory::function::{FunctionMemory, Mapping, Perm};
pub use memory::interval::IntervalMap;
pub use memory::messages::{Messages, Session, Sharing, StageError};
pub use requests::{Client, DmaLayout, MessageError};
pub use server::{ServeError, Stop, serve};
