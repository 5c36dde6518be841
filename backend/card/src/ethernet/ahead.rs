//! WQEs that are read together: one copy for many.

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::layouts::mlx5_wqe_ctrl_seg;
use mlx5emu_prm::wqe::{SEND_WQE_BB, SEND_WQE_DS};
use smallvec::SmallVec;

use super::MAX_WQE_BYTES;
use crate::queues::buffer::QueueBuffer;

/// Basic blocks that are read at once: at least as many as the longest WQE has.
const BLOCKS: u16 = 64;

const _: () = assert!(BLOCKS as usize * SEND_WQE_BB >= MAX_WQE_BYTES);

/// Basic blocks of a send queue, as they were when they were read.
#[derive(Default)]
pub(super) struct Ahead {
    /// The first one, modulo 65536.
    start: u16,
    /// How many there are.
    count: u16,
    bytes: Vec<u8>,
}

impl Ahead {
    /// Nothing is read yet.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// What has been read from block `head` on; empty if that has not.
    pub(super) fn from(&self, head: u16) -> &[u8] {
        let skipped = usize::from(head.wrapping_sub(self.start));
        self.bytes.get(skipped * SEND_WQE_BB..usize::from(self.count) * SEND_WQE_BB).unwrap_or(&[])
    }

    /// Has the WQE at `head` read, as far as it is posted. Says its length in units of 16 bytes.
    ///
    /// Of a WQE that was read in part, all is read again, its length too: nothing of the first copy counts.
    pub(super) fn read<M: DmaSpace>(
        &mut self,
        space: &M,
        queue: &QueueBuffer,
        head: u16,
        posted: u16,
    ) -> Result<u64, DmaError> {
        let wqe = self.from(head);
        let ds = mlx5_wqe_ctrl_seg::ds.get(wqe);
        if !wqe.is_empty() && ds as usize * SEND_WQE_DS <= wqe.len() {
            return Ok(ds);
        }
        if self.fill(space, queue, head, 0, posted.min(BLOCKS)).is_err() {
            // Something behind the WQE may be out of reach: then only it is read.
            self.fill(space, queue, head, 0, 1)?;
            let blocks = (mlx5_wqe_ctrl_seg::ds.get(self.from(head)) as usize * SEND_WQE_DS).div_ceil(SEND_WQE_BB);
            if blocks > 1 && blocks <= usize::from(posted) {
                self.fill(space, queue, head, 1, blocks as u16)?;
            }
        }
        Ok(mlx5_wqe_ctrl_seg::ds.get(self.from(head)))
    }

    /// Reads the blocks from `from` to `to`, counted from `head`, behind those that are there.
    fn fill<M: DmaSpace>(
        &mut self,
        space: &M,
        queue: &QueueBuffer,
        head: u16,
        from: u16,
        to: u16,
    ) -> Result<(), DmaError> {
        let bytes = usize::from(from) * SEND_WQE_BB..usize::from(to) * SEND_WQE_BB;
        if self.bytes.len() < bytes.end {
            self.bytes.resize(bytes.end.max(usize::from(BLOCKS) * SEND_WQE_BB), 0);
        }
        (self.start, self.count) = (head, from);
        let at = u64::from(head) * SEND_WQE_BB as u64 + bytes.start as u64;
        queue.read(space, Attrs::PLAIN, at, &mut self.bytes[bytes])?;
        self.count = to;
        Ok(())
    }
}

/// Bytes of receive WQEs that are read at once: 16 WQEs of one buffer each.
const RECEIVE: usize = 256;

/// WQEs of a cyclic receive queue, as they were when they were read.
#[derive(Default)]
pub(super) struct ReceiveAhead {
    /// The first one, modulo 65536.
    start: u16,
    /// How many there are.
    count: u16,
    bytes: SmallVec<[u8; RECEIVE]>,
}

impl ReceiveAhead {
    /// The WQE at `head` of `queue`, of `1 << log_stride` bytes. `posted` (not 0) are there, that one included.
    pub(super) fn read<M: DmaSpace>(
        &mut self,
        space: &M,
        queue: &QueueBuffer,
        log_stride: u32,
        head: u16,
        posted: u16,
    ) -> Result<&[u8], DmaError> {
        let stride = 1usize << log_stride;
        if head.wrapping_sub(self.start) >= self.count {
            self.bytes.resize(RECEIVE.max(stride), 0);
            let count = posted.min((self.bytes.len() >> log_stride) as u16);
            // Something behind the WQE may be out of reach: then only it is read.
            if self.fill(space, queue, log_stride, head, count).is_err() {
                self.fill(space, queue, log_stride, head, 1)?;
            }
        }
        let at = usize::from(head.wrapping_sub(self.start)) << log_stride;
        Ok(self.bytes.get(at..at + stride).unwrap_or(&[]))
    }

    fn fill<M: DmaSpace>(
        &mut self,
        space: &M,
        queue: &QueueBuffer,
        log_stride: u32,
        head: u16,
        count: u16,
    ) -> Result<(), DmaError> {
        self.count = 0;
        let bytes = self.bytes.get_mut(..usize::from(count) << log_stride).unwrap_or(&mut []);
        queue.read(space, Attrs::PLAIN, u64::from(head) << log_stride, bytes)?;
        (self.start, self.count) = (head, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mlx5emu_pci_model::testing::TestSpace;

    use super::*;

    /// A queue of 32 WQEs of 16 bytes in the last 512 bytes of a space; each byte of a WQE is its index.
    fn queue() -> (TestSpace, QueueBuffer) {
        let space = TestSpace::new(4096);
        for index in 0..32u8 {
            assert!(space.poke(3584 + u64::from(index) * 16, &[index; 16]));
        }
        (space, QueueBuffer::new(&0u64.to_be_bytes(), 12, 3584, 512).unwrap())
    }

    #[test]
    fn receive_wqes_are_read_sixteen_at_a_time_and_around_the_end() {
        let (space, queue) = queue();
        let mut ahead = ReceiveAhead::default();
        space.start_log(64);
        for head in 65530u16..=65535 {
            let wqe = ahead.read(&space, &queue, 4, head, 40).unwrap();
            assert_eq!(wqe, [(head % 32) as u8; 16]);
        }
        assert_eq!(space.take_log().len(), 2, "the last six of the queue, and the first ten");
        for head in 0..10u16 {
            assert_eq!(ahead.read(&space, &queue, 4, head, 40).unwrap(), [head as u8; 16]);
        }
        assert!(space.take_log().is_empty());
        assert_eq!(ahead.read(&space, &queue, 4, 10, 1).unwrap(), [10; 16]);
        assert_eq!(space.stop_log().iter().map(|t| t.len).sum::<usize>(), 16, "no more than is posted");
    }

    #[test]
    fn a_receive_wqe_is_read_alone_if_one_behind_it_is_out_of_reach() {
        let (space, queue) = queue();
        space.set_remote(3584 + 16..3584 + 32);
        let mut ahead = ReceiveAhead::default();
        assert_eq!(ahead.read(&space, &queue, 4, 0, 8).unwrap(), [0; 16]);
        assert!(matches!(ahead.read(&space, &queue, 4, 1, 7), Err(DmaError::Fetch { .. })));
    }

    #[test]
    fn a_receive_wqe_longer_than_what_is_read_at_once_is_whole() {
        let (space, _) = queue();
        let queue = QueueBuffer::new(&0u64.to_be_bytes(), 12, 2048, 2048).unwrap();
        let mut ahead = ReceiveAhead::default();
        let wqe = ahead.read(&space, &queue, 10, 1, 1).unwrap();
        assert_eq!((wqe.len(), wqe[512], wqe[1023]), (1024, 0, 31));
        assert_eq!(ahead.read(&space, &queue, 10, 0, 1).unwrap(), [0; 1024]);
    }
}
