//! The L2 table (MPFS): unicast addresses that frames from the wire are let in for. One PF has a port to itself here, so
//! that the table is kept and shown, and filters nothing: the FDB and the receive tables do.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    delete_l2_table_entry_in, mac_address_layout, query_l2_table_entry_in, query_l2_table_entry_out,
    set_l2_table_entry_in,
};

use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, no_such};

/// log2 of the entries: `log_max_l2_table`.
pub const LOG_MAX_L2_TABLE: u32 = 8;

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L2Entry {
    /// The address.
    pub mac: [u8; mac_address_layout::SIZE],
    /// The VLAN, if the entry is for one only.
    pub vlan: Option<u16>,
}

impl<M: DmaSpace + 'static> Card<M> {
    fn l2_index(&self, call: &Call, index: u32) -> Result<u32, Stop> {
        if !self.functions[call.f].is_pf() {
            return bad_param(Syndrome::WrongFunction, "a VF has no L2 table");
        }
        if index >> LOG_MAX_L2_TABLE != 0 {
            let why = format!("entry {index} of an L2 table of {}", 1 << LOG_MAX_L2_TABLE);
            return bad_param(Syndrome::BadField, why);
        }
        Ok(index)
    }

    pub(crate) fn set_l2_table_entry(&mut self, call: &mut Call) -> Done {
        use set_l2_table_entry_in as cmd;
        let index = self.l2_index(call, call.get(cmd::table_index))?;
        let mut mac = [0; mac_address_layout::SIZE];
        mac.copy_from_slice(cmd::mac_address.of(call.input));
        let vlan = cmd::vlan_valid.is_set(call.input).then(|| call.get(cmd::vlan) as u16);
        self.functions[call.f].state.eswitch.l2.insert(index, L2Entry { mac, vlan });
        Ok(())
    }

    pub(crate) fn query_l2_table_entry(&mut self, call: &mut Call) -> Done {
        use query_l2_table_entry_out as out;
        let index = self.l2_index(call, call.get(query_l2_table_entry_in::table_index))?;
        let Some(entry) = self.functions[call.f].state.eswitch.l2.get(&index) else {
            return no_such("L2 table entry", index);
        };
        out::mac_address.of_mut(call.output).copy_from_slice(&entry.mac);
        if let Some(vlan) = entry.vlan {
            call.reply(out::vlan_valid, true);
            call.reply(out::vlan, vlan);
        }
        Ok(())
    }

    pub(crate) fn delete_l2_table_entry(&mut self, call: &mut Call) -> Done {
        let index = self.l2_index(call, call.get(delete_l2_table_entry_in::table_index))?;
        match self.functions[call.f].state.eswitch.l2.remove(&index) {
            Some(_) => Ok(()),
            None => no_such("L2 table entry", index),
        }
    }
}
