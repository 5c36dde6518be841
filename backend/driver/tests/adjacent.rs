//! Functions of others that are delegated to an e-switch: they have a vport while its manager wants one, which is connected to
//! the e-switch or not.

#![allow(clippy::unwrap_used)]

mod common;

use common::Drv;
use common::vfs::{OUT, about, net};
use mlx5emu_card::FunctionSetup;
use mlx5emu_card::eswitch::ADJACENT_BASE;
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::{InProcess, SharedWorld, World, two_ports};
use mlx5emu_driver::{Config, Driver};
use mlx5emu_prm::capability::CapType;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};

const VHCA_IDS: [u16; 2] = [0x51, 0x52];

/// A card to whose first port's e-switch two functions are delegated; the drivers of both PFs.
fn card() -> (SharedWorld, [Drv; 2]) {
    let mut personality = two_ports();
    for (n, vhca_id) in (0u16..).zip(VHCA_IDS) {
        let (name, vport) = (format!("pf0adj{n}"), ADJACENT_BASE + n);
        let setup = FunctionSetup { name, vport, vhca_id, bar0: 2 << 20, ..personality.functions[0].clone() };
        personality.functions.push(setup);
    }
    let (world, hosts) = World::new(personality, 1).hosts();
    let [a, b, ..] = <[InProcess; 4]>::try_from(hosts).ok().unwrap();
    let drivers = [a, b].map(|host| {
        let mut driver = Driver::probe(host, Config::default()).unwrap();
        driver.open(net()).unwrap();
        driver
    });
    (world, drivers)
}

/// Whether the card says that the second one's vport is connected; `None` if it has none.
fn is_connected(world: &SharedWorld) -> Option<bool> {
    let tree = world.borrow_mut().card().inspect();
    let vports = tree["eswitch"]["pf0"]["vports"].as_array().unwrap().clone();
    vports.iter().find(|vport| vport["function"] == "pf0adj1")?["enabled"].as_bool()
}

fn delegated(pf: &mut Drv, room: usize) -> Vec<u64> {
    use query_delegated_vhca_out as layout;
    let len = layout::SIZE + room * delegated_function_vhca_rid_info::SIZE;
    let out = pf.command(&input(Opcode::QUERY_DELEGATED_VHCA, query_delegated_vhca_in::SIZE), len).unwrap();
    let id = |n| {
        let entry = layout::delegated_function_vhca_rid_info.at(&out, n);
        function_vhca_rid_info_reg::vhca_id.get(delegated_function_vhca_rid_info::function_vhca_rid_info.of(entry))
    };
    (0..layout::functions_count.get(&out) as usize).map(id).collect()
}

fn create(vhca_id: u16) -> Vec<u8> {
    let mut cmd = input(Opcode::CREATE_ESW_VPORT, create_esw_vport_in::SIZE);
    create_esw_vport_in::managed_vhca_id.set(&mut cmd, vhca_id.into());
    cmd
}

fn destroy(vport: u16) -> Vec<u8> {
    let mut cmd = input(Opcode::DESTROY_ESW_VPORT, destroy_esw_vport_in::SIZE);
    destroy_esw_vport_in::vport_num.set(&mut cmd, vport.into());
    cmd
}

/// MODIFY_VPORT_STATE of the e-switch: connects a vport both ways, or says something else of them.
fn connect(vport: u16, ingress: bool, egress: bool) -> Vec<u8> {
    use modify_vport_state_in as layout;
    let mut cmd = input(Opcode::MODIFY_VPORT_STATE, layout::SIZE);
    for (field, value) in [
        (layout::op_mod, 1),
        (layout::other_vport, 1),
        (layout::vport_number, u64::from(vport)),
        (layout::ingress_connect_valid, 1),
        (layout::egress_connect_valid, 1),
        (layout::ingress_connect, u64::from(ingress)),
        (layout::egress_connect, u64::from(egress)),
        (layout::admin_state, 1),
    ] {
        field.set(&mut cmd, value);
    }
    cmd
}

#[test]
fn a_delegated_function_has_a_vport_when_it_is_wanted() {
    let (world, [mut pf, mut other]) = card();
    let caps = pf.max_caps(CapType::GENERAL_2).unwrap();
    assert_eq!(cmd_hca_cap_2::delegated_vhca_max.get(&caps), 2);
    assert_eq!(delegated(&mut pf, 2), VHCA_IDS.map(u64::from));
    assert_eq!(delegated(&mut other, 2), [0u64; 0]);
    let status = |pf: &mut Drv, cmd: &[u8]| pf.refusal(cmd, OUT).unwrap().0;
    let vport = ADJACENT_BASE + 1;
    assert_eq!(status(&mut pf, &connect(vport, true, true)), Status::BAD_PARAM, "it has no vport");
    assert_eq!(status(&mut pf, &create(0x99)), Status::BAD_PARAM, "nobody's");
    assert_eq!(status(&mut other, &create(VHCA_IDS[1])), Status::BAD_PARAM, "another e-switch's");
    let out = pf.command(&create(VHCA_IDS[1]), create_esw_vport_out::SIZE).unwrap();
    assert_eq!(create_esw_vport_out::vport_num.get(&out), u64::from(vport));
    assert_eq!(status(&mut pf, &create(VHCA_IDS[1])), Status::BAD_RES_STATE, "it has one");
    assert_eq!(is_connected(&world), Some(false));
    pf.command(&connect(vport, true, true), OUT).unwrap();
    assert_eq!(is_connected(&world), Some(true));
    pf.command(&connect(vport, false, false), OUT).unwrap();
    assert_eq!(is_connected(&world), Some(false));
    assert_eq!(status(&mut pf, &connect(vport, true, false)), Status::BAD_PARAM, "half connected");
    assert_eq!(status(&mut pf, &about(Opcode::ENABLE_HCA, vport.into())), Status::BAD_PARAM, "its own PF's to enable");
    pf.command(&destroy(vport), OUT).unwrap();
    assert_eq!(is_connected(&world), None);
    assert_eq!(status(&mut pf, &destroy(vport)), Status::BAD_PARAM, "it has none any more");
    pf.command(&create(VHCA_IDS[1]), OUT).unwrap();
}
