#![forbid(unsafe_code)]
//! A model of any PCI Express function: what is on its side of the link.
//!
//! * [`config`]: configuration space, declared as registers and [`capability`] structures; a write or reset returns what
//!   the function must act on.
//! * [`dma`]: memory requests with their attributes, as a trait; [`testing`] implements it in memory.
//! * [`msix`]: where table and pending bits lie.
//! * [`Generation`]: which work is older than the last reset.
//!
//! It does no I/O, knows no time, and knows nothing of mlx5: memory and interrupts are a trait that others implement.
//! The sections that the constants cite are those of the PCI Express Base Specification, revision 6.0.
//!
//! ```
//! use mlx5emu_pci_model::capability::{Aer, DeviceSerialNumber, Express, LinkSpeed, Msix, PowerManagement, VendorSpecific};
//! use mlx5emu_pci_model::{Bar, ConfigBuilder, Identity, MsixLayout, ResetKind};
//!
//! let identity = Identity {
//!     vendor: 0x15b3,
//!     device: 0x101d,
//!     revision: 0,
//!     class_code: 0x02_0000,
//!     subsystem_vendor: 0x15b3,
//!     subsystem: 0x0043,
//! };
//! let msix = MsixLayout { vectors: 64, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 };
//! let mut config = ConfigBuilder::new(identity)
//!     .multifunction(true)
//!     .keep_bars_on_flr(true) // behind QEMU
//!     .bar(0, Bar::memory64(32 << 20).prefetchable())
//!     .capability_at(0x60, Express::endpoint(LinkSpeed::Gts16, 16))
//!     .capability(Msix(msix))
//!     .capability(VendorSpecific::inert(0x18))
//!     .capability(PowerManagement)
//!     .extended(Aer)
//!     .extended_at(0x1c0, DeviceSerialNumber(0x0011_22ff_fe33_4455))
//!     .build()?;
//!
//! let effects = config.write(0x04, &0x0006u16.to_le_bytes());
//! assert_eq!((effects.bus_master, effects.memory_decode), (Some(true), Some(true)));
//! let effects = config.reset(ResetKind::Flr);
//! assert_eq!(effects.bus_master, Some(false));
//! # Ok::<(), mlx5emu_pci_model::config::BuildError>(())
//! ```

pub mod capability;
pub mod config;
pub mod dma;
mod generation;
pub mod msix;
pub mod testing;
pub mod vpd;

pub use config::{Bar, ConfigBuilder, ConfigSpace, Effects, Identity, ResetKind};
pub use dma::{Attrs, DmaError, DmaSpace, ProcessingHint, Tph};
pub use generation::{Generation, GenerationCounter};
pub use msix::MsixLayout;
