//! Queue memory: pages that are not neighbours, so that the device must really use the page list.

use crate::error::Result;
use crate::host::Host;

/// Memory of a queue, seen by the device through a list of pages.
#[derive(Debug)]
pub struct Buffer {
    pages: Vec<u64>,
    log_page: u32,
    offset: usize,
    len: usize,
}

impl Buffer {
    /// `len` bytes that start `offset` bytes into the first of pages of `1 << log_page` bytes. The list runs from high
    /// addresses to low ones.
    ///
    /// # Errors
    /// No memory.
    pub fn new<H: Host>(host: &mut H, len: usize, log_page: u32, offset: usize) -> Result<Self> {
        let page = 1usize << log_page;
        let count = (offset + len).div_ceil(page);
        let mut pages = (0..count).map(|_| host.dma_alloc(page, page)).collect::<Result<Vec<_>>>()?;
        pages.reverse();
        Ok(Self { pages, log_page, offset, len })
    }

    /// The pages' addresses.
    pub fn pages(&self) -> &[u64] {
        &self.pages
    }

    /// log2 of the page size in bytes.
    pub fn log_page(&self) -> u32 {
        self.log_page
    }

    /// Bytes between the start of the first page and the queue.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of byte `at`, taken modulo the length, and how many bytes follow it in the same page and queue.
    pub fn locate(&self, at: usize) -> (u64, usize) {
        let at = at % self.len.max(1);
        let byte = self.offset + at;
        let within = byte & ((1 << self.log_page) - 1);
        let page = self.pages.get(byte >> self.log_page).copied().unwrap_or(0);
        (page + within as u64, ((1 << self.log_page) - within).min(self.len - at))
    }

    /// Reads from byte `at` on, round the end.
    pub fn read<H: Host>(&self, host: &H, mut at: usize, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let (address, room) = self.locate(at);
            let (now, rest) = buf.split_at_mut(room.min(buf.len()));
            host.mem_read(address, now);
            at += now.len();
            buf = rest;
        }
    }

    /// Writes from byte `at` on, round the end.
    pub fn write<H: Host>(&self, host: &mut H, mut at: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let (address, room) = self.locate(at);
            let (now, rest) = data.split_at(room.min(data.len()));
            host.mem_write(address, now);
            at += now.len();
            data = rest;
        }
    }

    /// Gives the pages back.
    pub fn free<H: Host>(self, host: &mut H) {
        for page in self.pages {
            host.dma_free(page);
        }
    }
}
