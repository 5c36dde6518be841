//! Striding receive queues: a WQE is a long buffer that packets share, each from the next stride on.
//!
//! A completion says which WQE (`wqe_id`), the packet's first stride (`wqe_counter`) and how many strides it took. What
//! is left of a WQE when a packet needs more is given up with a filler completion, so that the driver can count every
//! stride of every WQE.

use mlx5emu_pci_model::{Attrs, DmaSpace};
use mlx5emu_prm::layouts::{mlx5_cqe64, mlx5_wqe_srq_next_seg, wq};
use mlx5emu_prm::states::WqType;
use mlx5emu_prm::wqe::CqeOpcode;
use smallvec::SmallVec;

use super::MAX_RQ_WQE_BYTES;
use super::deliver::{Arrival, Pieces, RxError, Segment, scatter_segments};
use super::rq::{Rq, RqMoving};
use crate::error::{Stop, Syndrome, bad_param};
use crate::function::Function;

/// What `log_wqe_stride_size` counts from (`MLX5_MPWQE_LOG_STRIDE_SZ_BASE`).
const LOG_STRIDE_BASE: u32 = 6;
/// The largest stride (`MLX5_MPWQE_LOG_STRIDE_SZ_MAX`).
const LOG_STRIDE_MAX: u32 = 13;
/// What `log_wqe_num_of_strides` counts from, as a signed number of 4 bits (`MLX5_MPWQE_LOG_NUM_STRIDES_BASE`).
const LOG_STRIDES_BASE: i32 = 9;
/// The fewest strides of a WQE (`MLX5_MPWQE_LOG_NUM_STRIDES_EXT_BASE`) and the most: a filler counts them in 15 bits.
const LOG_STRIDES: std::ops::RangeInclusive<i32> = 3..=15;
/// A packet's strides and bytes are counted in 15 and 16 bits.
pub(super) const MAX_PACKET: usize = 0xffff;

/// Geometry of a striding queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// WQEs form a linked list, else a ring.
    linked: bool,
    /// log2 of a stride's bytes.
    log_size: u32,
    /// Strides of a WQE.
    count: u32,
}

/// A striding WQE that has been begun. It was read once, when it was begun.
#[derive(Debug)]
pub struct Begun {
    /// The next WQE, in a linked list.
    next: u16,
    /// Strides used so far.
    used: u32,
    segments: SmallVec<[Segment; 2]>,
}

impl Begun {
    /// Strides used so far.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    pub(super) fn set_used(&mut self, used: u32) {
        self.used = used;
    }

    /// Its memory.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> {
        self.segments.iter().copied()
    }
}

impl Strides {
    /// The geometry that `wq` asks for; `None` for a queue of one packet a WQE.
    pub fn parse(queue: &[u8]) -> Result<Option<Self>, Stop> {
        let linked = match WqType(wq::wq_type.get(queue) as u8) {
            WqType::CYCLIC => return Ok(None),
            WqType::LINKED_LIST_STRIDING_RQ => true,
            WqType::CYCLIC_STRIDING_RQ => false,
            other => {
                return bad_param(Syndrome::BadCapability, format!("receive queues of type {other} are not offered"));
            }
        };
        let log_size = wq::log_wqe_stride_size.get32(queue) + LOG_STRIDE_BASE;
        // Sign-extends the four bits.
        let offset = (wq::log_wqe_num_of_strides.get32(queue) as i32) << 28 >> 28;
        let log_count = LOG_STRIDES_BASE + offset;
        if log_size > LOG_STRIDE_MAX || !LOG_STRIDES.contains(&log_count) {
            return bad_param(Syndrome::BadGeometry, format!("2^{log_count} strides of 2^{log_size} bytes"));
        }
        if wq::two_byte_shift_en.is_set(queue) {
            return bad_param(Syndrome::BadCapability, "a shift of two bytes is not offered");
        }
        Ok(Some(Self { linked, log_size, count: 1 << log_count }))
    }

    /// Bytes of a stride.
    pub(super) fn stride(self) -> usize {
        1 << self.log_size
    }

    /// Strides of a WQE.
    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// Bytes of a WQE.
    pub(super) fn bytes(self) -> usize {
        (self.count as usize) << self.log_size
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Puts a packet into the next strides. A call that is repeated after it failed for guest memory goes on where it was.
    pub(super) fn fill_strides(
        &self,
        rq: &Rq,
        strides: Strides,
        moving: &mut RqMoving,
        arrival: &Arrival,
        now: u64,
    ) -> Result<(), RxError> {
        let (stripped, len) = arrival.after_strip(rq);
        let need = len.div_ceil(1 << strides.log_size) as u32;
        if len > MAX_PACKET || need > strides.count {
            return Err(RxError::TooLong);
        }
        if moving.begun.as_ref().is_some_and(|wqe| strides.count - wqe.used < need) {
            self.give_up_rest(rq, strides, moving, now)?;
        }
        let wqe = match moving.begun.take() {
            Some(wqe) => wqe,
            None => self.begin_wqe(rq, strides, moving)?,
        };
        let wqe = moving.begun.insert(wqe);
        let skip = u64::from(wqe.used) << strides.log_size;
        let mut pieces = Pieces::new();
        self.scatter_list(rq, wqe.segments.iter().copied(), skip, len, &mut pieces)?;
        self.scatter(&pieces, arrival.frame, stripped)?;
        let mut cqe = self.receive_cqe(arrival, stripped, len, now);
        mlx5_cqe64::consumed_strides.set(&mut cqe, u64::from(need));
        mlx5_cqe64::wqe_counter.set(&mut cqe, u64::from(wqe.used));
        mlx5_cqe64::wqe_id.set(&mut cqe, u64::from(moving.index));
        wqe.used += need;
        if wqe.used == strides.count {
            finish_wqe(moving);
        }
        self.complete_receive(rq, &mut cqe, now)
    }

    pub(super) fn begin_wqe(&self, rq: &Rq, strides: Strides, moving: &mut RqMoving) -> Result<Begun, RxError> {
        self.check_posted(rq, moving)?;
        let mask = ((1u32 << rq.log_size) - 1) as u16;
        moving.index = if strides.linked { moving.index } else { moving.head } & mask;
        let mut wqe = [0u8; MAX_RQ_WQE_BYTES];
        let wqe = &mut wqe[..1 << rq.log_stride];
        rq.buffer.read(&self.space, Attrs::PLAIN, u64::from(moving.index) << rq.log_stride, wqe)?;
        let (next, list) = match strides.linked {
            true => (mlx5_wqe_srq_next_seg::next_wqe_index.get(wqe) as u16 & mask, &wqe[mlx5_wqe_srq_next_seg::SIZE..]),
            false => (0, &wqe[..]),
        };
        Ok(Begun { next, used: 0, segments: scatter_segments(list).collect() })
    }

    /// A filler completion for the strides that are left.
    fn give_up_rest(&self, rq: &Rq, strides: Strides, moving: &mut RqMoving, now: u64) -> Result<(), RxError> {
        let Some(used) = moving.begun.as_ref().map(|wqe| wqe.used) else { return Ok(()) };
        let index = moving.index;
        finish_wqe(moving);
        self.complete_filler(rq, index, used, strides.count - used, now)
    }

    /// A filler completion for `count` strides of WQE `index` from stride `from` on.
    pub(super) fn complete_filler(&self, rq: &Rq, index: u16, from: u32, count: u32, now: u64) -> Result<(), RxError> {
        let mut cqe = [0u8; mlx5_cqe64::SIZE];
        for (field, value) in [
            (mlx5_cqe64::opcode, u64::from(CqeOpcode::RESP_SEND.0)),
            (mlx5_cqe64::filler, 1),
            (mlx5_cqe64::consumed_strides, u64::from(count)),
            (mlx5_cqe64::wqe_counter, u64::from(from)),
            (mlx5_cqe64::wqe_id, u64::from(index)),
            (mlx5_cqe64::timestamp_h, now >> 32),
            (mlx5_cqe64::timestamp_l, now),
        ] {
            field.set(&mut cqe, value);
        }
        self.complete_receive(rq, &mut cqe, now)
    }
}

/// On to the next WQE.
pub(super) fn finish_wqe(moving: &mut RqMoving) {
    if let Some(wqe) = moving.begun.take() {
        moving.head = moving.head.wrapping_add(1);
        moving.index = wqe.next;
    }
}
