//! Memory keys: CREATE_MKEY, DESTROY_MKEY, QUERY_MKEY, and the translation of (key, virtual address) to DMA addresses.

use mlx5emu_pci_model::{Attrs, DmaSpace};
use mlx5emu_prm::layouts::{create_mkey_in, create_mkey_out, destroy_mkey_in, mkc, query_mkey_in, query_mkey_out};
use mlx5emu_prm::opcode::Status;
use mlx5emu_prm::states::MkeyAccessMode;
use parking_lot::{RwLock, RwLockWriteGuard};
use smallvec::SmallVec;

use super::translation::{OCTOWORD, Place, Translation};
use super::{MAX_OCTOWORDS, RESERVED_LKEY};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param, refuse};
use crate::function::Function;

/// What a transfer through a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The card reads guest memory.
    LocalRead,
    /// The card writes guest memory.
    LocalWrite,
}

/// Why a key does not translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// No such key, it is free, or its low byte is another one's.
    NoKey,
    /// The key is of another protection domain, does not allow the access, or is one over keys over keys.
    Denied,
    /// The address is outside the key's range.
    Range,
}

/// A memory key.
pub struct Mkey {
    pd: u32,
    key: Content,
}

/// What a key says, by who may change it.
enum Content {
    /// Nobody, as long as it lives.
    Fixed(Key),
    /// UMR. A leaf lock: queues hold it while they translate, and take no other meanwhile.
    Umr(RwLock<Key>),
}

/// What a memory key says.
pub(super) struct Key {
    /// The low 8 bits of the key, chosen by the driver.
    pub(super) variant: u8,
    /// Not in use: no transfer goes through it.
    pub(super) free: bool,
    start: u64,
    /// Length in bytes; `None`: all 64 bits.
    len: Option<u64>,
    read: bool,
    write: bool,
    /// What goes with every transfer through this key.
    attrs: Attrs,
    pub(super) translation: Translation,
    /// The context, as QUERY_MKEY answers it.
    pub(super) context: [u8; mkc::SIZE],
}

/// A piece of memory: DMA address, length, attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// DMA address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u64,
    /// Attributes of its key.
    pub attrs: Attrs,
}

impl Mkey {
    /// The protection domain.
    pub fn pd(&self) -> u32 {
        self.pd
    }

    /// The key, for a UMR WQE to change; `None` if it is not one for UMR.
    pub(super) fn for_umr(&self) -> Option<RwLockWriteGuard<'_, Key>> {
        match &self.key {
            Content::Fixed(_) => None,
            Content::Umr(key) => Some(key.write()),
        }
    }

    fn look<R>(&self, look: impl FnOnce(&Key) -> R) -> R {
        match &self.key {
            Content::Fixed(key) => look(key),
            Content::Umr(key) => look(&key.read()),
        }
    }
}

impl Key {
    /// Takes over what the context says, but for the translation.
    pub(super) fn read_context(&mut self) {
        let context = &self.context;
        self.variant = mkc::mkey_7_0.get(context) as u8;
        self.free = mkc::free.is_set(context);
        self.start = mkc::start_addr.get(context);
        self.len = (!mkc::length64.is_set(context)).then(|| mkc::len.get(context));
        self.read = mkc::lr.is_set(context);
        self.write = mkc::lw.is_set(context);
        self.attrs.relaxed_ordering =
            mkc::relaxed_ordering_write.is_set(context) || mkc::relaxed_ordering_read.is_set(context);
    }

    /// Where `len` bytes at `va` are, piece by piece.
    fn places(&self, va: u64, len: u64, mut each: impl FnMut(Place)) -> Result<(), KeyError> {
        let (mut offset, base) = match self.len {
            None => (va, 0),
            Some(all) => {
                let offset = va.checked_sub(self.start).ok_or(KeyError::Range)?;
                if len > all || offset > all - len {
                    return Err(KeyError::Range);
                }
                (offset, self.start)
            }
        };
        let mut left = len;
        while left > 0 {
            let place = self.translation.find(base, offset).ok_or(KeyError::Range)?;
            let (place, taken) = match place {
                Place::Dma { addr, len } => (Place::Dma { addr, len: len.min(left) }, len.min(left)),
                Place::Key { key, va, len } => (Place::Key { key, va, len: len.min(left) }, len.min(left)),
            };
            each(place);
            left -= taken;
            offset = offset.wrapping_add(taken);
        }
        Ok(())
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Translates `len` bytes at `va` through `key` for a queue of protection domain `pd`; hands each piece to `each`.
    pub(crate) fn translate(
        &self,
        key: u32,
        pd: u32,
        access: Access,
        va: u64,
        len: u64,
        mut each: impl FnMut(Piece),
    ) -> Result<(), KeyError> {
        if key == RESERVED_LKEY {
            each(Piece { addr: va, len, attrs: Attrs::PLAIN });
            return Ok(());
        }
        let mut ranges = SmallVec::<[(u32, u64, u64); 8]>::new();
        self.through(key, pd, access, va, len, |place, attrs| match place {
            Place::Dma { addr, len } => each(Piece { addr, len, attrs }),
            Place::Key { key, va, len } => ranges.push((key, va, len)),
        })?;
        // A key over keys: one level, as `max_indirection` says.
        for (key, va, len) in ranges {
            let mut deep = false;
            self.through(key, pd, access, va, len, |place, attrs| match place {
                Place::Dma { addr, len } => each(Piece { addr, len, attrs }),
                Place::Key { .. } => deep = true,
            })?;
            if deep {
                return Err(KeyError::Denied);
            }
        }
        Ok(())
    }

    /// One level of translation.
    fn through(
        &self,
        key: u32,
        pd: u32,
        access: Access,
        va: u64,
        len: u64,
        mut each: impl FnMut(Place, Attrs),
    ) -> Result<(), KeyError> {
        let mkey = self.state.memory.mkeys.find(key >> 8).ok_or(KeyError::NoKey)?;
        mkey.look(|entry| {
            if entry.variant != key as u8 || entry.free {
                return Err(KeyError::NoKey);
            }
            let allowed = match access {
                Access::LocalRead => entry.read,
                Access::LocalWrite => entry.write,
            };
            if mkey.pd != pd || !allowed {
                return Err(KeyError::Denied);
            }
            entry.places(va, len, |place| each(place, entry.attrs))
        })
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn create_mkey(&mut self, call: &mut Call) -> Done {
        use create_mkey_in as cmd;
        let context = cmd::memory_key_mkey_entry.of(call.input);
        let umr = mkc::umr_en.is_set(context);
        if cmd::mkey_umem_valid.is_set(call.input) || mkc::bsf_en.is_set(context) || mkc::pcie_tph_en.is_set(context) {
            return bad_param(Syndrome::BadCapability, "umem, BSF and TPH keys are not offered");
        }
        if mkc::free.is_set(context) && !umr {
            return bad_param(Syndrome::BadField, "a free key that UMR can't take into use");
        }
        let given = cmd::translations_octword_actual_size.get(call.input) as usize;
        let list = cmd::klm_pas_mtt.of(call.input);
        // The list may be padded.
        let Some(list) = list.get(..given.saturating_mul(OCTOWORD)) else {
            let why = format!("{given} octowords of translations announced, {} bytes given", list.len());
            return bad_param(Syndrome::BadGeometry, why);
        };
        // Only a key that UMR fills may have a table that is longer than what is given with it.
        let room = if umr { given.max(mkc::translations_octword_size.get(context) as usize) } else { given };
        let mode = mkc::access_mode_4_2.get(context) << 2 | mkc::access_mode_1_0.get(context);
        let mut kept = [0u8; mkc::SIZE];
        kept.copy_from_slice(&context[..mkc::SIZE]);
        let (pd, log_page) = (mkc::pd.get32(context), mkc::log_page_size.get32(context));
        let memory = &mut self.functions[call.f].state.memory;
        memory.pds.get(pd)?;
        memory.mkeys.next_number()?;
        if memory.octowords.saturating_add(room) > MAX_OCTOWORDS {
            let why = format!("{room} octowords of translations, {MAX_OCTOWORDS} in all");
            return refuse(Status::EXCEED_LIM, Syndrome::NoMoreObjects, why);
        }
        let mut translation = match Translation::new(MkeyAccessMode(mode as u8), log_page, room) {
            Ok(translation) => translation,
            Err(why) => return bad_param(Syndrome::BadCapability, why),
        };
        // Addresses through the key need no table when they are physical.
        if !matches!(translation, Translation::Physical) && !translation.write(0, list) {
            return bad_param(Syndrome::BadGeometry, "the translations do not fit in the key");
        }
        memory.octowords += translation.octowords();
        let mut key = Key {
            variant: 0,
            free: false,
            start: 0,
            len: None,
            read: false,
            write: false,
            attrs: Attrs::PLAIN,
            translation,
            context: kept,
        };
        key.read_context();
        let key = if umr { Content::Umr(RwLock::new(key)) } else { Content::Fixed(key) };
        let index = memory.mkeys.insert(Mkey { pd, key })?;
        memory.pds.hold(pd)?;
        call.reply(create_mkey_out::mkey_index, index);
        Ok(())
    }

    pub(crate) fn destroy_mkey(&mut self, call: &mut Call) -> Done {
        let memory = &mut self.functions[call.f].state.memory;
        let mkey = memory.mkeys.remove(call.get(destroy_mkey_in::mkey_index))?;
        memory.octowords -= mkey.look(|key| key.translation.octowords());
        memory.pds.release(mkey.pd);
        Ok(())
    }

    pub(crate) fn query_mkey(&mut self, call: &mut Call) -> Done {
        let mkey = self.functions[call.f].state.memory.mkeys.get(call.get(query_mkey_in::mkey_index))?;
        query_mkey_out::memory_key_mkey_entry.of_mut(call.output).copy_from_slice(&mkey.look(|key| key.context));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(start: u64, len: u64) -> Key {
        let mut translation = Translation::new(MkeyAccessMode::MTT, 12, 1).unwrap();
        assert!(translation.write(0, &[0x10_0000u64.to_be_bytes(), 0x50_0000u64.to_be_bytes()].concat()));
        Key {
            variant: 0,
            free: false,
            start,
            len: Some(len),
            read: true,
            write: true,
            attrs: Attrs::PLAIN,
            translation,
            context: [0; mkc::SIZE],
        }
    }

    #[test]
    fn a_range_that_starts_inside_a_page_is_translated_within_its_bounds() {
        let key = key(0x7000_0100, 0x1000);
        let places = |va, len| {
            let mut found = Vec::new();
            key.places(va, len, |place| found.push(place)).map(|()| found)
        };
        let first = Place::Dma { addr: 0x10_0100, len: 0xf00 };
        assert_eq!(places(0x7000_0100, 0x1000), Ok(vec![first, Place::Dma { addr: 0x50_0000, len: 0x100 }]));
        assert_eq!(places(0x7000_1000, 0x100), Ok(vec![Place::Dma { addr: 0x50_0000, len: 0x100 }]));
        assert_eq!(places(0x7000_1000, 0x101), Err(KeyError::Range));
        assert_eq!(places(0x7000_00ff, 1), Err(KeyError::Range));
        assert_eq!(places(u64::MAX, 1), Err(KeyError::Range));
    }
}
