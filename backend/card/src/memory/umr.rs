//! User-mode memory registration (UMR): a work queue entry that changes a memory key. The driver maps the pages of its
//! striding receive queues with it.

use mlx5emu_pci_model::{DmaError, DmaSpace};
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::{mkc, mlx5_wqe_ctrl_seg, mlx5_wqe_data_seg, mlx5_wqe_umr_ctrl_seg as umr_ctrl};
use mlx5emu_prm::wqe::MkeyMask;

use super::mkey::{Access, Key};
use super::translation::OCTOWORD;
use crate::function::Function;

/// Where the memory key segment starts; the list of translations, or the pointer to it, follows it.
const KEY_AT: usize = mlx5_wqe_ctrl_seg::SIZE + umr_ctrl::SIZE;
/// The fixed part of a UMR WQE.
const FIXED: usize = KEY_AT + mkc::SIZE;

/// Bits of the mask, with the fields of the context that each of them changes.
const CHANGES: &[(MkeyMask, &[Field])] = &[
    (MkeyMask::LEN, &[mkc::len, mkc::length64]),
    (MkeyMask::PAGE_SIZE, &[mkc::log_page_size]),
    (MkeyMask::PAGE_SIZE_5, &[mkc::log_page_size]),
    (MkeyMask::START_ADDR, &[mkc::start_addr]),
    (MkeyMask::EN_RINVAL, &[mkc::en_rinval]),
    (MkeyMask::KEY, &[mkc::mkey_7_0]),
    (MkeyMask::QPN, &[mkc::qpn]),
    (MkeyMask::LR, &[mkc::lr]),
    (MkeyMask::LW, &[mkc::lw]),
    (MkeyMask::RR, &[mkc::rr]),
    (MkeyMask::RW, &[mkc::rw]),
    (MkeyMask::A, &[mkc::a]),
    (MkeyMask::SMALL_FENCE, &[mkc::small_fence_on_rdma_read_response]),
    (MkeyMask::RELAXED_ORDERING_WRITE, &[mkc::relaxed_ordering_write]),
    (MkeyMask::RELAXED_ORDERING_READ, &[mkc::relaxed_ordering_read]),
    (MkeyMask::FREE, &[mkc::free]),
];

/// Why a UMR WQE fails.
pub enum UmrError {
    /// Guest memory: the list of translations.
    Dma(DmaError),
    /// The WQE is not one: LOCAL_QP_OP_ERR.
    Malformed(String),
    /// The key can't be changed so: MW_BIND_ERR.
    Refused(String),
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Executes a UMR WQE of a queue of protection domain `pd`. All of it happens or nothing.
    pub(crate) fn umr(&self, pd: u32, wqe: &[u8]) -> Result<(), UmrError> {
        let malformed = |why: &str| Err(UmrError::Malformed(why.to_owned()));
        if wqe.len() < FIXED {
            return malformed("a UMR WQE without its segments");
        }
        let (control, context) = (&wqe[mlx5_wqe_ctrl_seg::SIZE..], &wqe[KEY_AT..FIXED]);
        let mask = umr_ctrl::mkey_mask.get(control);
        if mask & !CHANGES.iter().fold(0, |all, (bit, _)| all | bit.0) != 0 {
            return malformed(&format!("mkey_mask {mask:#x}"));
        }
        let list = self.umr_list(pd, control, &wqe[FIXED..])?;
        let at = if umr_ctrl::translation_offset_en.is_set(control) {
            umr_ctrl::xlt_offset.get(control) | umr_ctrl::xlt_offset_47_16.get(control) << 16
        } else {
            0
        };
        let number = mlx5_wqe_ctrl_seg::umr_mkey.get32(wqe);
        let refused = |why: &str| Err(UmrError::Refused(format!("key {number:#x} {why}")));
        let Some(mkey) = self.state.memory.mkeys.find(number >> 8) else { return refused("does not exist") };
        if mkey.pd() != pd {
            return refused("is of another PD");
        }
        let Some(mut key) = mkey.for_umr() else { return refused("is not one for UMR") };
        if key.variant != number as u8 {
            return refused("has another low byte");
        }
        if umr_ctrl::check_free.is_set(control) && key.free {
            return refused("is free");
        }
        if umr_ctrl::check_not_free.is_set(control) && !key.free {
            return refused("is not free");
        }
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if !key.translation.fits(at, list.len()) {
            return refused("has fewer translations");
        }
        let resizes = mask & (MkeyMask::PAGE_SIZE.0 | MkeyMask::PAGE_SIZE_5.0) != 0;
        if resizes && !key.translation.resize(mkc::log_page_size.get32(context)) {
            return refused("can't have pages of that size");
        }
        key.translation.write(at, &list);
        change(&mut key, mask, context);
        Ok(())
    }

    /// The translations: in the WQE itself or where a data segment points. A list of 16-bit length, at most 1 MiB.
    fn umr_list(&self, pd: u32, control: &[u8], rest: &[u8]) -> Result<Vec<u8>, UmrError> {
        let len = umr_ctrl::xlt_octowords.get(control) as usize * OCTOWORD;
        if umr_ctrl::inline_xlt.is_set(control) || len == 0 {
            return match rest.get(..len) {
                Some(list) => Ok(list.to_vec()),
                None => Err(UmrError::Malformed(format!("{len} bytes of translations in a WQE with {}", rest.len()))),
            };
        }
        let Some(pointer) = rest.get(..mlx5_wqe_data_seg::SIZE) else {
            return Err(UmrError::Malformed("no pointer to the translations".into()));
        };
        let key = mlx5_wqe_data_seg::lkey.get32(pointer);
        if (mlx5_wqe_data_seg::byte_count.get(pointer) as usize) < len {
            return Err(UmrError::Malformed(format!("fewer than {len} bytes of translations")));
        }
        let (mut list, mut failed) = (Vec::with_capacity(len), None);
        let address = mlx5_wqe_data_seg::addr.get(pointer);
        let translated = self.translate(key, pd, Access::LocalRead, address, len as u64, |piece| {
            let start = list.len();
            list.resize(start + piece.len as usize, 0);
            if failed.is_none() {
                failed = self.space.read(piece.attrs, piece.addr, &mut list[start..]).err();
            }
        });
        match (translated, failed) {
            (Ok(()), None) => Ok(list),
            (Ok(()), Some(error)) => Err(UmrError::Dma(error)),
            (Err(_), _) => Err(UmrError::Refused(format!("lkey {key:#x} of the translations does not translate"))),
        }
    }
}

fn change(key: &mut Key, mask: u64, context: &[u8]) {
    for (bit, fields) in CHANGES {
        if mask & bit.0 != 0 {
            fields.iter().for_each(|field| field.set(&mut key.context, field.get(context)));
        }
    }
    key.read_context();
}
