//! What a driver needs of its machine.

use crate::error::Result;

/// The machine that a function is plugged into, seen by the function's driver.
pub trait Host {
    /// Reads a dword of BAR 0; its value as the (big-endian) register has it.
    fn bar_read32(&mut self, offset: u64) -> u32;
    /// Writes a dword of BAR 0; the bytes on the bus are `value`, big-endian.
    fn bar_write32(&mut self, offset: u64, value: u32);
    /// Writes eight bytes of BAR 0 in one access, big-endian.
    fn bar_write64(&mut self, offset: u64, value: u64);

    /// Allocates `len` zero bytes that the device can reach, aligned to `align` (a power of two); never at address 0.
    ///
    /// # Errors
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    fn dma_alloc(&mut self, len: usize, align: usize) -> Result<u64>;
    /// Gives memory of [`Host::dma_alloc`] back. Any other address is ignored.
    fn dma_free(&mut self, iova: u64);
    /// Bytes that are allocated now.
    fn dma_in_use(&self) -> usize;
    /// Reads memory. Bytes outside of it read as 0xff, as on a bus.
    fn mem_read(&self, iova: u64, buf: &mut [u8]);
    /// Writes memory; outside of it nothing happens.
    fn mem_write(&mut self, iova: u64, data: &[u8]);
    /// Reads one byte; later reads are not reordered before it.
    fn load_acquire_u8(&self, iova: u64) -> u8;
    /// Writes an aligned big-endian dword; it is not reordered before earlier writes.
    fn store_release_be32(&mut self, iova: u64, value: u32);

    /// Number of MSI-X vectors.
    fn vectors(&self) -> u16;
    /// How often vector `vector` was raised since the machine started.
    fn interrupts(&mut self, vector: u16) -> u64;
    /// Lets time pass while the driver waits: `waited` counts the calls of one wait, from 0. `false` means that waiting
    /// longer is pointless.
    fn relax(&mut self, waited: u32) -> bool;
    /// The time in nanoseconds.
    fn now(&self) -> u64;
}
