//! The baseline of frames: a loop as a virtio network device has it, which takes frames from a transmit queue and puts them
//! into a receive queue, with the `virtio-queue` crate. It looks at no byte of them.

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::Outcome;

/// Entries of each queue.
const SIZE: u16 = 256;
/// Bytes of `struct virtio_net_hdr_v1`, which goes before each frame.
const HEADER: usize = 12;
/// Bytes of a buffer of the receive queue.
const BUFFER: u32 = 2048;
/// The device writes here (`VIRTQ_DESC_F_WRITE`).
const WRITE: u16 = 2;
/// Bytes of memory of a machine, and where its queues and buffers are.
const RAM: usize = 64 << 20;
const TABLE_AT: u64 = 0x1_0000;
const AVAIL_AT: u64 = 0x2_0000;
const USED_AT: u64 = 0x3_0000;
const BUFFERS_AT: u64 = 0x10_0000;

/// A queue with its memory, and the driver's end of it.
struct Side {
    memory: GuestMemoryMmap,
    queue: Queue,
    posted: u16,
}

impl Side {
    fn new(flags: u16) -> Outcome<Self> {
        let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)])?;
        let mut queue = Queue::new(SIZE)?;
        queue.set_desc_table_address(Some(TABLE_AT as u32), Some(0));
        queue.set_avail_ring_address(Some(AVAIL_AT as u32), Some(0));
        queue.set_used_ring_address(Some(USED_AT as u32), Some(0));
        queue.set_ready(true);
        let mut side = Self { memory, queue, posted: 0 };
        for n in 0..SIZE {
            side.describe(n, BUFFER, flags)?;
        }
        if !side.queue.is_valid(&side.memory) {
            return Err("the virtio queue is not valid".into());
        }
        Ok(side)
    }

    fn buffer(n: u16) -> u64 {
        BUFFERS_AT + u64::from(n) * u64::from(BUFFER)
    }

    fn describe(&mut self, n: u16, len: u32, flags: u16) -> Outcome<()> {
        let descriptor = Descriptor::new(Self::buffer(n), len, flags, 0);
        Ok(self.memory.write_obj(descriptor, GuestAddress(TABLE_AT + 16 * u64::from(n)))?)
    }

    /// Makes the next buffer available; the device sees it when [`Side::publish`] has been called.
    fn post(&mut self) -> Outcome<u16> {
        let n = self.posted % SIZE;
        self.memory.write_obj(n, GuestAddress(AVAIL_AT + 4 + 2 * u64::from(n)))?;
        self.posted = self.posted.wrapping_add(1);
        Ok(n)
    }

    fn publish(&mut self) -> Outcome<()> {
        Ok(self.memory.write_obj(self.posted, GuestAddress(AVAIL_AT + 2))?)
    }
}

/// Both queues, each in a memory of its own, and the device's buffer.
pub(crate) struct Loop {
    tx: Side,
    rx: Side,
    buffer: Vec<u8>,
}

impl Loop {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self { tx: Side::new(0)?, rx: Side::new(WRITE)?, buffer: vec![0; BUFFER as usize] })
    }

    /// The driver: posts frames to send, and as many buffers to receive.
    pub(crate) fn post(&mut self, frames: &[Vec<u8>]) -> Outcome<()> {
        for frame in frames {
            let n = self.tx.post()?;
            let bytes = [&[0; HEADER][..], frame].concat();
            self.tx.memory.write_slice(&bytes, GuestAddress(Side::buffer(n)))?;
            self.tx.describe(n, bytes.len() as u32, 0)?;
            self.rx.post()?;
        }
        self.rx.publish()?;
        self.tx.publish()
    }

    /// The device: all that was posted. Says how many frames it passed on.
    pub(crate) fn run(&mut self) -> Outcome<usize> {
        let mut passed = 0;
        while let Some(mut from) = self.tx.queue.pop_descriptor_chain(&self.tx.memory) {
            let Some(mut to) = self.rx.queue.pop_descriptor_chain(&self.rx.memory) else { break };
            let (sent, received) = (from.head_index(), to.head_index());
            let mut len = 0;
            for part in from.by_ref().filter(|part| !part.is_write_only()) {
                let end = len + part.len() as usize;
                let Some(room) = self.buffer.get_mut(len..end) else { break };
                self.tx.memory.read_slice(room, part.addr())?;
                len = end;
            }
            let mut done = 0;
            for part in to.by_ref().filter(|part| part.is_write_only()) {
                let end = len.min(done + part.len() as usize);
                self.rx.memory.write_slice(&self.buffer[done..end], part.addr())?;
                done = end;
            }
            self.rx.queue.add_used(&self.rx.memory, received, done as u32)?;
            self.tx.queue.add_used(&self.tx.memory, sent, 0)?;
            passed += 1;
        }
        // Whether the drivers want to be interrupted is looked at; nobody is.
        self.rx.queue.needs_notification(&self.rx.memory)?;
        self.tx.queue.needs_notification(&self.tx.memory)?;
        Ok(passed)
    }

    /// The last frame that was passed on.
    pub(crate) fn last(&self, len: usize) -> Outcome<Vec<u8>> {
        let mut frame = vec![0; len];
        let n = self.rx.posted.wrapping_sub(1) % SIZE;
        self.rx.memory.read_slice(&mut frame, GuestAddress(Side::buffer(n) + HEADER as u64))?;
        Ok(frame)
    }
}
