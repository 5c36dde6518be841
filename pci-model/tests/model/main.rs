//! The model from outside, as its users see it.
#![allow(clippy::expect_used, clippy::panic)] // the helpers of tests fail them this way

mod common;
mod errors;
mod hostile;
mod qemu;
mod registers;
mod sriov;
mod test_space;
