//! CQE compression: completions of one receive queue that differ only in length, checksum, hash and place are written as
//! one title CQE and arrays of eight mini CQEs.
//!
//! A session of `n` takes `n` entries of the queue, as if it were not compressed; only the first entry (the title, with
//! `n` in place of the byte count), the second and every eighth one are written. The driver gives the others their owner
//! bit. That is the basic layout (`cqe_compression_layout` 0). A session ends with the burst that began it: no completion
//! waits for others to come.

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::layouts::{cqc, mlx5_cqe64 as cqe64, mlx5_mini_cqe8 as mini};
use mlx5emu_prm::wqe::CqeOpcode;

use super::cq::{Cq, Cqe};
use crate::error::{Stop, Syndrome, bad_param};

/// Completions of a session: `cqe_compression_max_num`.
pub const MAX_SESSION: usize = 64;
/// Mini CQEs of an array (`MLX5_MINI_CQE_ARRAY_SIZE`).
const ARRAY: usize = cqe64::SIZE / mini::SIZE;
/// `format` of a title (`MLX5_COMPRESSED`).
const COMPRESSED: u64 = 3;

/// What a mini CQE says beside the length (`mini_cqe_res_format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MiniFormat {
    /// The RSS hash.
    Hash,
    /// The checksum (`MLX5_CQE_FORMAT_CSUM`).
    Checksum,
    /// The checksum and the stride index (`MLX5_CQE_FORMAT_CSUM_STRIDX`).
    ChecksumStride,
}

impl MiniFormat {
    /// What a CQ's context asks for; `None` for a queue that does not compress.
    pub fn parse(context: &[u8]) -> Result<Option<Self>, Stop> {
        if !cqc::cqe_comp_en.is_set(context) {
            return Ok(None);
        }
        if cqc::cqe_compression_layout.get(context) != 0 {
            return bad_param(Syndrome::BadCapability, "the enhanced layout of CQE compression is not offered");
        }
        if cqc::cqe_sz.get(context) != 0 || cqc::cc.is_set(context) {
            return bad_param(Syndrome::BadCapability, "CQE compression is offered for rings of 64-byte CQEs only");
        }
        match cqc::mini_cqe_res_format.get(context) {
            0 => Ok(Some(Self::Hash)),
            1 => Ok(Some(Self::Checksum)),
            3 => Ok(Some(Self::ChecksumStride)),
            other => bad_param(Syndrome::BadField, format!("mini_cqe_res_format {other}")),
        }
    }
}

/// Completions that wait to be written together.
#[derive(Debug, Default)]
pub struct Session {
    rqn: u32,
    /// The first completion.
    first: Option<Cqe>,
    /// The first one without what mini CQEs say.
    common: Option<Cqe>,
    /// `wqe_counter` of the next one, for formats that don't say it.
    next: u16,
    minis: Vec<[u8; mini::SIZE]>,
}

/// Whether a completion may be part of a session. Errors, fillers and merged packets say more than a mini CQE can.
pub fn is_eligible(cqe: &Cqe) -> bool {
    cqe64::opcode.get(cqe) == u64::from(CqeOpcode::RESP_SEND.0)
        && !cqe64::se.is_set(cqe)
        && !cqe64::filler.is_set(cqe)
        && cqe64::lro_num_seg.get(cqe) == 0
}

/// The completion without what a mini CQE says, and without what is lost by compression: the time, and either the
/// checksum or the hash.
fn common(cqe: &Cqe) -> Cqe {
    let mut common = *cqe;
    for field in [
        cqe64::byte_cnt,
        cqe64::check_sum,
        cqe64::rss_hash_result,
        cqe64::wqe_counter,
        cqe64::timestamp_h,
        cqe64::timestamp_l,
        cqe64::owner,
    ] {
        field.set(&mut common, 0);
    }
    common
}

impl Session {
    /// Completions that wait.
    pub fn len(&self) -> usize {
        self.minis.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.minis.is_empty()
    }

    /// Whether a completion of `rqn` can be part of the session; every one can be the first.
    pub fn takes(&self, format: MiniFormat, rqn: u32, cqe: &Cqe) -> bool {
        let follows = format == MiniFormat::ChecksumStride || cqe64::wqe_counter.get(cqe) == u64::from(self.next);
        self.is_empty() || (self.rqn == rqn && follows && self.common == Some(common(cqe)))
    }

    /// Adds a completion that [`Session::takes`].
    pub fn push(&mut self, format: MiniFormat, rqn: u32, cqe: &Cqe) {
        if self.is_empty() {
            (self.rqn, self.first, self.common) = (rqn, Some(*cqe), Some(common(cqe)));
        }
        // In a striding queue the next packet starts behind this one's strides, in others in the next WQE.
        let used = cqe64::consumed_strides.get(cqe).max(1) as u16;
        self.next = (cqe64::wqe_counter.get(cqe) as u16).wrapping_add(used);
        let mut entry = [0u8; mini::SIZE];
        mini::byte_cnt.set(&mut entry, cqe64::byte_cnt.get(cqe));
        match format {
            MiniFormat::Hash => mini::rx_hash_result.set(&mut entry, cqe64::rss_hash_result.get(cqe)),
            MiniFormat::Checksum => mini::checksum.set(&mut entry, cqe64::check_sum.get(cqe)),
            MiniFormat::ChecksumStride => {
                mini::checksum.set(&mut entry, cqe64::check_sum.get(cqe));
                mini::stridx.set(&mut entry, cqe64::wqe_counter.get(cqe));
            }
        }
        self.minis.push(entry);
    }

    /// Ends the session: writes the arrays to the entries from `producer` on, and leaves the title, or the only
    /// completion, to be written to the first. Also says how many completions there were.
    pub fn finish<M: DmaSpace>(&mut self, space: &M, cq: &Cq, producer: u32) -> Result<Option<(Cqe, usize)>, DmaError> {
        let count = self.minis.len();
        let Some(mut title) = self.first.take() else { return Ok(None) };
        let done = if count > 1 { self.write_arrays(space, cq, producer) } else { Ok(()) };
        self.minis.clear();
        done?;
        if count > 1 {
            cqe64::byte_cnt.set(&mut title, count as u64);
            cqe64::format.set(&mut title, COMPRESSED);
        }
        Ok(Some((title, count)))
    }

    fn write_arrays<M: DmaSpace>(&self, space: &M, cq: &Cq, producer: u32) -> Result<(), DmaError> {
        for (n, minis) in self.minis.chunks(ARRAY).enumerate() {
            let mut array = [0u8; cqe64::SIZE];
            for (entry, mini) in array.as_chunks_mut::<{ mini::SIZE }>().0.iter_mut().zip(minis) {
                *entry = *mini;
            }
            // The first one is behind the title, each of the others where its first completion would be.
            let entry = if n == 0 { 1 } else { n * ARRAY };
            space.write(Attrs::PLAIN, cq.entry(producer.wrapping_add(entry as u32)), &array)?;
        }
        Ok(())
    }
}
