//! The e-switch context of a vport: VLAN insertion and stripping, and which metadata a frame keeps on its way to it.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    esw_vport_context, esw_vport_context_fields_select, modify_esw_vport_context_in, query_esw_vport_context_in,
    query_esw_vport_context_out,
};
use mlx5emu_steering::key::Registers;
use mlx5emu_steering::packet::{VlanTag, ethernet, ethertype};
use mlx5emu_steering::tables::VlanEdit;

use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param};

/// The metadata registers that a frame can keep on its way from the FDB to a vport: bit n is `metadata_reg_c_n`
/// (`MLX5_FDB_TO_VPORT_REG_C_0` and `_1` in `mlx5_ifc.h`, which is what switchdev mode uses).
pub const FDB_TO_VPORT_REG_C: u64 = 0b11;

/// `vport_cvlan_insert`: what has no C-VLAN tag gets one (`MLX5_VPORT_CVLAN_INSERT_WHEN_NO_CVLAN`).
const INSERT_WHEN_NO_CVLAN: u64 = 1;

/// What becomes of the tags of a frame that a vport sends, which has a C-VLAN tag or not.
pub(super) fn entering(context: &[u8], tagged: bool) -> VlanEdit {
    use esw_vport_context as ctx;
    if tagged || ctx::vport_cvlan_insert.get(context) != INSERT_WHEN_NO_CVLAN {
        return VlanEdit::default();
    }
    let tci = ctx::cvlan_pcp.get(context) << 13 | ctx::cvlan_cfi.get(context) << 12 | ctx::cvlan_id.get(context);
    VlanEdit::pushing(VlanTag { tpid: ethertype::CVLAN, tci: tci as u16 })
}

/// What becomes of the tags of a frame that goes to a vport.
pub(super) fn leaving(context: &[u8], tagged: bool) -> VlanEdit {
    if tagged && esw_vport_context::vport_cvlan_strip.is_set(context) {
        VlanEdit::popping()
    } else {
        VlanEdit::default()
    }
}

/// Whether the outermost tag of a frame is a C-VLAN tag.
pub(super) fn has_cvlan(frame: &[u8]) -> bool {
    frame.get(ethernet::ADDRESSES..).is_some_and(|rest| rest.starts_with(&ethertype::CVLAN.to_be_bytes()))
}

/// Whether a frame that goes to a vport keeps `metadata_reg_c_n`.
pub(super) fn keeps(context: &[u8], n: usize) -> bool {
    esw_vport_context::fdb_to_vport_reg_c_id.get(context) >> n & 1 == 1
}

/// What is left of the registers when a frame comes to a vport.
pub(super) fn kept(context: &[u8], regs: &Registers) -> Registers {
    let mut kept = Registers::default();
    for (n, (to, from)) in kept.c.iter_mut().zip(regs.c).enumerate() {
        if keeps(context, n) {
            *to = from;
        }
    }
    kept
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
        let kept = ctx::fdb_to_vport_reg_c_id;
        for (bit, field, offered) in [
            (select::vport_cvlan_strip, ctx::vport_cvlan_strip, 1),
            (select::vport_svlan_strip, ctx::vport_svlan_strip, 0),
            (select::vport_cvlan_insert, ctx::vport_cvlan_insert, INSERT_WHEN_NO_CVLAN),
            (select::vport_svlan_insert, ctx::vport_svlan_insert, 0),
            (select::fdb_to_vport_reg_c_id, kept, FDB_TO_VPORT_REG_C),
        ] {
            if bit.is_set(bits) && field.get(new) & !offered != 0 {
                let why = format!("{} {:#x}, offered is {offered:#x}", field.name, field.get(new));
                return bad_param(Syndrome::BadCapability, why);
            }
        }
        let context = &mut self.admin_mut(f).context[..];
        for (bit, fields) in [
            (select::vport_cvlan_strip, &[ctx::vport_cvlan_strip][..]),
            (select::vport_cvlan_insert, &[ctx::vport_cvlan_insert, ctx::cvlan_cfi, ctx::cvlan_pcp, ctx::cvlan_id]),
            (select::fdb_to_vport_reg_c_id, &[kept]),
        ] {
            if bit.is_set(bits) {
                fields.iter().for_each(|field| field.set(context, field.get(new)));
            }
        }
        Ok(())
    }
}
