//! Memory keys: CREATE_MKEY, DESTROY_MKEY, QUERY_MKEY, and the translation of (key, virtual address) to DMA addresses.

use mlx5emu_pci_model::{Attrs, DmaSpace};
use mlx5emu_prm::layouts::{create_mkey_in, create_mkey_out, destroy_mkey_in, mkc, query_mkey_in, query_mkey_out};

use super::RESERVED_LKEY;
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param};
use crate::function::Function;

/// Access modes of a memory key (`MLX5_MKC_ACCESS_MODE_*`).
const ACCESS_MODE_PA: u64 = 0;
const ACCESS_MODE_MTT: u64 = 1;

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
    /// No such key, or its low byte is another one's.
    NoKey,
    /// The key is of another protection domain, or does not allow the access.
    Denied,
    /// The address is outside the key's range.
    Range,
}

/// How a key's addresses become DMA addresses.
enum Translation {
    /// They are DMA addresses.
    Physical,
    /// A table of pages.
    Pages { log_page: u32, pages: Box<[u64]> },
}

/// A memory key.
pub struct Mkey {
    /// The low 8 bits of the key, chosen by the driver.
    variant: u8,
    pd: u32,
    start: u64,
    /// Length in bytes; `None`: all 64 bits.
    len: Option<u64>,
    read: bool,
    write: bool,
    /// What goes with every transfer through this key.
    attrs: Attrs,
    translation: Translation,
    context: [u8; mkc::SIZE],
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
    /// The piece of memory that starts at `va`, as far as it is contiguous and at most `len` bytes.
    fn piece(&self, va: u64, len: u64) -> Result<Piece, KeyError> {
        let offset = match self.len {
            None => va,
            Some(all) => {
                let offset = va.checked_sub(self.start).ok_or(KeyError::Range)?;
                if len > all || offset > all - len {
                    return Err(KeyError::Range);
                }
                offset
            }
        };
        match &self.translation {
            Translation::Physical => Ok(Piece { addr: va, len, attrs: self.attrs }),
            Translation::Pages { log_page, pages } => {
                // The table starts at the page that holds the key's first byte.
                let byte = (self.start & ((1 << log_page) - 1)) + offset;
                let page = pages.get((byte >> log_page) as usize).ok_or(KeyError::Range)?;
                let within = byte & ((1 << log_page) - 1);
                Ok(Piece { addr: page + within, len: len.min((1 << log_page) - within), attrs: self.attrs })
            }
        }
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Translates `len` bytes at `va` through `key` for a queue of protection domain `pd`; hands each piece to `each`.
    pub(crate) fn translate(
        &self,
        key: u32,
        pd: u32,
        access: Access,
        mut va: u64,
        mut len: u64,
        mut each: impl FnMut(Piece),
    ) -> Result<(), KeyError> {
        if key == RESERVED_LKEY {
            each(Piece { addr: va, len, attrs: Attrs::PLAIN });
            return Ok(());
        }
        let mkey = self.state.memory.mkeys.find(key >> 8).ok_or(KeyError::NoKey)?;
        if mkey.variant != key as u8 {
            return Err(KeyError::NoKey);
        }
        let allowed = match access {
            Access::LocalRead => mkey.read,
            Access::LocalWrite => mkey.write,
        };
        if mkey.pd != pd || !allowed {
            return Err(KeyError::Denied);
        }
        while len > 0 {
            let piece = mkey.piece(va, len)?;
            va = va.wrapping_add(piece.len);
            len -= piece.len;
            each(piece);
        }
        Ok(())
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn create_mkey(&mut self, call: &mut Call) -> Done {
        use create_mkey_in as cmd;
        let context = cmd::memory_key_mkey_entry.of(call.input);
        let mode = mkc::access_mode_4_2.get(context) << 2 | mkc::access_mode_1_0.get(context);
        if mkc::free.is_set(context) || mkc::umr_en.is_set(context) || cmd::mkey_umem_valid.is_set(call.input) {
            return bad_param(Syndrome::BadCapability, "keys to be filled by UMR or umem are not offered");
        }
        if mkc::bsf_en.is_set(context) || mkc::pcie_tph_en.is_set(context) {
            return bad_param(Syndrome::BadCapability, "BSF and TPH keys are not offered");
        }
        let translation = match mode {
            ACCESS_MODE_PA => Translation::Physical,
            ACCESS_MODE_MTT => {
                let log_page = mkc::log_page_size.get32(context);
                if !(12..=40).contains(&log_page) {
                    return bad_param(Syndrome::BadGeometry, format!("a key with pages of 2^{log_page} bytes"));
                }
                // Two entries an octoword of 16 bytes; the list may be padded.
                let entries = cmd::translations_octword_actual_size.get(call.input) as usize * 2;
                let list = cmd::klm_pas_mtt.of(call.input).as_chunks::<8>().0;
                if list.len() < entries {
                    let why = format!("{entries} translations announced, {} given", list.len());
                    return bad_param(Syndrome::BadGeometry, why);
                }
                // The low bits of an entry are access rights (`MLX5_MTT_PERM_RW`).
                let pages = list[..entries].iter().map(|p| u64::from_be_bytes(*p) & !0xfff).collect();
                Translation::Pages { log_page, pages }
            }
            other => return bad_param(Syndrome::BadCapability, format!("access mode {other} is not offered")),
        };
        let pd = mkc::pd.get32(context);
        let mut kept = [0u8; mkc::SIZE];
        kept.copy_from_slice(&context[..mkc::SIZE]);
        let mkey = Mkey {
            variant: mkc::mkey_7_0.get(context) as u8,
            pd,
            start: mkc::start_addr.get(context),
            len: (!mkc::length64.is_set(context)).then(|| mkc::len.get(context)),
            read: mkc::lr.is_set(context),
            write: mkc::lw.is_set(context),
            attrs: Attrs {
                relaxed_ordering: mkc::relaxed_ordering_write.is_set(context)
                    || mkc::relaxed_ordering_read.is_set(context),
                ..Attrs::PLAIN
            },
            translation,
            context: kept,
        };
        let memory = &mut self.functions[call.f].state.memory;
        memory.pds.get(pd)?;
        let index = memory.mkeys.insert(mkey)?;
        memory.pds.hold(pd)?;
        call.reply(create_mkey_out::mkey_index, index);
        Ok(())
    }

    pub(crate) fn destroy_mkey(&mut self, call: &mut Call) -> Done {
        let memory = &mut self.functions[call.f].state.memory;
        let mkey = memory.mkeys.remove(call.get(destroy_mkey_in::mkey_index))?;
        memory.pds.release(mkey.pd);
        Ok(())
    }

    pub(crate) fn query_mkey(&mut self, call: &mut Call) -> Done {
        let mkey = self.functions[call.f].state.memory.mkeys.get(call.get(query_mkey_in::mkey_index))?;
        query_mkey_out::memory_key_mkey_entry.of_mut(call.output).copy_from_slice(&mkey.context);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, len: u64) -> Mkey {
        Mkey {
            variant: 0,
            pd: 1,
            start,
            len: Some(len),
            read: true,
            write: true,
            attrs: Attrs::PLAIN,
            translation: Translation::Pages { log_page: 12, pages: [0x10_0000, 0x50_0000].into() },
            context: [0; mkc::SIZE],
        }
    }

    #[test]
    fn a_range_that_starts_inside_a_page_is_translated() {
        let key = pages(0x7000_0100, 0x1000);
        assert_eq!(key.piece(0x7000_0100, 0x1000).unwrap().addr, 0x10_0100);
        assert_eq!(key.piece(0x7000_0100, 0x1000).unwrap().len, 0xf00);
        assert_eq!(key.piece(0x7000_1000, 0x100).unwrap().addr, 0x50_0000);
        assert_eq!(key.piece(0x7000_1000, 0x101), Err(KeyError::Range));
        assert_eq!(key.piece(0x7000_00ff, 1), Err(KeyError::Range));
        assert_eq!(key.piece(u64::MAX, 1), Err(KeyError::Range));
    }
}
