//! The e-switch context of a vport: VLAN insertion and stripping, and which metadata a frame keeps on its way to it.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    esw_vport_context, esw_vport_context_fields_select, modify_esw_vport_context_in, query_esw_vport_context_in,
    query_esw_vport_context_out,
};
use mlx5emu_steering::packet::{VlanTag, ethernet, ethertype};

use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param};

/// The metadata registers that a frame can keep on its way from the FDB to a vport: bit n is `metadata_reg_c_n`.
pub const FDB_TO_VPORT_REG_C: u64 = 0b11;

/// `vport_cvlan_insert`: what has no C-VLAN tag gets one (`MLX5_VPORT_CVLAN_INSERT_WHEN_NO_CVLAN`).
const INSERT_WHEN_NO_CVLAN: u64 = 1;

/// The tag that frames of a vport get if they have none.
pub(super) fn inserted(context: &[u8]) -> Option<VlanTag> {
    use esw_vport_context as ctx;
    (ctx::vport_cvlan_insert.get(context) == INSERT_WHEN_NO_CVLAN).then(|| VlanTag {
        tpid: ethertype::CVLAN,
        tci: (ctx::cvlan_pcp.get(context) << 13 | ctx::cvlan_cfi.get(context) << 12 | ctx::cvlan_id.get(context))
            as u16,
    })
}

/// Whether frames that go to a vport lose their tag.
pub(super) fn strips(context: &[u8]) -> bool {
    esw_vport_context::vport_cvlan_strip.is_set(context)
}

fn has_cvlan(frame: &[u8]) -> bool {
    frame.get(ethernet::ADDRESSES..ethernet::ADDRESSES + 2) == Some(&ethertype::CVLAN.to_be_bytes()[..])
}

/// `frame` with `tag` if it has no C-VLAN tag, in `out`, which is emptied first.
pub(super) fn insert_cvlan(frame: &[u8], tag: VlanTag, out: &mut Vec<u8>) {
    out.clear();
    let (addresses, rest) = frame.split_at(frame.len().min(ethernet::ADDRESSES));
    out.extend_from_slice(addresses);
    if !has_cvlan(frame) {
        out.extend_from_slice(&tag.to_bytes());
    }
    out.extend_from_slice(rest);
}

/// `frame` without its C-VLAN tag, in `out`, which is emptied first.
pub(super) fn strip_cvlan(frame: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let (addresses, rest) = frame.split_at(frame.len().min(ethernet::ADDRESSES));
    out.extend_from_slice(addresses);
    out.extend_from_slice(rest.get(if has_cvlan(frame) { ethernet::VLAN_LEN } else { 0 }..).unwrap_or(&[]));
}

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

    pub(crate) fn modify_esw_vport_context(&mut self, call: &mut Call) -> Done {
        use esw_vport_context as ctx;
        use esw_vport_context_fields_select as select;
        use modify_esw_vport_context_in as cmd;
        let f = self.switched_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let (bits, new) = (cmd::field_select.of(call.input), cmd::esw_vport_context.of(call.input));
        for (bit, field, most) in [
            (select::vport_cvlan_strip, ctx::vport_cvlan_strip, 1),
            (select::vport_svlan_strip, ctx::vport_svlan_strip, 0),
            (select::vport_cvlan_insert, ctx::vport_cvlan_insert, INSERT_WHEN_NO_CVLAN),
            (select::vport_svlan_insert, ctx::vport_svlan_insert, 0),
        ] {
            if bit.is_set(bits) && field.get(new) > most {
                let why = format!("{} {} is not offered", field.name, field.get(new));
                return bad_param(Syndrome::BadCapability, why);
            }
        }
        if select::vport_cvlan_strip.is_set(bits) {
            let context = &mut self.admin_mut(f).context[..];
            ctx::vport_cvlan_strip.set(context, ctx::vport_cvlan_strip.get(new));
        }
        if select::vport_cvlan_insert.is_set(bits) {
            let context = &mut self.admin_mut(f).context[..];
            for field in [ctx::vport_cvlan_insert, ctx::cvlan_cfi, ctx::cvlan_pcp, ctx::cvlan_id] {
                field.set(context, field.get(new));
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
