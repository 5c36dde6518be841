//! What an executor needs of a function's memory beside DMA: the part that works by message, outside the gate.

use std::sync::Arc;

use mlx5emu_pci_model::DmaSpace;

/// How the mapped memory and what the client reads at the same address compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// The same bytes: the client shares the memory that it gave.
    Shared,
    /// Other bytes: what the client's processors write does not arrive in the memory that it gave.
    Private,
    /// The client did not answer.
    Unknown,
}

/// A function's memory as an executor sees it.
pub trait Space: DmaSpace + 'static {
    /// The part that works by message. It outlives the space and is used without the gate.
    fn outside(&self) -> Arc<dyn Outside>;

    /// Fills `buf` from memory that is mapped in this process, whatever Bus Master Enable says. False if some of it is
    /// not mapped.
    fn mapped(&self, addr: u64, buf: &mut [u8]) -> bool;
}

/// Memory that only the client can reach. All methods but [`Outside::pending`] may wait for the client, two seconds a
/// message, and are called by threads that hold nothing.
pub trait Outside: Send + Sync {
    /// Brings `len` bytes at `addr` in, for the step that asked for them to be repeated. An address that the client
    /// refuses is no failure here: the repeated step's access is refused.
    ///
    /// # Errors
    /// The client does not do its part; repeating the step would lead here again.
    fn stage(&self, addr: u64, len: u32) -> Result<(), String>;

    /// The step that bytes were staged for is over: the next one wants fresh ones.
    fn settle(&self);

    /// Whether writes or interrupts wait for [`Outside::flush`].
    fn pending(&self) -> bool;

    /// Sends what waits: the writes, then the interrupts. What cannot be sent is dropped.
    fn flush(&self);

    /// Compares the `len` bytes that `peek` reads from mapped memory with what the client reads at `addr`.
    fn compare(&self, addr: u64, len: usize, peek: &mut dyn FnMut(&mut [u8]) -> bool) -> Agreement;
}
