//! Striding receive queues as `mlx5e` uses them: a linked list of long WQEs whose memory is mapped by UMR WQEs on a send
//! queue of their own, and completions that count strides.

use std::collections::VecDeque;

use mlx5emu_prm::layouts::{
    create_mkey_in, mkc, mlx5_cqe64 as cqe64, mlx5_err_cqe, mlx5_klm, mlx5_ksm, mlx5_mtt, mlx5_wqe_ctrl_seg as ctrl,
    mlx5_wqe_data_seg as data, mlx5_wqe_srq_next_seg as next_seg, mlx5_wqe_umr_ctrl_seg as umr_ctrl, wq,
};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::states::{MkeyAccessMode, WqType};
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome, MkeyMask, SEND_WQE_DS, WqeOpcode};

use crate::command::input;
use crate::cq::Cqe;
use crate::error::{Error, Result, misbehaves};
use crate::host::Host;
use crate::rq::Arrival;
use crate::split::{Split, SplitShape};
use crate::sq::Sq;

/// Bytes of a page of the host.
const PAGE: usize = 4096;
/// `MLX5_EN_WR`: the access rights in a page's entry.
const RIGHTS: u64 = 3;
/// UMR WQEs whose translations are longer than this have them outside.
const MAX_INLINE: usize = 896;

/// How the memory of the WQEs is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Pages, aligned.
    Mtt,
    /// Pages of 2 KiB: the frames of AF_XDP, which need `log_min_mkey_entity_size`.
    SmallMtt,
    /// Ranges of 4 KiB anywhere.
    Ksm,
    /// Of each 4 KiB this many bytes are real, the rest is thrown away.
    Klm(usize),
}

/// Shape of a striding queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StridingShape {
    /// log2 of its WQEs.
    pub log_size: u32,
    /// log2 of the strides of a WQE: 3 to 15.
    pub log_strides: u32,
    /// log2 of the bytes of a stride: 6 to 13.
    pub log_stride: u32,
    /// WQEs are a linked list; else a ring.
    pub linked: bool,
    /// Bytes that stay free before each packet.
    pub headroom: usize,
    /// How the memory is mapped.
    pub mapping: Mapping,
    /// Headers are split off.
    pub split: Option<SplitShape>,
    /// Translations are read from memory, not from the UMR WQE.
    pub pointer: bool,
}

impl StridingShape {
    /// As `mlx5e` has them for an MTU of 1500, but smaller WQEs.
    pub const fn plain() -> Self {
        Self {
            log_size: 3,
            log_strides: 4,
            log_stride: 11,
            linked: true,
            headroom: 66,
            mapping: Mapping::Mtt,
            split: None,
            pointer: false,
        }
    }

    fn wqe_bytes(&self) -> usize {
        1 << (self.log_strides + self.log_stride)
    }

    fn units(&self) -> usize {
        self.wqe_bytes().div_ceil(self.unit())
    }

    /// log2 of the bytes of a unit that UMR maps.
    fn log_unit(&self) -> u32 {
        if self.mapping == Mapping::SmallMtt { 11 } else { 12 }
    }

    /// Bytes of a unit that UMR maps.
    pub fn unit(&self) -> usize {
        1 << self.log_unit()
    }

    /// Units of a WQE with one more for what lies behind it, a multiple of 8.
    fn spaced_units(&self) -> usize {
        (self.units() + 1).next_multiple_of(8)
    }

    /// Bytes of a unit's translation.
    fn entry(&self) -> usize {
        match self.mapping {
            Mapping::Mtt | Mapping::SmallMtt => mlx5_mtt::SIZE,
            Mapping::Ksm => mlx5_ksm::SIZE,
            Mapping::Klm(_) => 2 * mlx5_klm::SIZE,
        }
    }

    fn mode(&self) -> MkeyAccessMode {
        match self.mapping {
            Mapping::Mtt | Mapping::SmallMtt => MkeyAccessMode::MTT,
            Mapping::Ksm => MkeyAccessMode::KSM,
            Mapping::Klm(_) => MkeyAccessMode::KLMS,
        }
    }

    /// log2 of a WQE's bytes in the queue: the link, and one data segment.
    pub(crate) fn log_wqe(&self) -> u32 {
        if self.linked { 5 } else { 4 }
    }

    /// The shape in a `wq`.
    pub(crate) fn fill(&self, queue: &mut [u8]) {
        let kind = if self.linked { WqType::LINKED_LIST_STRIDING_RQ } else { WqType::CYCLIC_STRIDING_RQ };
        wq::wq_type.set(queue, kind.0.into());
        wq::log_wqe_num_of_strides.set(queue, u64::from(self.log_strides.wrapping_sub(9)) & 0xf);
        wq::log_wqe_stride_size.set(queue, u64::from(self.log_stride - 6));
    }
}

/// What a striding queue has more than others.
#[derive(Debug)]
pub struct Striding {
    /// The send queue of its UMR WQEs.
    pub icosq: Sq,
    /// Filler completions so far.
    pub fillers: u64,
    /// The headers, if they are split off.
    pub(crate) split: Option<Split>,
    pub(crate) shape: StridingShape,
    /// The key over the WQEs' memory.
    mkey: u32,
    /// The key of all memory.
    under: u32,
    /// Where what nobody wants is written.
    garbage: u64,
    /// Memory of translations outside of WQEs.
    list: u64,
    /// Mapped units, by WQE.
    mapped: Vec<Vec<u64>>,
    /// Links between the WQEs, as in the queue's memory.
    links: Vec<u16>,
    /// The WQE that is posted next, and the last of the list.
    head: u16,
    tail: u16,
    /// WQEs whose UMR is not complete.
    in_progress: VecDeque<u16>,
    completed: u64,
    /// WQEs that the device has, in its order; strides of the first that are used.
    posted: VecDeque<u16>,
    used: usize,
    pc: u16,
}

impl Striding {
    /// Memory, but for what UMR maps later.
    ///
    /// # Errors
    /// No memory.
    pub fn new<H: Host>(host: &mut H, shape: StridingShape, icosq: Sq, under: u32) -> Result<Self> {
        let count = 1usize << shape.log_size;
        // The list starts with 0 and then runs backwards, so that a device that does not follow it is found out.
        let links = (0..count).map(|n| ((n + count - 1) % count) as u16).collect();
        let split = match shape.split {
            Some(split) => Some(Split::new(host, split, shape.wqe_bytes() << shape.log_size)?),
            None => None,
        };
        Ok(Self {
            icosq,
            fillers: 0,
            split,
            shape,
            mkey: 0,
            under,
            garbage: host.dma_alloc(2 * PAGE, PAGE)?,
            list: host.dma_alloc(shape.units() * shape.entry() + 64, 64)?,
            mapped: vec![Vec::new(); count],
            links,
            head: 0,
            tail: 1 % count as u16,
            in_progress: VecDeque::new(),
            completed: 0,
            posted: VecDeque::new(),
            used: 0,
            pc: 0,
        })
    }

    /// CREATE_MKEY of the key over the WQEs' memory: free, all of it garbage.
    pub fn mkey_input(&self, pd: u32) -> Vec<u8> {
        let shape = &self.shape;
        let units = shape.spaced_units() << shape.log_size;
        let mut cmd = input(Opcode::CREATE_MKEY, create_mkey_in::SIZE + units * shape.entry());
        let context = create_mkey_in::memory_key_mkey_entry.of_mut(&mut cmd);
        for field in [mkc::free, mkc::umr_en, mkc::lw, mkc::lr] {
            field.set(context, 1);
        }
        let octowords = (units * shape.entry() / 16) as u64;
        mkc::access_mode_1_0.set(context, shape.mode().0.into());
        mkc::qpn.set(context, 0xff_ffff);
        mkc::pd.set(context, pd.into());
        mkc::len.set(context, (units * shape.unit()) as u64);
        mkc::log_page_size.set(context, shape.log_unit().into());
        mkc::translations_octword_size.set(context, octowords);
        create_mkey_in::translations_octword_actual_size.set(&mut cmd, octowords);
        let list = self.translations(&vec![self.garbage; units]);
        cmd[create_mkey_in::SIZE..].copy_from_slice(&list);
        cmd
    }

    /// The key that CREATE_MKEY made.
    pub fn set_mkey(&mut self, mkey: u32) {
        self.mkey = mkey;
    }

    /// The key over the WQEs' memory.
    pub fn mkey(&self) -> u32 {
        self.mkey
    }

    /// All keys of the queue's own.
    pub(crate) fn mkeys(&self) -> Vec<u32> {
        std::iter::once(self.mkey).chain(self.split.as_ref().map(Split::mkey)).collect()
    }

    fn translations(&self, units: &[u64]) -> Vec<u8> {
        let mut list = vec![0u8; units.len() * self.shape.entry()];
        for (entry, address) in list.chunks_mut(self.shape.entry()).zip(units) {
            match self.shape.mapping {
                Mapping::Mtt | Mapping::SmallMtt => mlx5_mtt::ptag.set(entry, address | RIGHTS),
                Mapping::Ksm => {
                    mlx5_ksm::key.set(entry, self.under.into());
                    mlx5_ksm::va.set(entry, *address);
                }
                Mapping::Klm(len) => {
                    let (real, rest) = entry.split_at_mut(mlx5_klm::SIZE);
                    for (klm, va, len) in [(real, *address, len), (rest, self.garbage, PAGE - len)] {
                        mlx5_klm::key.set(klm, self.under.into());
                        mlx5_klm::va.set(klm, va);
                        mlx5_klm::bcount.set(klm, len as u64);
                    }
                }
            }
        }
        list
    }

    /// The WQE at `index`.
    pub(crate) fn wqe(&self, index: u16) -> Vec<u8> {
        let mut wqe = vec![0u8; 1 << self.shape.log_wqe()];
        let at = if self.shape.linked { next_seg::SIZE } else { 0 };
        if self.shape.linked {
            next_seg::next_wqe_index.set(&mut wqe, self.links[usize::from(index)].into());
        }
        let segment = &mut wqe[at..];
        let start = usize::from(index) * self.shape.spaced_units() * self.shape.unit() + self.shape.headroom;
        data::byte_count.set(segment, self.shape.wqe_bytes() as u64);
        data::lkey.set(segment, self.mkey.into());
        data::addr.set(segment, start as u64);
        wqe
    }

    fn next(&self, index: u16) -> u16 {
        if self.shape.linked { self.links[usize::from(index)] } else { (index + 1) & ((1 << self.shape.log_size) - 1) }
    }

    /// Maps new memory into all WQEs that the device does not have but one, and tells the device to.
    ///
    /// # Errors
    /// No memory; the send queue is full.
    pub(crate) fn map<H: Host>(&mut self, host: &mut H) -> Result<()> {
        let most = (1 << self.shape.log_size) - 1;
        let mut rang = false;
        while self.posted.len() + self.in_progress.len() < most {
            let index = self.head;
            let unit = self.shape.unit();
            let align = if matches!(self.shape.mapping, Mapping::Mtt | Mapping::SmallMtt) { unit } else { 1 };
            let units = (0..self.shape.units()).map(|_| host.dma_alloc(unit, align)).collect::<Result<Vec<_>>>()?;
            if !self.post_umr(host, index, &units)? {
                units.into_iter().for_each(|unit| host.dma_free(unit));
                break;
            }
            let old = std::mem::replace(&mut self.mapped[usize::from(index)], units);
            old.into_iter().for_each(|unit| host.dma_free(unit));
            self.in_progress.push_back(index);
            self.head = self.next(index);
            rang = true;
            if self.shape.pointer {
                break;
            }
        }
        if rang {
            self.icosq.ring(host);
        }
        Ok(())
    }

    /// Writes the UMR WQE that maps `units` into a WQE. Says whether there was room.
    fn post_umr<H: Host>(&mut self, host: &mut H, index: u16, units: &[u64]) -> Result<bool> {
        // Translations come in units of 64 bytes: what is too much goes to the space behind the WQE.
        let mut padded = units.to_vec();
        padded.resize(units.len().next_multiple_of(64 / self.shape.entry().min(64)), self.garbage);
        let list = self.translations(&padded);
        let octowords = list.len() / 16;
        let offset = usize::from(index) * self.shape.spaced_units() * self.shape.entry() / 16;
        let mut wqe = vec![0u8; ctrl::SIZE + umr_ctrl::SIZE + mkc::SIZE];
        let inline = !self.shape.pointer && list.len() <= MAX_INLINE;
        let control = &mut wqe[ctrl::SIZE..];
        umr_ctrl::inline_xlt.set(control, inline.into());
        umr_ctrl::translation_offset_en.set(control, 1);
        umr_ctrl::xlt_octowords.set(control, octowords as u64);
        umr_ctrl::xlt_offset.set(control, offset as u64 & 0xffff);
        umr_ctrl::xlt_offset_47_16.set(control, offset as u64 >> 16);
        umr_ctrl::mkey_mask.set(control, MkeyMask::FREE.0);
        if inline {
            wqe.extend_from_slice(&list);
        } else {
            if !self.in_progress.is_empty() {
                return Ok(false);
            }
            host.mem_write(self.list, &list);
            let at = wqe.len();
            wqe.resize(at + data::SIZE, 0);
            data::byte_count.set(&mut wqe[at..], list.len() as u64);
            data::lkey.set(&mut wqe[at..], self.under.into());
            data::addr.set(&mut wqe[at..], self.list);
        }
        ctrl::opcode.set(&mut wqe, WqeOpcode::UMR.0.into());
        let units = wqe.len().div_ceil(SEND_WQE_DS);
        ctrl::ds.set(&mut wqe, units as u64);
        ctrl::ce.set(&mut wqe, 2);
        ctrl::umr_mkey.set(&mut wqe, self.mkey.into());
        match self.icosq.post_raw(host, &wqe, true) {
            Ok(()) => Ok(true),
            Err(Error::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Polls the send queue; the new receive counter if WQEs were mapped.
    ///
    /// # Errors
    /// The device misbehaves.
    pub(crate) fn poll<H: Host>(&mut self, host: &mut H) -> Result<Option<u16>> {
        self.icosq.poll(host)?;
        let mut any = false;
        while self.completed < self.icosq.sent {
            self.completed += 1;
            if let Some(index) = self.in_progress.pop_front() {
                self.posted.push_back(index);
                self.pc = self.pc.wrapping_add(1);
                any = true;
            }
        }
        Ok(any.then_some(self.pc))
    }

    /// Whether WQEs are a linked list.
    pub(crate) fn is_linked(&self) -> bool {
        self.shape.linked
    }

    /// Whether the device has all WQEs but the one that is always kept.
    pub fn is_full(&self) -> bool {
        self.posted.len() == (1 << self.shape.log_size) - 1
    }

    /// WQEs that the device has.
    pub(crate) fn posted(&self) -> usize {
        self.posted.len()
    }

    /// Takes in a completion. `relink` is the WQE whose link changed, to be written.
    ///
    /// # Errors
    /// Not the WQE or stride that is next; more strides than there are.
    pub(crate) fn complete<H: Host>(&mut self, host: &H, cqe: &Cqe) -> Result<(Option<Arrival>, Option<u16>)> {
        let (wqe_id, stride) = (cqe64::wqe_id.get(cqe) as u16, cqe64::wqe_counter.get(cqe) as usize);
        let (taken, all) = (cqe64::consumed_strides.get(cqe) as usize, 1usize << self.shape.log_strides);
        let first = self.posted.front();
        // A payload that goes on in the stride of the one before it may need no other.
        let goes_on = self.split.is_some() && (cqe64::shampo_match.is_set(cqe) || stride == self.used);
        if first != Some(&wqe_id) || (stride != self.used && !goes_on) {
            return Err(misbehaves!("stride {stride} of WQE {wqe_id:#x}, next is {} of {first:x?}", self.used));
        }
        let used = self.used;
        self.used += taken;
        if (taken == 0 && !goes_on) || self.used > all {
            return Err(misbehaves!("{taken} strides from {stride} on, of {all}"));
        }
        let arrival = if CqeOpcode(cqe64::opcode.get(cqe) as u8) == CqeOpcode::RESP_ERR {
            Some(Arrival::Error(CqeSyndrome(mlx5_err_cqe::syndrome.get(cqe) as u8)))
        } else if cqe64::filler.is_set(cqe) {
            self.fillers += 1;
            None
        } else if let Some(split) = &mut self.split {
            let head = cqe64::shampo_header_size.get(cqe) as usize;
            let len = cqe64::mpwrq_byte_cnt.get(cqe) as usize - head;
            let mut frame = split.headers(host, cqe, len, used << self.shape.log_stride)?;
            let at = cqe64::shampo_data_offset.get(cqe) as usize;
            frame.extend(self.gather(host, wqe_id, at, len));
            if (at + len).div_ceil(1 << self.shape.log_stride) != self.used {
                return Err(misbehaves!("{taken} strides for {len} bytes from {at:#x} on"));
            }
            Some(Arrival::Frame(frame, *cqe))
        } else {
            let len = cqe64::mpwrq_byte_cnt.get(cqe) as usize;
            if len.div_ceil(1 << self.shape.log_stride) != taken {
                return Err(misbehaves!("{taken} strides for {len} bytes"));
            }
            Some(Arrival::Frame(self.gather(host, wqe_id, stride << self.shape.log_stride, len), *cqe))
        };
        if self.used < all {
            return Ok((arrival, None));
        }
        self.used = 0;
        self.posted.pop_front();
        // As `mlx5_wq_ll_pop`: behind the last one.
        let tail = std::mem::replace(&mut self.tail, wqe_id);
        self.links[usize::from(tail)] = wqe_id;
        Ok((arrival, self.shape.linked.then_some(tail)))
    }

    fn gather<H: Host>(&self, host: &H, index: u16, offset: usize, len: usize) -> Vec<u8> {
        let start = self.shape.headroom + offset;
        let size = self.shape.unit();
        let mut frame = vec![0u8; len];
        let mut at = 0;
        while at < len {
            let (unit, within) = ((start + at) / size, (start + at) % size);
            let n = (size - within).min(len - at);
            match self.mapped[usize::from(index)].get(unit) {
                Some(address) => host.mem_read(address + within as u64, &mut frame[at..at + n]),
                // The headroom of the last stride moves its end into the next unit, which is garbage.
                None => frame[at..at + n].fill(0),
            }
            at += n;
        }
        frame
    }

    /// Gives the memory back.
    pub(crate) fn free<H: Host>(self, host: &mut H) {
        self.mapped.into_iter().flatten().for_each(|unit| host.dma_free(unit));
        host.dma_free(self.garbage);
        host.dma_free(self.list);
        if let Some(split) = self.split {
            split.free(host);
        }
        self.icosq.free(host);
    }
}
