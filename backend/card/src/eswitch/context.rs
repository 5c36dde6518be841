//! The e-switch context of a vport: VLAN insertion and stripping, and which metadata a frame keeps on its way to it.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    esw_vport_context, esw_vport_context_fields_select, modify_esw_vport_context_in, query_esw_vport_context_in,
    query_esw_vport_context_out,
};

use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param};

impl<M: DmaSpace + 'static> Card<M> {
    fn switched_vport(&self, call: &Call, other: bool, number: u32) -> Result<FunctionIndex, Stop> {
        if !self.functions[call.f].is_pf() {
            return bad_param(Syndrome::WrongVport, "this function manages no e-switch");
        }
        self.named_vport(call, other, number)
    }

    pub(crate) fn query_esw_vport_context(&mut self, call: &mut Call) -> Done {
        use query_esw_vport_context_in as cmd;
        let f = self.switched_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        if let Some(admin) = self.admin(f) {
            query_esw_vport_context_out::esw_vport_context.of_mut(call.output).copy_from_slice(&admin.context[..]);
        }
        Ok(())
    }

    /// Only "nothing" can be asked for yet: no capability of the context is set.
    pub(crate) fn modify_esw_vport_context(&mut self, call: &mut Call) -> Done {
        use esw_vport_context as ctx;
        use esw_vport_context_fields_select as select;
        use modify_esw_vport_context_in as cmd;
        self.switched_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let (bits, new) = (cmd::field_select.of(call.input), cmd::esw_vport_context.of(call.input));
        for (bit, field) in [
            (select::vport_cvlan_strip, ctx::vport_cvlan_strip),
            (select::vport_svlan_strip, ctx::vport_svlan_strip),
            (select::vport_cvlan_insert, ctx::vport_cvlan_insert),
            (select::vport_svlan_insert, ctx::vport_svlan_insert),
            (select::fdb_to_vport_reg_c_id, ctx::fdb_to_vport_reg_c_id),
        ] {
            if bit.is_set(bits) && field.get(new) != 0 {
                return bad_param(Syndrome::BadCapability, format!("{} is not offered", field.name));
            }
        }
        Ok(())
    }
}
