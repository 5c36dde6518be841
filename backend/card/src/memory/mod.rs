//! Protection domains, transport domains and memory keys: commands ([`mkey`]), tables ([`translation`]), and their change
//! by work queue entries ([`umr`]).

pub mod mkey;
pub mod translation;
pub mod umr;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    alloc_pd_out, alloc_transport_domain_out, dealloc_pd_in, dealloc_transport_domain_in, query_special_contexts_out,
};

use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::Done;
use crate::table::Table;
use mkey::Mkey;

/// log2 of the protection domains: `log_max_pd`.
pub const LOG_MAX_PD: u32 = 12;
/// log2 of the transport domains: `log_max_transport_domain`.
pub const LOG_MAX_TRANSPORT_DOMAIN: u32 = 12;
/// log2 of the memory keys: `log_max_mkey`.
pub const LOG_MAX_MKEY: u32 = 18;
/// The reserved lkey of kernel queues (`resd_lkey`): all memory, physical addresses. Its index is never handed out.
pub const RESERVED_LKEY: u32 = 0x100 << 8;
/// Octowords of translations of all keys of a function together: 128 MiB, page lists for 64 GiB.
const MAX_OCTOWORDS: usize = 1 << 23;
/// log2 of the entries of an indirect key: `log_max_klm_list_size`.
pub const LOG_MAX_KLM_LIST_SIZE: u32 = 16;
/// log2 of the bytes of a page of a key, at least: `log_min_mkey_entity_size`. AF_XDP's frames may have 2 KiB.
pub const LOG_MIN_PAGE: u32 = 11;
/// Memory key numbers start here.
const FIRST_MKEY: u32 = 0x200;

/// A function's protection domains, transport domains and memory keys.
pub struct Memory {
    /// Protection domains.
    pub pds: Table<()>,
    /// Transport domains.
    pub domains: Table<()>,
    /// Memory keys, by index (the key without its low 8 bits).
    pub mkeys: Table<Mkey>,
    /// Octowords of translations that the keys have together.
    octowords: usize,
}

impl Memory {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            pds: Table::new("PD", 1, 1 << LOG_MAX_PD),
            domains: Table::new("transport domain", 1, 1 << LOG_MAX_TRANSPORT_DOMAIN),
            mkeys: Table::new("mkey", FIRST_MKEY, 1 << LOG_MAX_MKEY),
            octowords: 0,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn alloc_pd(&mut self, call: &mut Call) -> Done {
        let pd = self.functions[call.f].state.memory.pds.insert(())?;
        call.reply(alloc_pd_out::pd, pd);
        Ok(())
    }

    pub(crate) fn dealloc_pd(&mut self, call: &mut Call) -> Done {
        self.functions[call.f].state.memory.pds.remove(call.get(dealloc_pd_in::pd))
    }

    pub(crate) fn alloc_transport_domain(&mut self, call: &mut Call) -> Done {
        let domain = self.functions[call.f].state.memory.domains.insert(())?;
        call.reply(alloc_transport_domain_out::transport_domain, domain);
        Ok(())
    }

    pub(crate) fn dealloc_transport_domain(&mut self, call: &mut Call) -> Done {
        let domain = call.get(dealloc_transport_domain_in::transport_domain);
        self.functions[call.f].state.memory.domains.remove(domain)
    }

    pub(crate) fn query_special_contexts(&mut self, call: &mut Call) -> Done {
        call.reply(query_special_contexts_out::resd_lkey, RESERVED_LKEY);
        Ok(())
    }
}
