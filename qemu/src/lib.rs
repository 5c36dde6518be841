#![forbid(unsafe_code)]
//! From a card to a running guest: provisioning, the guest's image, kernels, and booting QEMU.
//!
//! * [`setup`] finds or provisions QEMU, the guest's userland and kernels;
//! * [`kernel`] says what a kernel SPEC means;
//! * [`build`] builds kernels;
//! * [`boot`] runs a guest and says how it ended;
//! * [`newc`] writes initramfs archives.
//!
//! This crate knows neither mlx5 nor the card: it boots a guest with the QEMU arguments that it is given. How functions
//! become arguments is in `mlx5emu-config`; what runs in the guest is in `mlx5emu-guest-tests`.

mod apt;
pub mod boot;
pub mod build;
mod cache;
mod error;
mod host;
pub mod kernel;
mod modules;
pub mod newc;
mod program;
pub mod progress;
pub mod setup;
mod userland;

pub use cache::Cache;
pub use error::SetupError;
pub use kernel::{Kernel, KernelError, Spec};
pub use program::{QEMU_FLOOR, QEMU_TESTED, Qemu};
pub use userland::Userland;
