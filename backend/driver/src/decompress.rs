//! Compressed completions, taken apart as `mlx5e` does: a title, and behind it arrays of eight mini CQEs.

use mlx5emu_prm::layouts::{mlx5_cqe64 as cqe64, mlx5_mini_cqe8 as mini};

use crate::cq::Cqe;

/// Mini CQEs of an array.
const ARRAY: usize = cqe64::SIZE / mini::SIZE;
/// `format` of a title.
const COMPRESSED: u64 = 3;

/// What a mini CQE says beside the length (`mini_cqe_res_format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MiniFormat {
    /// The RSS hash.
    Hash = 0,
    /// The checksum.
    Checksum = 1,
    /// The checksum and the stride index.
    ChecksumStride = 3,
}

/// A session that is being taken apart.
#[derive(Debug)]
pub struct Decompressor {
    format: Option<MiniFormat>,
    title: Cqe,
    array: Cqe,
    index: usize,
    left: u32,
    wqe_counter: u16,
    /// Sessions so far.
    pub sessions: u64,
    /// Completions of the last session.
    pub last: u32,
    /// Completions in sessions so far.
    pub completions: u64,
}

impl Decompressor {
    /// For a queue that asked for `format`.
    pub(crate) fn new(format: Option<MiniFormat>) -> Self {
        Self {
            format,
            title: [0; cqe64::SIZE],
            array: [0; cqe64::SIZE],
            index: 0,
            left: 0,
            wqe_counter: 0,
            sessions: 0,
            last: 0,
            completions: 0,
        }
    }

    /// Whether completions of a session are left.
    pub(crate) fn is_within(&self) -> bool {
        self.left > 0
    }

    /// Whether a CQE is the title of a session.
    pub(crate) fn is_title(cqe: &Cqe) -> bool {
        cqe64::format.get(cqe) == COMPRESSED
    }

    /// Begins with a title and the entry behind it.
    pub(crate) fn start(&mut self, title: &Cqe, array: &Cqe) {
        (self.title, self.array, self.index) = (*title, *array, 0);
        self.left = cqe64::byte_cnt.get32(title);
        self.wqe_counter = cqe64::wqe_counter.get(title) as u16;
        cqe64::format.set(&mut self.title, 0);
        self.sessions += 1;
        self.last = self.left;
        self.completions += u64::from(self.left);
    }

    /// Whether the next completion's entry is an array.
    pub(crate) fn wants_array(&self) -> bool {
        self.index == ARRAY
    }

    /// Takes in an array.
    pub(crate) fn feed(&mut self, array: &Cqe) {
        (self.array, self.index) = (*array, 0);
    }

    /// The next completion; the first has the title's hash, and others one only if the format has it.
    pub(crate) fn next(&mut self) -> Cqe {
        let entry = &self.array[self.index * mini::SIZE..][..mini::SIZE];
        let cqe = &mut self.title;
        cqe64::byte_cnt.set(cqe, mini::byte_cnt.get(entry));
        match self.format {
            Some(MiniFormat::Hash) => cqe64::rss_hash_result.set(cqe, mini::rx_hash_result.get(entry)),
            _ => cqe64::check_sum.set(cqe, mini::checksum.get(entry)),
        }
        let counter = match self.format {
            Some(MiniFormat::ChecksumStride) => mini::stridx.get(entry) as u16,
            _ => self.wqe_counter,
        };
        cqe64::wqe_counter.set(cqe, counter.into());
        self.wqe_counter = counter.wrapping_add(cqe64::consumed_strides.get(cqe).max(1) as u16);
        let out = *cqe;
        if self.format != Some(MiniFormat::Hash) {
            cqe64::rss_hash_result.set(cqe, 0);
            cqe64::rss_hash_type.set(cqe, 0);
        }
        self.index += 1;
        self.left = self.left.saturating_sub(1);
        out
    }
}
