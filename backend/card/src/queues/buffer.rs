//! The guest memory behind a queue: a list of pages, an offset into the first, and the arithmetic.

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};

use crate::error::{Stop, Syndrome, bad_param};

/// Pages of a queue.
#[derive(Debug, Clone)]
pub struct QueueBuffer {
    pages: Box<[u64]>,
    log_page: u32,
    offset: u64,
    len: u64,
    /// `len` less one, if that is a mask: queues usually have a power of two of bytes.
    mask: Option<u64>,
}

impl QueueBuffer {
    /// A queue of `len` bytes that starts `offset` bytes into the first of `pages`, each `1 << log_page` bytes.
    pub fn new(pages: &[u8], log_page: u32, offset: u64, len: u64) -> Result<Self, Stop> {
        if !(12..=31).contains(&log_page) {
            return bad_param(Syndrome::BadGeometry, format!("a page of 2^{log_page} bytes"));
        }
        let needed = (offset + len).div_ceil(1 << log_page);
        let list = pages.as_chunks::<8>().0;
        if (list.len() as u64) < needed {
            return bad_param(
                Syndrome::BadGeometry,
                format!("a queue of {len} bytes at offset {offset} needs {needed} pages, {} are given", list.len()),
            );
        }
        // The low 12 bits of an entry of a page list are flags or reserved.
        let pages = list[..needed as usize].iter().map(|p| u64::from_be_bytes(*p) & !0xfff).collect();
        Ok(Self { pages, log_page, offset, len, mask: len.is_power_of_two().then(|| len - 1) })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the queue has no memory.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of byte `at` (taken modulo the length), and how many bytes follow it in the same page and queue.
    pub fn locate(&self, at: u64) -> (u64, u64) {
        let at = match self.mask {
            Some(mask) => at & mask,
            None => at.checked_rem(self.len).unwrap_or(0),
        };
        let byte = self.offset + at;
        let page = (byte >> self.log_page) as usize;
        let within = byte & ((1 << self.log_page) - 1);
        let room = ((1u64 << self.log_page) - within).min(self.len - at);
        (self.pages.get(page).copied().unwrap_or(0).wrapping_add(within), room)
    }

    /// Reads from byte `at`, wrapping at the end of the queue.
    pub fn read<M: DmaSpace>(&self, mem: &M, attrs: Attrs, at: u64, mut buf: &mut [u8]) -> Result<(), DmaError> {
        let mut at = at;
        while !buf.is_empty() && self.len > 0 {
            let (addr, room) = self.locate(at);
            let n = (buf.len() as u64).min(room) as usize;
            mem.read(attrs, addr, &mut buf[..n])?;
            buf = &mut buf[n..];
            at += n as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_across_pages_and_around_the_end() {
        let pages: Vec<u8> = [0x10_0000u64, 0x20_0000, 0x30_0000].iter().flat_map(|p| p.to_be_bytes()).collect();
        let buffer = QueueBuffer::new(&pages, 12, 64, 8192).unwrap();
        assert_eq!(buffer.locate(0), (0x10_0040, 4096 - 64));
        assert_eq!(buffer.locate(4096 - 64), (0x20_0000, 4096));
        assert_eq!(buffer.locate(8192 - 64), (0x30_0000, 64));
        assert_eq!(buffer.locate(8192), (0x10_0040, 4096 - 64));
    }

    #[test]
    fn a_list_too_short_is_refused() {
        assert!(QueueBuffer::new(&[0; 8], 12, 0, 4097).is_err());
        assert!(QueueBuffer::new(&[0; 8], 12, 64, 4096).is_err());
        assert!(QueueBuffer::new(&[0; 8], 12, 0, 4096).is_ok());
        assert!(QueueBuffer::new(&[0; 8], 60, 0, 4096).is_err());
    }
}
