//! A card with VFs, and what a PF does for them.

use mlx5emu_card::FunctionSetup;
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::{InProcess, SharedWorld, World, two_ports};
use mlx5emu_driver::{Config, Driver, NetConfig, pages};
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::steering::{FlowAction, TableType};

use super::Drv;

pub const OUT: usize = 0x10;
pub const UPLINK: u32 = 0xffff;
/// What the card asks for a VF: when it is enabled, when it is initialized.
pub const ENABLE: usize = 6;
pub const INIT: usize = 10;

/// Queues that leave tags in frames.
pub fn net() -> NetConfig {
    let mut net = NetConfig::default();
    net.rq.keep_vlan = true;
    net
}

/// A card whose first port has two VFs, its two PFs open, and the VFs' machines.
pub fn card(seed: u64) -> (SharedWorld, Drv, Drv, [InProcess; 2]) {
    let mut personality = two_ports();
    for vf in 0..2u16 {
        let setup = FunctionSetup {
            name: format!("pf0vf{vf}"),
            vport: vf + 1,
            vhca_id: 3 + vf,
            bar0: 2 << 20,
            ..personality.functions[0].clone()
        };
        personality.functions.push(setup);
    }
    let (world, hosts) = World::new(personality, seed).hosts();
    let [a, b, vf0, vf1] = <[InProcess; 4]>::try_from(hosts).ok().unwrap();
    let [a, b] = [a, b].map(|host| {
        let mut driver = Driver::probe(host, Config::default()).unwrap();
        driver.open(net()).unwrap();
        driver
    });
    (world, a, b, [vf0, vf1])
}

/// An FDB that matches destination addresses.
pub struct Fdb {
    pub table: u32,
    pub group: u32,
}

impl Fdb {
    pub fn new(pf: &mut Drv) -> Self {
        let table = pf.create_flow_table(TableType::FDB, 0, 4, None).unwrap();
        let mut cmd = input(Opcode::CREATE_FLOW_GROUP, create_flow_group_in::SIZE);
        create_flow_group_in::table_type.set(&mut cmd, TableType::FDB.0.into());
        create_flow_group_in::table_id.set(&mut cmd, table.into());
        create_flow_group_in::end_flow_index.set(&mut cmd, 15);
        create_flow_group_in::match_criteria_enable.set(&mut cmd, 1);
        address(create_flow_group_in::match_criteria.of_mut(&mut cmd), [0xff; 6]);
        let out = pf.command(&cmd, OUT).unwrap();
        pf.set_flow_table_root(TableType::FDB, table).unwrap();
        Self { table, group: create_flow_group_out::group_id.get32(&out) }
    }

    pub fn entry(&self, index: u32, mac: [u8; 6], vports: &[u32]) -> Vec<u8> {
        let len = flow_context::destination.offset + dest_format_struct::SIZE * vports.len();
        let mut cmd = input(Opcode::SET_FLOW_TABLE_ENTRY, set_fte_in::flow_context.offset + len);
        set_fte_in::table_type.set(&mut cmd, TableType::FDB.0.into());
        set_fte_in::table_id.set(&mut cmd, self.table.into());
        set_fte_in::flow_index.set(&mut cmd, index.into());
        let context = set_fte_in::flow_context.of_mut(&mut cmd);
        flow_context::group_id.set(context, self.group.into());
        flow_context::action.set(context, FlowAction::FWD_DEST.0.into());
        flow_context::destination_list_size.set(context, vports.len() as u64);
        address(flow_context::match_value.of_mut(context), mac);
        let list = flow_context::destination.of_mut(context);
        for (raw, vport) in list.chunks_mut(dest_format_struct::SIZE).zip(vports) {
            dest_format_struct::destination_id.set(raw, (*vport).into());
        }
        cmd
    }
}

fn address(param: &mut [u8], mac: [u8; 6]) {
    fte_match_param::outer_headers.of_mut(param)[fte_match_set_lyr_2_4::dmac_47_16.bit as usize / 8..][..6]
        .copy_from_slice(&mac);
}

/// A command about function `id`.
pub fn about(opcode: Opcode, id: u32) -> Vec<u8> {
    let mut cmd = input(opcode, enable_hca_in::SIZE);
    enable_hca_in::function_id.set(&mut cmd, id.into());
    cmd
}

/// Serves what came, until nothing does.
pub fn serve(world: &SharedWorld, pf: &mut Drv) {
    assert!(world.borrow_mut().settle());
    pf.service().unwrap();
    pf.settle_pages().unwrap();
}

/// The id by which the PF's driver names the pages of VF `id`.
pub fn page_id(pf: &Drv, id: u16) -> u16 {
    // The card's own functions are 1 and 2, its VFs come next; by function id, VF n is n.
    if pf.page_id() == 0 { id } else { 2 + id }
}

pub fn give(pf: &mut Drv, id: u16, count: usize) {
    let id = page_id(pf, id);
    let job = pages::give_job(&mut pf.host, id, count).unwrap();
    let output = pf.execute(&job.input, job.out_len).unwrap();
    pf.pages.finish(&mut pf.host, job, output).unwrap();
}

/// Enables VF `id` and gives all the pages that it will need.
pub fn enable(world: &SharedWorld, pf: &mut Drv, id: u16) {
    let before = pf.pages.held();
    pf.command(&about(Opcode::ENABLE_HCA, id.into()), OUT).unwrap();
    serve(world, pf);
    assert_eq!(pf.pages.held() - before, ENABLE, "the card asks for a VF's first pages by event");
    give(pf, id, INIT);
}

pub fn set_mac(pf: &mut Drv, vport: u32, mac: [u8; 6]) {
    use modify_nic_vport_context_in as layout;
    let mut cmd = input(Opcode::MODIFY_NIC_VPORT_CONTEXT, layout::nic_vport_context.offset + nic_vport_context::SIZE);
    layout::other_vport.set(&mut cmd, 1);
    layout::vport_number.set(&mut cmd, vport.into());
    modify_nic_vport_field_select::permanent_address.set(layout::field_select.of_mut(&mut cmd), 1);
    let context = layout::nic_vport_context.of_mut(&mut cmd);
    nic_vport_context::permanent_address.of_mut(context)[2..8].copy_from_slice(&mac);
    pf.command(&cmd, OUT).unwrap();
}

pub fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0xaa, n]
}

/// Both VFs open, with addresses, behind an FDB that knows everybody on the port.
pub fn switched(seed: u64) -> (SharedWorld, Drv, Drv, [Drv; 2], Fdb) {
    switched_with(seed, &net())
}

/// The same, with VFs that are open like that.
pub fn switched_with(seed: u64, vf_net: &NetConfig) -> (SharedWorld, Drv, Drv, [Drv; 2], Fdb) {
    let (world, mut pf, other, hosts) = card(seed);
    let fdb = Fdb::new(&mut pf);
    let own = super::mac(&pf);
    pf.command(&fdb.entry(0, own, &[0]), OUT).unwrap();
    let mut vfs = Vec::new();
    for (host, n) in hosts.into_iter().zip(1u8..) {
        enable(&world, &mut pf, n.into());
        set_mac(&mut pf, n.into(), mac(n));
        pf.command(&fdb.entry(n.into(), mac(n), &[n.into()]), OUT).unwrap();
        let mut vf = Driver::probe(host, Config::default()).unwrap();
        vf.open(vf_net.clone()).unwrap();
        assert!(vf.link_up().unwrap());
        assert_eq!(super::mac(&vf), mac(n), "the PF's address is the VF's");
        vfs.push(vf);
    }
    let vfs = <[Drv; 2]>::try_from(vfs).ok().unwrap();
    (world, pf, other, vfs, fdb)
}

pub fn received(world: &SharedWorld, driver: &mut Drv) -> Vec<Vec<u8>> {
    assert!(world.borrow_mut().settle());
    std::iter::from_fn(|| driver.recv().unwrap()).map(|received| received.frame).collect()
}
