//! The e-switch context of a vport: VLAN insertion and stripping, and which metadata a frame keeps on its way to it.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    esw_vport_context, esw_vport_context_fields_select, modify_esw_vport_context_in, query_esw_vport_context_in,
    query_esw_vport_context_out,
};

use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param};

/// The metadata registers that a frame can keep on its way from the FDB to a vport: bit n is `metadata_reg_c_n`.
pub const FDB_TO_VPORT_REG_C: u64 = 0b11;

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

    /// VLAN insertion and stripping are not offered yet.
    pub(crate) fn modify_esw_vport_context(&mut self, call: &mut Call) -> Done {
        use esw_vport_context as ctx;
        use esw_vport_context_fields_select as select;
        use modify_esw_vport_context_in as cmd;
        let f = self.switched_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let (bits, new) = (cmd::field_select.of(call.input), cmd::esw_vport_context.of(call.input));
        for (bit, field) in [
            (select::vport_cvlan_strip, ctx::vport_cvlan_strip),
            (select::vport_svlan_strip, ctx::vport_svlan_strip),
            (select::vport_cvlan_insert, ctx::vport_cvlan_insert),
            (select::vport_svlan_insert, ctx::vport_svlan_insert),
        ] {
            if bit.is_set(bits) && field.get(new) != 0 {
                return bad_param(Syndrome::BadCapability, format!("{} is not offered", field.name));
            }
        }
        if select::fdb_to_vport_reg_c_id.is_set(bits) {
            let kept = ctx::fdb_to_vport_reg_c_id.get(new);
            if kept & !FDB_TO_VPORT_REG_C != 0 {
                let why = format!("fdb_to_vport_reg_c_id {kept:#x}, offered is {FDB_TO_VPORT_REG_C:#x}");
                return bad_param(Syndrome::BadCapability, why);
            }
            ctx::fdb_to_vport_reg_c_id.set(&mut self.admin_mut(f).context[..], kept);
        }
        Ok(())
    }
}
