//! Split headers (SHAMPO), as `mlx5e` asks for them: a buffer of entries for headers, and payloads in reservations.

use mlx5emu_prm::layouts::{create_mkey_in, mkc, mlx5_cqe64 as cqe64, mlx5_mtt, rqc, wq};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::states::MkeyAccessMode;

use crate::command::input;
use crate::cq::Cqe;
use crate::error::{Result, misbehaves};
use crate::host::Host;

const PAGE: usize = 4096;
/// log2 of an entry's bytes (`MLX5E_SHAMPO_LOG_HEADER_ENTRY_SIZE`).
const LOG_ENTRY: u32 = 8;

/// Shape of the splitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitShape {
    /// log2 of the bytes of a reservation.
    pub log_reservation: u32,
    /// log2 of the packets that a reservation takes.
    pub log_packets: u32,
    /// Microseconds after which a packet continues none.
    pub timeout: u16,
}

/// The buffer of headers.
#[derive(Debug)]
pub struct Split {
    shape: SplitShape,
    log_entries: u32,
    pages: Vec<u64>,
    mkey: u32,
    /// Where the next payload that continues the last one must be.
    next: usize,
    /// Packets in the reservation, and the entry of the next one.
    packets: u32,
    entry: u32,
}

impl Split {
    /// Memory for the headers of `bytes` of payload memory.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new<H: Host>(host: &mut H, shape: SplitShape, bytes: usize) -> Result<Self> {
        let log_entries = ((bytes >> shape.log_reservation).next_power_of_two() << shape.log_packets).ilog2();
        let pages = ((1usize << (log_entries + LOG_ENTRY)) / PAGE).max(1);
        let pages = (0..pages).map(|_| host.dma_alloc(PAGE, PAGE)).collect::<Result<_>>()?;
        Ok(Self { shape, log_entries, pages, mkey: 0, next: 0, packets: 0, entry: 0 })
    }

    /// CREATE_MKEY of the key over the headers.
    pub(crate) fn mkey_input(&self, pd: u32) -> Vec<u8> {
        let octowords = self.pages.len().div_ceil(2);
        let mut cmd = input(Opcode::CREATE_MKEY, create_mkey_in::SIZE + octowords * 16);
        let context = create_mkey_in::memory_key_mkey_entry.of_mut(&mut cmd);
        mkc::lw.set(context, 1);
        mkc::lr.set(context, 1);
        mkc::access_mode_1_0.set(context, MkeyAccessMode::MTT.0.into());
        mkc::qpn.set(context, 0xff_ffff);
        mkc::pd.set(context, pd.into());
        mkc::len.set(context, (self.pages.len() * PAGE) as u64);
        mkc::log_page_size.set(context, 12);
        mkc::translations_octword_size.set(context, octowords as u64);
        create_mkey_in::translations_octword_actual_size.set(&mut cmd, octowords as u64);
        for (entry, page) in cmd[create_mkey_in::SIZE..].chunks_mut(mlx5_mtt::SIZE).zip(&self.pages) {
            mlx5_mtt::ptag.set(entry, *page);
        }
        cmd
    }

    /// The key that CREATE_MKEY made.
    pub(crate) fn set_mkey(&mut self, mkey: u32) {
        self.mkey = mkey;
    }

    /// The key over the headers.
    pub(crate) fn mkey(&self) -> u32 {
        self.mkey
    }

    /// The shape in the context of a receive queue.
    pub(crate) fn fill(&self, context: &mut [u8]) {
        rqc::shampo_match_criteria_type.set(context, 1);
        rqc::shampo_no_match_alignment_granularity.set(context, 1);
        rqc::reservation_timeout.set(context, self.shape.timeout.into());
        let queue = rqc::wq.of_mut(context);
        wq::shampo_enable.set(queue, 1);
        wq::headers_mkey.set(queue, self.mkey.into());
        wq::log_reservation_size.set(queue, u64::from(self.shape.log_reservation - 12));
        wq::log_max_num_of_packets_per_reservation.set(queue, self.shape.log_packets.into());
        wq::log_headers_entry_size.set(queue, u64::from(LOG_ENTRY - 6));
        wq::log_headers_buffer_entry_num.set(queue, self.log_entries.into());
    }

    /// Checks a completion of `len` bytes of payload against the one before it; the headers.
    ///
    /// # Errors
    /// Too many packets in a reservation, an entry out of order, a payload in the wrong place.
    pub(crate) fn headers<H: Host>(&mut self, host: &H, cqe: &Cqe, len: usize, used: usize) -> Result<Vec<u8>> {
        let (at, end) = (cqe64::shampo_data_offset.get(cqe) as usize, 1usize << self.shape.log_reservation);
        let expected = if cqe64::shampo_match.is_set(cqe) { self.next } else { used };
        if at != expected || at % end + len > end {
            return Err(misbehaves!("{len} bytes of payload at {at:#x}, expected at {expected:#x}"));
        }
        if at.is_multiple_of(end) {
            self.packets = 0;
        }
        self.packets += 1;
        if self.packets > 1 << self.shape.log_packets {
            return Err(misbehaves!("{} packets in a reservation", self.packets));
        }
        self.next = at + len;
        let size = cqe64::shampo_header_size.get(cqe) as usize;
        if size == 0 {
            return Ok(Vec::new());
        }
        let entry = cqe64::shampo_header_entry_index.get32(cqe);
        if entry != self.entry & ((1 << self.log_entries) - 1) {
            return Err(misbehaves!("headers in entry {entry:#x}, {:#x} is next", self.entry));
        }
        self.entry += 1;
        let byte = (entry as usize) << LOG_ENTRY;
        let mut headers = vec![0; size];
        host.mem_read(self.pages[byte / PAGE] + (byte % PAGE) as u64, &mut headers);
        Ok(headers)
    }

    /// Gives the memory back.
    pub(crate) fn free<H: Host>(self, host: &mut H) {
        self.pages.into_iter().for_each(|page| host.dma_free(page));
    }
}
