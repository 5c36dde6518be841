//! Modify-header objects: what entries of flow tables change about a packet.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    alloc_modify_header_context_in, alloc_modify_header_context_out, copy_action_in, dealloc_modify_header_context_in,
    set_action_in,
};
use mlx5emu_steering::tables::{ModifyHeaderId, RawModifyAction};

use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param};

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn alloc_modify_header_context(&mut self, call: &mut Call) -> Done {
        use alloc_modify_header_context_in as cmd;
        if self.managed(call.f).is_empty() {
            return bad_param(Syndrome::BadCapability, "modify headers are offered to who manages an e-switch only");
        }
        let namespace = self.namespace(call, None, call.get(cmd::table_type))?;
        let count = cmd::num_of_actions.get(call.input) as usize;
        let actions: Vec<_> =
            cmd::actions.of(call.input).chunks_exact(set_action_in::SIZE).take(count).map(read_action).collect();
        if actions.len() < count {
            return bad_param(Syndrome::BadField, format!("{count} actions announced, {} given", actions.len()));
        }
        let steering = &mut self.functions[call.f].state.ethernet.steering;
        let id = steering.create_modify_header(namespace.table_type, &actions)?;
        call.reply(alloc_modify_header_context_out::modify_header_id, id.0);
        Ok(())
    }

    pub(crate) fn dealloc_modify_header_context(&mut self, call: &mut Call) -> Done {
        let id = ModifyHeaderId(call.get(dealloc_modify_header_context_in::modify_header_id));
        Ok(self.functions[call.f].state.ethernet.steering.destroy_modify_header(id)?)
    }
}

/// An action: where it begins, the three kinds agree.
fn read_action(raw: &[u8]) -> RawModifyAction {
    RawModifyAction {
        action_type: set_action_in::action_type.get(raw) as u8,
        field: set_action_in::field.get(raw) as u16,
        offset: set_action_in::offset.get(raw) as u8,
        length: set_action_in::length.get(raw) as u8,
        data: set_action_in::data.get32(raw),
        dst_field: copy_action_in::dst_field.get(raw) as u16,
        dst_offset: copy_action_in::dst_offset.get(raw) as u8,
    }
}
