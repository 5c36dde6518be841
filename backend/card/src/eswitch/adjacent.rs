//! Functions of others that are delegated to an e-switch (adjacent functions): QUERY_DELEGATED_VHCA, CREATE_ESW_VPORT,
//! DESTROY_ESW_VPORT.
//!
//! They are VFs of a PF that is in no machine, and nobody drives them. An e-switch manager has vports made for them, and
//! connects and disconnects these (MODIFY_VPORT_STATE); their own PF enables them and gives their pages.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    create_esw_vport_in, create_esw_vport_out, delegated_function_vhca_rid_info, destroy_esw_vport_in,
    function_vhca_rid_info_reg, modify_vport_state_in, query_delegated_vhca_out,
};
use mlx5emu_prm::opcode::Status;

use super::{ADJACENT_BASE, VportAdmin};
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};

/// The function of the PF that they belong to, where it is: the last of a slot, where this card has none unless it has eight
/// ports.
const PARENT_DEVFN: u64 = 7;

impl<M: DmaSpace + 'static> Card<M> {
    fn delegated_to(&self, f: FunctionIndex) -> Vec<FunctionIndex> {
        self.managed(f).iter().copied().filter(|f| self.functions[*f].setup.is_adjacent()).collect()
    }

    pub(crate) fn query_delegated_vhca(&mut self, call: &mut Call) -> Done {
        use function_vhca_rid_info_reg as rid;
        let all = self.delegated_to(call.f);
        let list = query_delegated_vhca_out::delegated_function_vhca_rid_info;
        let room = list.of(call.output).len() / delegated_function_vhca_rid_info::SIZE;
        if all.len() > room {
            return bad_param(Syndrome::BadGeometry, format!("{} functions, room for {room}", all.len()));
        }
        call.reply(query_delegated_vhca_out::functions_count, all.len() as u64);
        for (n, f) in all.into_iter().enumerate() {
            let setup = &self.functions[f].setup;
            let entry = delegated_function_vhca_rid_info::function_vhca_rid_info.of_mut(list.at_mut(call.output, n));
            rid::parent_pci_device_function.set(entry, PARENT_DEVFN);
            rid::vhca_id.set(entry, setup.vhca_id.into());
            rid::function_id.set(entry, u64::from(setup.vport - ADJACENT_BASE));
        }
        Ok(())
    }

    pub(crate) fn create_esw_vport(&mut self, call: &mut Call) -> Done {
        let id = call.get(create_esw_vport_in::managed_vhca_id);
        let named = |f: &FunctionIndex| u32::from(self.functions[*f].setup.vhca_id) == id;
        let Some(f) = self.delegated_to(call.f).into_iter().find(named) else {
            return bad_param(Syndrome::WrongFunction, format!("VHCA id {id:#x} is not delegated to this e-switch"));
        };
        let vhca = &mut self.admin_mut(f).vhca;
        if std::mem::replace(&mut vhca.allocated, true) {
            let why = format!("{} has a vport already", self.function_name(f));
            return refuse(Status::BAD_RES_STATE, Syndrome::WrongVport, why);
        }
        call.reply(create_esw_vport_out::vport_num, self.functions[f].setup.vport);
        Ok(())
    }

    pub(crate) fn destroy_esw_vport(&mut self, call: &mut Call) -> Done {
        let f = self.named_vport(call, true, call.get(destroy_esw_vport_in::vport_num))?;
        if !self.functions[f].setup.is_adjacent() {
            return bad_param(Syndrome::WrongVport, format!("the vport of {} was not created", self.function_name(f)));
        }
        self.forget_vport(f, VportAdmin::default());
        Ok(())
    }

    /// What MODIFY_VPORT_STATE says of the connections of a vport to its e-switch, both ways.
    pub(super) fn connect(&mut self, call: &Call, f: FunctionIndex) -> Result<(), Stop> {
        use modify_vport_state_in as cmd;
        let ways =
            [(cmd::ingress_connect_valid, cmd::ingress_connect), (cmd::egress_connect_valid, cmd::egress_connect)];
        let said = ways.map(|(valid, connect)| valid.is_set(call.input).then(|| connect.is_set(call.input)));
        let connected = match said {
            [None, None] => return Ok(()),
            [Some(ingress), Some(egress)] if ingress == egress => ingress,
            _ => return bad_param(Syndrome::BadField, "only both ways can be connected, or none"),
        };
        if !self.functions[f].setup.is_adjacent() {
            return bad_param(Syndrome::WrongVport, format!("{} is always connected", self.function_name(f)));
        }
        self.admin_mut(f).enabled = connected;
        Ok(())
    }
}
