//! What switchdev mode builds on: registers that tables set, match and carry from the FDB to a vport; rules for one send
//! queue; modify-header objects.

#![allow(clippy::unwrap_used)]

mod common;

use common::vfs::*;
use common::{Drv, plain};
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::SharedWorld;
use mlx5emu_driver::{Config, Driver, NetConfig};
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::steering::{DestinationType, FlowAction, MatchCriteria, TableType};

/// `action_type` of an action that sets a field, and one that copies it (`MLX5_ACTION_TYPE_*`).
const SET: u64 = 1;
const COPY: u64 = 3;
/// `field` of the registers, and of one of the frame's (`MLX5_ACTION_IN_FIELD_*`).
const REG_C_0: u64 = 0x51;
const OUT_IP_TTL: u64 = 0xa;
/// What VF 0's frames are marked with, in the upper half of `metadata_reg_c_0`.
const MARK: u64 = 0x1001;

/// A table with one group and one entry in it.
struct OneRule {
    kind: TableType,
    /// The vport that the table is of, if it is not the PF's own.
    vport: Option<u32>,
    /// What is matched: the area of `fte_match_param`, the fields in it, with mask and value.
    matched: (MatchCriteria, Vec<(Field, u64, u64)>),
    action: u32,
    modify_header: u32,
    destination: Option<(DestinationType, u32)>,
}

impl OneRule {
    fn param(&self, value: bool) -> Vec<u8> {
        let mut raw = vec![0; fte_match_param::SIZE];
        let (criteria, fields) = &self.matched;
        let area = if *criteria == MatchCriteria::MISC_PARAMETERS {
            fte_match_param::misc_parameters
        } else {
            fte_match_param::misc_parameters_2
        };
        for (field, mask, wanted) in fields {
            field.set(area.of_mut(&mut raw), if value { *wanted } else { *mask });
        }
        raw
    }

    /// Makes the table the root.
    fn build(&self, pf: &mut Drv) -> u32 {
        let vport = |cmd: &mut [u8]| {
            create_flow_table_in::table_type.set(cmd, self.kind.0.into());
            create_flow_table_in::other_vport.set(cmd, self.vport.is_some().into());
            create_flow_table_in::vport_number.set(cmd, self.vport.unwrap_or(0).into());
        };
        let mut cmd = input(Opcode::CREATE_FLOW_TABLE, create_flow_table_in::SIZE);
        vport(&mut cmd);
        flow_table_context::log_size.set(create_flow_table_in::flow_table_context.of_mut(&mut cmd), 2);
        let table = create_flow_table_out::table_id.get(&pf.command(&cmd, OUT).unwrap());

        let mut cmd = input(Opcode::CREATE_FLOW_GROUP, create_flow_group_in::SIZE);
        vport(&mut cmd);
        create_flow_group_in::table_id.set(&mut cmd, table);
        create_flow_group_in::end_flow_index.set(&mut cmd, 3);
        create_flow_group_in::match_criteria_enable.set(&mut cmd, self.matched.0.0.into());
        create_flow_group_in::match_criteria.of_mut(&mut cmd).copy_from_slice(&self.param(false));
        let group = create_flow_group_out::group_id.get(&pf.command(&cmd, OUT).unwrap());

        let len = flow_context::destination.offset + dest_format_struct::SIZE;
        let mut cmd = input(Opcode::SET_FLOW_TABLE_ENTRY, set_fte_in::flow_context.offset + len);
        vport(&mut cmd);
        set_fte_in::table_id.set(&mut cmd, table);
        let context = set_fte_in::flow_context.of_mut(&mut cmd);
        flow_context::group_id.set(context, group);
        flow_context::action.set(context, self.action.into());
        flow_context::modify_header_id.set(context, self.modify_header.into());
        flow_context::match_value.of_mut(context).copy_from_slice(&self.param(true));
        if let Some((kind, id)) = self.destination {
            flow_context::destination_list_size.set(context, 1);
            let list = flow_context::destination.of_mut(context);
            dest_format_struct::destination_type.set(list, kind.0.into());
            dest_format_struct::destination_id.set(list, id.into());
        }
        pf.command(&cmd, OUT).unwrap();

        let mut cmd = input(Opcode::SET_FLOW_TABLE_ROOT, set_flow_table_root_in::SIZE);
        vport(&mut cmd);
        set_flow_table_root_in::table_id.set(&mut cmd, table);
        pf.command(&cmd, OUT).unwrap();
        table as u32
    }
}

fn modify_header(kind: TableType, actions: &[[u8; 8]]) -> Vec<u8> {
    use alloc_modify_header_context_in as layout;
    let mut cmd = input(Opcode::ALLOC_MODIFY_HEADER_CONTEXT, layout::SIZE + 8 * actions.len());
    layout::table_type.set(&mut cmd, kind.0.into());
    layout::num_of_actions.set(&mut cmd, actions.len() as u64);
    layout::actions.of_mut(&mut cmd).copy_from_slice(actions.as_flattened());
    cmd
}

/// Sets the upper half of a field of 32 bits.
fn set_upper(field: u64, data: u64) -> [u8; 8] {
    let mut raw = [0; 8];
    set_action_in::action_type.set(&mut raw, SET);
    set_action_in::field.set(&mut raw, field);
    set_action_in::offset.set(&mut raw, 16);
    set_action_in::length.set(&mut raw, 16);
    set_action_in::data.set(&mut raw, data);
    raw
}

/// Frames keep these registers on their way to the PF.
fn keep(pf: &mut Drv, registers: u64) -> std::result::Result<(), mlx5emu_driver::Error> {
    use modify_esw_vport_context_in as layout;
    let mut cmd = input(Opcode::MODIFY_ESW_VPORT_CONTEXT, layout::SIZE);
    esw_vport_context_fields_select::fdb_to_vport_reg_c_id.set(layout::field_select.of_mut(&mut cmd), 1);
    esw_vport_context::fdb_to_vport_reg_c_id.set(layout::esw_vport_context.of_mut(&mut cmd), registers);
    pf.command(&cmd, OUT).map(drop)
}

/// Both VFs and both PFs, all open; there are no rules yet.
fn open(seed: u64) -> (SharedWorld, Drv, Drv, [Drv; 2]) {
    let (world, mut pf, other, hosts) = card(seed);
    let mut n = 0u8;
    let vfs = hosts.map(|host| {
        n += 1;
        enable(&world, &mut pf, n.into());
        set_mac(&mut pf, n.into(), mac(n));
        let mut vf = Driver::probe(host, Config::default()).unwrap();
        vf.open(NetConfig::default()).unwrap();
        assert!(vf.link_up().unwrap());
        vf
    });
    (world, pf, other, vfs)
}

/// Frames of VF 0 are marked; all frames go to the PF, which takes marked ones only.
fn marked(pf: &mut Drv) -> u32 {
    let out = pf.command(&modify_header(TableType::ESW_INGRESS_ACL, &[set_upper(REG_C_0, MARK)]), OUT).unwrap();
    let header = alloc_modify_header_context_out::modify_header_id.get32(&out);
    let acl = OneRule {
        kind: TableType::ESW_INGRESS_ACL,
        vport: Some(1),
        matched: (MatchCriteria(0), vec![]),
        action: u32::from(FlowAction::MOD_HDR.0 | FlowAction::ALLOW.0),
        modify_header: header,
        destination: None,
    };
    acl.build(pf);
    let forward = u32::from(FlowAction::FWD_DEST.0);
    let to_pf = OneRule {
        kind: TableType::FDB,
        vport: None,
        matched: (MatchCriteria(0), vec![]),
        action: forward,
        modify_header: 0,
        destination: Some((DestinationType::VPORT, 0)),
    };
    to_pf.build(pf);
    let tirn = pf.net().unwrap().channels[0].tirn;
    let reg = fte_match_set_misc2::metadata_reg_c_0;
    let only_marked = OneRule {
        kind: TableType::NIC_RX,
        matched: (MatchCriteria::MISC_PARAMETERS_2, vec![(reg, 0xffff_0000, MARK << 16)]),
        destination: Some((DestinationType::TIR, tirn)),
        ..to_pf
    };
    only_marked.build(pf);
    header
}

#[test]
fn a_mark_comes_to_the_manager_if_its_context_keeps_it() {
    for seed in 0..4 {
        let (world, mut pf, _other, [mut vf0, mut vf1]) = open(seed);
        marked(&mut pf);
        let frame = plain(mac(2), mac(1), 64, 1);
        for (kept, hears) in [(0, 0), (0b10, 0), (0b01, 1), (0b11, 1), (0, 0)] {
            keep(&mut pf, kept).unwrap();
            vf0.send(&frame).unwrap();
            assert_eq!(received(&world, &mut pf).len(), hears, "registers {kept:#b} are kept");
            vf1.send(&plain(mac(1), mac(2), 64, 1)).unwrap();
            assert_eq!(received(&world, &mut pf).len(), 0, "frames of the other VF have no mark");
        }
        assert!(keep(&mut pf, 0b100).is_err(), "a register that is not offered");
        assert_eq!(received(&world, &mut vf1).len(), 0);
    }
}

#[test]
fn a_rule_for_a_send_queue_takes_its_frames_to_a_vport() {
    let (world, mut pf, mut other, [mut vf0, mut vf1]) = open(5);
    let sqn = pf.net().unwrap().channels[0].sq.number;
    let send_to_vport = OneRule {
        kind: TableType::FDB,
        vport: None,
        // Each function has its own numbers of queues.
        matched: (
            MatchCriteria::MISC_PARAMETERS,
            vec![(fte_match_set_misc::source_sqn, 0xff_ffff, sqn.into()), (fte_match_set_misc::source_port, 0xffff, 0)],
        ),
        action: FlowAction::FWD_DEST.0.into(),
        modify_header: 0,
        destination: Some((DestinationType::VPORT, 1)),
    };
    send_to_vport.build(&mut pf);
    // Whatever its address is: VF 0's, nobody's, the sender's own.
    let own = common::mac(&pf);
    let frames = [plain(mac(1), own, 64, 1), plain(mac(9), own, 64, 2), plain(own, own, 64, 3)];
    for frame in &frames {
        pf.send(frame).unwrap();
    }
    assert_eq!(received(&world, &mut vf0), frames[..1], "its own receive tables have the last word");
    for driver in [&mut pf, &mut other, &mut vf1] {
        assert_eq!(received(&world, driver).len(), 0);
    }
    // What others send is no business of this rule's: it leaves by the wire.
    let frame = plain(common::mac(&other), mac(2), 64, 4);
    vf1.send(&frame).unwrap();
    assert_eq!(received(&world, &mut other), [frame]);
}

#[test]
fn modify_headers_are_checked_and_held() {
    let (_world, mut pf, _other, [mut vf0, _vf1]) = open(6);
    let kind = TableType::ESW_INGRESS_ACL;
    // Fields of the frame are not offered, nor more actions than announced.
    let (status, ..) = pf.refusal(&modify_header(kind, &[set_upper(OUT_IP_TTL, 1)]), OUT).unwrap();
    assert_eq!(status, Status::BAD_PARAM);
    let mut cmd = modify_header(kind, &[set_upper(REG_C_0, 1)]);
    alloc_modify_header_context_in::num_of_actions.set(&mut cmd, 2);
    assert_eq!(pf.refusal(&cmd, OUT).unwrap().0, Status::BAD_PARAM);
    let mut copy = [0; 8];
    copy_action_in::action_type.set(&mut copy, COPY);
    copy_action_in::src_field.set(&mut copy, REG_C_0);
    copy_action_in::dst_field.set(&mut copy, OUT_IP_TTL);
    assert_eq!(pf.refusal(&modify_header(kind, &[copy]), OUT).unwrap().0, Status::BAD_PARAM);
    // A VF has no e-switch.
    for kind in [kind, TableType::NIC_RX] {
        assert_eq!(vf0.refusal(&modify_header(kind, &[set_upper(REG_C_0, 1)]), OUT).unwrap().0, Status::BAD_PARAM);
    }

    let header = marked(&mut pf);
    let mut cmd = input(Opcode::DEALLOC_MODIFY_HEADER_CONTEXT, dealloc_modify_header_context_in::SIZE);
    dealloc_modify_header_context_in::modify_header_id.set(&mut cmd, header.into());
    assert_eq!(pf.refusal(&cmd, OUT).unwrap().0, Status::RESOURCE_BUSY, "an entry has it");
    dealloc_modify_header_context_in::modify_header_id.set(&mut cmd, u64::from(header) + 1);
    assert_eq!(pf.refusal(&cmd, OUT).unwrap().0, Status::BAD_RESOURCE);
}
