//! The commands of the client, each checked and answered.

use std::os::fd::OwnedFd;

use crate::device::{Device, DeviceInfo, MapError};
use crate::irqs::IrqError;
use crate::memory::backing::{Backing, BackingError};
use crate::memory::function::{Mapping, Perm};
use crate::proto::{self, u32_at, u64_at};
use crate::ratelimit::RateLimit;

/// A refusal: the errno of the reply and what to log.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) errno: i32,
    pub(crate) why: String,
    /// An orderly client gets it too: nothing to warn of.
    pub(crate) expected: bool,
}

impl Refusal {
    pub(crate) fn new(errno: i32, why: impl Into<String>) -> Self {
        Self { errno, why: why.into(), expected: false }
    }
}

fn refuse<T>(errno: i32, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(errno, why))
}

impl From<IrqError> for Refusal {
    fn from(e: IrqError) -> Self {
        Self::new(libc::EINVAL, e.to_string())
    }
}

impl From<MapError> for Refusal {
    fn from(e: MapError) -> Self {
        let errno = match e {
            MapError::Overlap => libc::EEXIST,
            MapError::TooMany => libc::ENOSPC,
        };
        Self::new(errno, e.to_string())
    }
}

impl From<BackingError> for Refusal {
    fn from(e: BackingError) -> Self {
        let errno = match e {
            BackingError::Range { .. } => libc::EINVAL,
            BackingError::ReadOnly => libc::EACCES,
            BackingError::System(errno) => errno.raw_os_error(),
        };
        Self::new(errno, e.to_string())
    }
}

/// The state that commands work on.
pub(crate) struct Commands<'a> {
    pub(crate) device: &'a dyn Device,
    pub(crate) info: &'a DeviceInfo,
    /// Memory that cannot be mapped was reported already.
    pub(crate) unsealed_reported: bool,
    pub(crate) log: RateLimit,
}

impl Commands<'_> {
    /// Executes one command after VERSION. `out` holds the reply's header already; the body is added to it.
    pub(crate) fn execute(
        &mut self,
        command: u16,
        body: &[u8],
        fds: Vec<OwnedFd>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if !fds.is_empty() && !matches!(command, proto::DMA_MAP | proto::DEVICE_SET_IRQS) {
            return refuse(libc::EINVAL, "the command takes no descriptors");
        }
        match command {
            proto::DMA_MAP => self.dma_map(body, fds),
            proto::DMA_UNMAP => self.dma_unmap(body, out),
            proto::DEVICE_GET_INFO => Self::device_get_info(body, out),
            proto::DEVICE_GET_REGION_INFO => self.get_region_info(body, out),
            proto::DEVICE_GET_IRQ_INFO => self.get_irq_info(body, out),
            proto::DEVICE_SET_IRQS => self.set_irqs(body, fds),
            proto::REGION_READ => self.region_read(body, out),
            proto::REGION_WRITE => self.region_write(body, out),
            proto::DEVICE_RESET => {
                self.device.reset();
                Ok(())
            }
            proto::VERSION => refuse(libc::EINVAL, "the version is agreed upon already"),
            _ => refuse(libc::ENOSYS, "unknown command"),
        }
    }

    fn dma_map(&mut self, body: &[u8], fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        sized(body, proto::DMA_MAP_BODY)?;
        let (flags, offset, first, size) = (u32_at(body, 4), u64_at(body, 8), u64_at(body, 16), u64_at(body, 24));
        let perm = Perm { read: flags & proto::DMA_MAP_READ != 0, write: flags & proto::DMA_MAP_WRITE != 0 };
        if flags & !(proto::DMA_MAP_READ | proto::DMA_MAP_WRITE) != 0 || !(perm.read || perm.write) {
            return refuse(libc::EINVAL, format!("DMA_MAP flags {flags:#x}"));
        }
        let last = last_address(first, size)?;
        let backing = match fds.as_slice() {
            [] => None,
            [fd] => {
                let backing = Backing::open(fd, offset, size, perm.write)?;
                if backing.is_none() && !self.unsealed_reported {
                    self.unsealed_reported = true;
                    log::warn!(
                        "{}: guest memory at {first:#x} can shrink and is not mapped; every access to it goes by \
                         message, which is slow. Give QEMU `-object memory-backend-memfd,id=m0,size=SIZE,share=on \
                         -machine memory-backend=m0`",
                        self.info.name
                    );
                }
                backing
            }
            _ => return refuse(libc::EINVAL, format!("DMA_MAP with {} descriptors", fds.len())),
        };
        self.device.dma_map(Mapping { first, last, perm, backing })?;
        Ok(())
    }

    fn dma_unmap(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        sized(body, proto::DMA_UNMAP_BODY)?;
        let (flags, first, size) = (u32_at(body, 4), u64_at(body, 8), u64_at(body, 16));
        let last = match flags {
            0 => last_address(first, size)?,
            proto::DMA_UNMAP_ALL if first == 0 && size == 0 => u64::MAX,
            _ => return refuse(libc::EINVAL, format!("DMA_UNMAP flags {flags:#x}, {size:#x} bytes at {first:#x}")),
        };
        let bytes = self.device.dma_unmap(first, last);
        put_u32(out, &[proto::DMA_UNMAP_BODY as u32, flags]);
        put_u64(out, &[first, bytes]);
        Ok(())
    }

    fn device_get_info(body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        sized(body, proto::DEVICE_INFO_BODY)?;
        let flags = proto::DEVICE_FLAGS_RESET | proto::DEVICE_FLAGS_PCI;
        put_u32(out, &[proto::DEVICE_INFO_BODY as u32, flags, proto::NUM_REGIONS as u32, proto::NUM_IRQS]);
        Ok(())
    }

    fn get_region_info(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        sized(body, proto::REGION_INFO_BODY)?;
        let index = u32_at(body, 8);
        let region = self.info.regions.get(index as usize);
        let Some(region) = region else { return refuse(libc::EINVAL, format!("region {index}")) };
        let mut flags = 0;
        if region.size > 0 {
            flags |= if region.read { proto::REGION_FLAG_READ } else { 0 };
            flags |= if region.write { proto::REGION_FLAG_WRITE } else { 0 };
        }
        put_u32(out, &[proto::REGION_INFO_BODY as u32, flags, index, 0]);
        put_u64(out, &[region.size, 0]);
        Ok(())
    }

    fn get_irq_info(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        sized(body, proto::IRQ_INFO_BODY)?;
        let index = u32_at(body, 8);
        // ERR and REQ are refused: with a count QEMU would register an eventfd that stops the VM when it fires, with
        // count 0 it would print a warning.
        let count = match index {
            proto::IRQ_INTX | proto::IRQ_MSI => 0,
            proto::IRQ_MSIX => self.device.irqs().count(),
            _ => {
                let expected = index < proto::NUM_IRQS;
                return Err(Refusal { expected, ..Refusal::new(libc::EINVAL, format!("interrupt index {index}")) });
            }
        };
        // No NORESIZE: with it QEMU would take all vectors down for each new one.
        put_u32(out, &[proto::IRQ_INFO_BODY as u32, proto::IRQ_INFO_EVENTFD, index, count]);
        Ok(())
    }

    fn set_irqs(&self, body: &[u8], fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        const NONE: u32 = proto::IRQ_SET_DATA_NONE | proto::IRQ_SET_ACTION_TRIGGER;
        const BOOL: u32 = proto::IRQ_SET_DATA_BOOL | proto::IRQ_SET_ACTION_TRIGGER;
        const EVENTFD: u32 = proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER;
        sized(body, proto::IRQ_SET_BODY)?;
        let (flags, index, start, count) = (u32_at(body, 4), u32_at(body, 8), u32_at(body, 12), u32_at(body, 16));
        let data = &body[proto::IRQ_SET_BODY..];
        let irqs = self.device.irqs();
        if flags != EVENTFD && !fds.is_empty() {
            return refuse(libc::EINVAL, format!("SET_IRQS flags {flags:#x} with {} descriptors", fds.len()));
        }
        if index == proto::IRQ_INTX || index == proto::IRQ_MSI {
            // They do not exist, and so are off already.
            return if (flags, start, count) == (NONE, 0, 0) { Ok(()) } else { refuse_irq(flags, index, start, count) };
        }
        match flags {
            _ if index != proto::IRQ_MSIX => refuse_irq(flags, index, start, count),
            NONE if (start, count) == (0, 0) => {
                irqs.disable();
                Ok(())
            }
            _ if count == 0 => refuse_irq(flags, index, start, count),
            NONE => {
                irqs.check(start, count)?;
                trigger(irqs, start..start + count);
                Ok(())
            }
            BOOL if data.len() == count as usize => {
                irqs.check(start, count)?;
                trigger(irqs, (start..start + count).zip(data).filter(|(_, b)| **b != 0).map(|(v, _)| v));
                Ok(())
            }
            // Without a descriptor: the vectors lose theirs. QEMU enables MSI-X that way.
            EVENTFD if fds.is_empty() => {
                irqs.check(start, count)?;
                Ok(irqs.wire(start, (0..count).map(|_| None).collect())?)
            }
            EVENTFD if fds.len() == count as usize => Ok(irqs.wire(start, fds.into_iter().map(Some).collect())?),
            _ => refuse_irq(flags, index, start, count),
        }
    }

    fn region_read(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        sized(body, proto::REGION_ACCESS_BODY)?;
        let (offset, region, count) = (u64_at(body, 0), u32_at(body, 8), u32_at(body, 12));
        self.access(offset, region, count, |r| r.read)?;
        out.extend_from_slice(&body[..proto::REGION_ACCESS_BODY]);
        let at = out.len();
        out.resize(at + count as usize, 0);
        self.device.region_read(region, offset, &mut out[at..]);
        Ok(())
    }

    fn region_write(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        sized(body, proto::REGION_ACCESS_BODY)?;
        let (offset, region, count) = (u64_at(body, 0), u32_at(body, 8), u32_at(body, 12));
        let data = &body[proto::REGION_ACCESS_BODY..];
        self.access(offset, region, count, |r| r.write)?;
        if data.len() != count as usize {
            return refuse(libc::EINVAL, format!("a write of {count} bytes with {} bytes of data", data.len()));
        }
        self.device.region_write(region, offset, data);
        out.extend_from_slice(&body[..proto::REGION_ACCESS_BODY]);
        Ok(())
    }

    /// Checks an access against the region's size and permissions.
    fn access(
        &self,
        offset: u64,
        region: u32,
        count: u32,
        permitted: impl Fn(&crate::device::RegionInfo) -> bool,
    ) -> Result<(), Refusal> {
        let info = self.info.regions.get(region as usize);
        let end = offset.checked_add(u64::from(count));
        let inside = info.is_some_and(|r| permitted(r) && end.is_some_and(|end| end <= r.size));
        if !inside || count == 0 || count as usize > proto::MAX_DATA_XFER {
            return refuse(libc::EINVAL, format!("an access of {count} bytes at {offset:#x} of region {region}"));
        }
        Ok(())
    }
}

fn refuse_irq(flags: u32, index: u32, start: u32, count: u32) -> Result<(), Refusal> {
    refuse(libc::EINVAL, format!("SET_IRQS flags {flags:#x}, index {index}, {count} vectors from {start}"))
}

fn trigger(irqs: &crate::irqs::Irqs, vectors: impl Iterator<Item = u32>) {
    vectors.filter_map(|v| u16::try_from(v).ok()).for_each(|v| irqs.trigger(v));
}

/// Checks that the body has at least the command's fixed part.
fn sized(body: &[u8], size: usize) -> Result<(), Refusal> {
    if body.len() < size {
        return refuse(libc::EINVAL, format!("a body of {} bytes where {size} are needed", body.len()));
    }
    Ok(())
}

fn last_address(first: u64, size: u64) -> Result<u64, Refusal> {
    match size.checked_sub(1).and_then(|s| first.checked_add(s)) {
        Some(last) => Ok(last),
        None => refuse(libc::EINVAL, format!("no such range: {size:#x} bytes at {first:#x}")),
    }
}

fn put_u32(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
}

fn put_u64(out: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
}
