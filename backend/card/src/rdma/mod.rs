//! What the driver's RDMA side needs to load over an Ethernet function without RoCE (its raw Ethernet profile): XRC
//! domains and the partition key table. Queue pairs and shared receive queues are not offered yet.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{alloc_xrcd_out, dealloc_xrcd_in, pkey, query_hca_vport_pkey_in, query_hca_vport_pkey_out};
use mlx5emu_prm::opcode::Status;

use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param, refuse};
use crate::table::Table;

/// log2 of the XRC domains: `log_max_xrcd`.
pub const LOG_MAX_XRCD: u32 = 8;
/// Entries of the partition key table: `pkey_table_size` 0.
const PKEYS: u32 = 128;
/// The default partition, as a full member: the only one of an Ethernet port.
const DEFAULT_PKEY: u64 = 0xffff;
/// `pkey_index` for the whole table.
const ALL_PKEYS: u32 = 0xffff;

/// The RDMA objects of a function.
pub struct Rdma {
    /// XRC domains.
    pub xrcds: Table<()>,
}

impl Rdma {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { xrcds: Table::new("XRC domain", 1, 1 << LOG_MAX_XRCD) }
    }
}

impl Default for Rdma {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn alloc_xrcd(&mut self, call: &mut Call) -> Done {
        let xrcd = self.functions[call.f].state.rdma.xrcds.insert(())?;
        call.reply(alloc_xrcd_out::xrcd, xrcd);
        Ok(())
    }

    pub(crate) fn dealloc_xrcd(&mut self, call: &mut Call) -> Done {
        self.functions[call.f].state.rdma.xrcds.remove(call.get(dealloc_xrcd_in::xrcd))
    }

    pub(crate) fn query_hca_vport_pkey(&mut self, call: &mut Call) -> Done {
        use query_hca_vport_pkey_in as cmd;
        if cmd::other_vport.is_set(call.input) {
            return bad_param(Syndrome::WrongVport, "this function manages no other vport");
        }
        let index = call.get(cmd::pkey_index);
        let (first, count) = if index == ALL_PKEYS { (0, PKEYS) } else { (index, 1) };
        if first >= PKEYS {
            return refuse(Status::BAD_INDEX, Syndrome::BadField, format!("pkey_index {index}, there are {PKEYS}"));
        }
        let list = query_hca_vport_pkey_out::pkey.of_mut(call.output);
        for (n, entry) in list.chunks_exact_mut(pkey::SIZE).take(count as usize).enumerate() {
            // Entries without a partition are 0.
            pkey::pkey.set(entry, if first == 0 && n == 0 { DEFAULT_PKEY } else { 0 });
        }
        Ok(())
    }
}
