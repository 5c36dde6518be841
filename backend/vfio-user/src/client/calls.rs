//! The commands that QEMU sends, as methods.

use std::os::fd::AsFd;

use super::memory::{Area, Interrupt};
use super::{ClientError, QemuClient, malformed};
use crate::proto::{self, u32_at, u64_at};

/// QEMU 11.1's capabilities in its VERSION message.
const QEMU_CAPABILITIES: &str = concat!(
    "{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \"max_dma_maps\": 65535, ",
    "\"max_data_xfer_size\": 1048576, \"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, ",
    "\"write_multiple\": true}}\0"
);

/// What the server says of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionDescription {
    /// [`proto::REGION_FLAG_READ`] and others.
    pub flags: u32,
    /// Size in bytes.
    pub size: u64,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn long_words(body: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|w| body.extend_from_slice(&w.to_le_bytes()));
}

fn access(region: u32, offset: u64, count: usize) -> Vec<u8> {
    let mut body = offset.to_le_bytes().to_vec();
    body.extend_from_slice(&words(&[region, count as u32]));
    body
}

impl QemuClient {
    /// VERSION, as QEMU sends it; checks that the reply is one that QEMU accepts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn version(&self) -> Result<String, ClientError> {
        let mut body = vec![0; 4];
        body.extend_from_slice(QEMU_CAPABILITIES.as_bytes());
        let reply = self.request(proto::VERSION, &body, &[])?;
        if proto::HEADER_SIZE + reply.len() > proto::MAX_VERSION_REPLY {
            return Err(malformed(proto::VERSION, format!("{} bytes do not fit QEMU's buffer", reply.len() + 16)));
        }
        match reply.split_first_chunk::<4>() {
            Some(([0, 0, 0, 0], [json @ .., 0])) => Ok(String::from_utf8_lossy(json).into_owned()),
            _ => Err(malformed(proto::VERSION, "neither 0.0 nor NUL-terminated")),
        }
    }

    fn map_message(&self, first: u64, size: u64, offset: u64, flags: u32) -> Vec<u8> {
        let mut body = words(&[proto::DMA_MAP_BODY as u32, flags]);
        long_words(&mut body, &[offset, first, size]);
        body
    }

    /// Announces RAM from `offset` on at address `first`; does not wait (see [`Self::commit`]).
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn map_ram(&self, first: u64, size: u64, offset: u64) -> Result<u16, ClientError> {
        self.shared.place.lock().push(Area::Shared { first, size, offset });
        let body = self.map_message(first, size, offset, proto::DMA_MAP_READ | proto::DMA_MAP_WRITE);
        self.send(proto::DMA_MAP, &body, &[self.ram().fd()])
    }

    /// Announces RAM that the function may only read.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn map_rom(&self, first: u64, size: u64, offset: u64) -> Result<u16, ClientError> {
        self.shared.place.lock().push(Area::Shared { first, size, offset });
        let body = self.map_message(first, size, offset, proto::DMA_MAP_READ);
        self.send(proto::DMA_MAP, &body, &[self.ram().fd()])
    }

    /// Announces RAM with a descriptor, but has other bytes there itself: a backend without `share=on`.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn map_private(&self, first: u64, offset: u64, bytes: Vec<u8>) -> Result<u16, ClientError> {
        let body = self.map_message(first, bytes.len() as u64, offset, proto::DMA_MAP_READ | proto::DMA_MAP_WRITE);
        self.shared.place.lock().push(Area::Private { first, bytes });
        self.send(proto::DMA_MAP, &body, &[self.ram().fd()])
    }

    /// Announces memory without a descriptor.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn map_without_fd(&self, first: u64, bytes: Vec<u8>) -> Result<u16, ClientError> {
        let body = self.map_message(first, bytes.len() as u64, 0, proto::DMA_MAP_READ | proto::DMA_MAP_WRITE);
        self.shared.place.lock().push(Area::Private { first, bytes });
        self.send(proto::DMA_MAP, &body, &[])
    }

    /// Puts memory into the client's address space without telling the server (as QEMU does with devices' registers).
    pub fn place_silently(&self, first: u64, bytes: Vec<u8>) {
        self.shared.place.lock().push(Area::Private { first, bytes });
    }

    /// The bytes that the client itself sees at `addr`; `None` if not all of them are there.
    pub fn peek(&self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut buf = vec![0; len];
        self.shared.space_access(addr, &mut super::Place::Read(&mut buf)).ok()?;
        Some(buf)
    }

    /// Waits for the replies to pipelined maps, oldest first.
    ///
    /// # Errors
    /// The first refusal.
    pub fn commit(&self, ids: impl IntoIterator<Item = u16>) -> Result<(), ClientError> {
        let replies: Vec<_> = ids.into_iter().map(|id| self.wait(id)).collect();
        replies.into_iter().try_for_each(|r| match r?.len() {
            0 => Ok(()),
            n => Err(malformed(proto::DMA_MAP, format!("{n} bytes of body"))),
        })
    }

    /// Takes a range away; the bytes that the server says were mapped.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn unmap(&self, first: u64, size: u64) -> Result<u64, ClientError> {
        self.unmap_flags(0, first, size)
    }

    /// Takes all ranges away.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn unmap_all(&self) -> Result<u64, ClientError> {
        self.unmap_flags(proto::DMA_UNMAP_ALL, 0, 0)
    }

    fn unmap_flags(&self, flags: u32, first: u64, size: u64) -> Result<u64, ClientError> {
        let mut body = words(&[proto::DMA_UNMAP_BODY as u32, flags]);
        long_words(&mut body, &[first, size]);
        let reply = self.sized(proto::DMA_UNMAP, &body, proto::DMA_UNMAP_BODY)?;
        Ok(u64_at(&reply, 16))
    }

    /// A request whose reply has a body of exactly `size` bytes: a longer one would break QEMU's stream.
    fn sized(&self, command: u16, body: &[u8], size: usize) -> Result<Vec<u8>, ClientError> {
        let reply = self.request(command, body, &[])?;
        if reply.len() == size {
            return Ok(reply);
        }
        Err(malformed(command, format!("{} bytes of body instead of {size}", reply.len())))
    }

    /// Flags, number of regions, number of interrupt indices.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn device_info(&self) -> Result<(u32, u32, u32), ClientError> {
        let body = words(&[16, 0, 0, 0]);
        let reply = self.sized(proto::DEVICE_GET_INFO, &body, proto::DEVICE_INFO_BODY)?;
        Ok((u32_at(&reply, 4), u32_at(&reply, 8), u32_at(&reply, 12)))
    }

    /// One region.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn region_info(&self, index: u32) -> Result<RegionDescription, ClientError> {
        let mut body = words(&[proto::REGION_INFO_BODY as u32, 0, index, 0]);
        long_words(&mut body, &[0, 0]);
        let reply = self.sized(proto::DEVICE_GET_REGION_INFO, &body, proto::REGION_INFO_BODY)?;
        Ok(RegionDescription { flags: u32_at(&reply, 4), size: u64_at(&reply, 16) })
    }

    /// Number of interrupts of an index.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn irq_count(&self, index: u32) -> Result<u32, ClientError> {
        let body = words(&[proto::IRQ_INFO_BODY as u32, 0, index, 0]);
        let reply = self.sized(proto::DEVICE_GET_IRQ_INFO, &body, proto::IRQ_INFO_BODY)?;
        Ok(u32_at(&reply, 12))
    }

    /// Reads a region and waits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn region_read(&self, region: u32, offset: u64, buf: &mut [u8]) -> Result<(), ClientError> {
        let size = proto::REGION_ACCESS_BODY + buf.len();
        let reply = self.sized(proto::REGION_READ, &access(region, offset, buf.len()), size)?;
        buf.copy_from_slice(&reply[proto::REGION_ACCESS_BODY..]);
        Ok(())
    }

    /// Reads a little-endian dword.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn region_read_u32(&self, region: u32, offset: u64) -> Result<u32, ClientError> {
        let mut b = [0; 4];
        self.region_read(region, offset, &mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    /// Writes a region and waits, as QEMU does for configuration space.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn region_write(&self, region: u32, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        let mut body = access(region, offset, data.len());
        body.extend_from_slice(data);
        self.sized(proto::REGION_WRITE, &body, proto::REGION_ACCESS_BODY).map(|_| ())
    }

    /// Writes a region and does not wait, as QEMU does for memory BARs.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn region_write_posted(&self, region: u32, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        let mut body = access(region, offset, data.len());
        body.extend_from_slice(data);
        self.post(proto::REGION_WRITE, &body, &[])
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn config_read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ClientError> {
        self.region_read(proto::CONFIG_REGION, offset, buf)
    }

    /// Writes configuration space.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn config_write(&self, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        self.region_write(proto::CONFIG_REGION, offset, data)
    }

    /// SET_IRQS for MSI-X with any flags, count and eventfds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set_irqs(&self, flags: u32, start: u32, count: u32, fds: &[&Interrupt]) -> Result<(), ClientError> {
        let body = words(&[proto::IRQ_SET_BODY as u32, flags, proto::IRQ_MSIX, start, count]);
        let fds: Vec<_> = fds.iter().map(|i| i.as_fd()).collect();
        let reply = self.request(proto::DEVICE_SET_IRQS, &body, &fds)?;
        if reply.is_empty() { Ok(()) } else { Err(malformed(proto::DEVICE_SET_IRQS, "a body")) }
    }

    /// Enables MSI-X as QEMU does: with nothing unmasked yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn enable_msix(&self) -> Result<(), ClientError> {
        self.set_irqs(proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER, 0, 1, &[])
    }

    /// Unmasks one vector: it signals `interrupt` from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn wire_vector(&self, vector: u32, interrupt: &Interrupt) -> Result<(), ClientError> {
        self.set_irqs(proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER, vector, 1, &[interrupt])
    }

    /// Disables MSI-X.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn disable_msix(&self) -> Result<(), ClientError> {
        self.set_irqs(proto::IRQ_SET_DATA_NONE | proto::IRQ_SET_ACTION_TRIGGER, 0, 0, &[])
    }

    /// DEVICE_RESET.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn reset(&self) -> Result<(), ClientError> {
        self.request(proto::DEVICE_RESET, &[], &[]).map(|_| ())
    }
}
