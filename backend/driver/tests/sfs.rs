//! SFs: the PF allocates and enables them, hears of their states, and has them leave.

#![allow(clippy::unwrap_used)]

mod common;

use common::vfs::{Fdb, OUT, about, net, received, serve, set_mac};
use common::{Drv, plain};
use mlx5emu_card::eswitch::SF_BASE_ID;
use mlx5emu_card::{FunctionSetup, ResetKind};
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::{InProcess, SharedWorld, World, two_ports};
use mlx5emu_driver::{Config, Driver, pages};
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::states::VhcaState;

/// What the card asks for an SF: when it is enabled, when it is initialized.
const ENABLE: usize = 6;
const INIT: usize = 10;
/// The first SF, as function id and vport.
const SF0: u32 = SF_BASE_ID as u32;
const SF0_VHCA_ID: u16 = 4;

/// A card whose first port has a VF and two SFs, its two PFs open, and the machines of the SFs.
fn card(seed: u64) -> (SharedWorld, Drv, Drv, [InProcess; 2]) {
    let mut personality = two_ports();
    let pf = personality.functions[0].clone();
    for (name, vport, vhca_id) in
        [("pf0vf0", 1, 3), ("pf0sf0", SF_BASE_ID, SF0_VHCA_ID), ("pf0sf1", SF_BASE_ID + 1, SF0_VHCA_ID + 1)]
    {
        personality.functions.push(FunctionSetup { name: name.into(), vport, vhca_id, bar0: 1 << 20, ..pf.clone() });
    }
    let (world, hosts) = World::new(personality, seed).hosts();
    let [a, b, _, sf0, sf1] = <[InProcess; 5]>::try_from(hosts).ok().unwrap();
    let [a, b] = [a, b].map(|host| {
        let mut driver = Driver::probe(host, Config::default()).unwrap();
        driver.open(net()).unwrap();
        driver
    });
    (world, a, b, [sf0, sf1])
}

fn state(pf: &mut Drv, id: u32) -> VhcaState {
    let out = pf.command(&about(Opcode::QUERY_VHCA_STATE, id), query_vhca_state_out::SIZE).unwrap();
    VhcaState(vhca_state_context::vhca_state.get(query_vhca_state_out::vhca_state_context.of(&out)) as u8)
}

fn arm(pf: &mut Drv, id: u32) {
    use modify_vhca_state_in as layout;
    let mut cmd = input(Opcode::MODIFY_VHCA_STATE, layout::SIZE);
    layout::function_id.set(&mut cmd, id.into());
    vhca_state_field_select::arm_change_event.set(layout::vhca_state_field_select.of_mut(&mut cmd), 1);
    vhca_state_context::arm_change_event.set(layout::vhca_state_context.of_mut(&mut cmd), 1);
    pf.command(&cmd, OUT).unwrap();
}

/// Functions whose state changed, as the PF was told.
fn told(world: &SharedWorld, pf: &mut Drv) -> Vec<u64> {
    serve(world, pf);
    let told = pf.events.iter().filter(|e| e.event == Event::VHCA_STATE_CHANGE);
    let told = told.map(|e| mlx5_eqe_vhca_state::function_id.get(&e.data)).collect();
    pf.events.clear();
    told
}

/// As the driver does: it is told once, asks, and wants to be told again.
fn follow(world: &SharedWorld, pf: &mut Drv, id: u32, expected: VhcaState) {
    assert_eq!(told(world, pf), [u64::from(id)], "{expected}");
    assert_eq!(state(pf, id), expected);
    arm(pf, id);
    assert_eq!(told(world, pf), [0u64; 0], "{expected}: told twice");
}

/// The id by which the PF's driver names the pages of SF 0.
fn page_id(pf: &Drv) -> u16 {
    if pf.page_id() == 0 { SF_BASE_ID } else { SF0_VHCA_ID }
}

fn give(pf: &mut Drv, count: usize) {
    let id = page_id(pf);
    let job = pages::give_job(&mut pf.host, id, count).unwrap();
    let output = pf.execute(&job.input, job.out_len).unwrap();
    pf.pages.finish(&mut pf.host, job, output).unwrap();
}

fn allocate_and_enable(world: &SharedWorld, pf: &mut Drv) {
    arm(pf, SF0);
    pf.command(&about(Opcode::ALLOC_SF, SF0), OUT).unwrap();
    follow(world, pf, SF0, VhcaState::ALLOCATED);
    let before = pf.pages.held();
    pf.command(&about(Opcode::ENABLE_HCA, SF0), OUT).unwrap();
    follow(world, pf, SF0, VhcaState::ACTIVE);
    assert_eq!(pf.pages.held() - before, ENABLE, "the card asks for an SF's first pages by event");
    give(pf, INIT);
}

fn goodbye_sf(sf: Drv) -> InProcess {
    let (host, farewell) = sf.remove().unwrap();
    assert_eq!(farewell.pages_given, 0, "an SF's own driver gives none");
    assert_eq!(mlx5emu_driver::Host::dma_in_use(&host), 0, "memory is leaked");
    host
}

#[test]
fn an_sf_goes_from_state_to_state() {
    for seed in 0..4 {
        let (world, mut pf, _other, [mut host, _]) = card(seed);
        assert_eq!(pf.caps.general(&cmd_hca_cap::max_num_sf), 2);
        assert_eq!(pf.caps.general(&cmd_hca_cap::sf_base_id), SF0);
        assert_eq!(pf.caps.general(&cmd_hca_cap::log_min_sf_size), 8, "256 pages");
        let held = pf.pages.held();
        for round in 0..3 {
            assert_eq!(state(&mut pf, SF0), VhcaState::INVALID, "{round}");
            assert_eq!(pf.refusal(&about(Opcode::ENABLE_HCA, SF0), OUT).unwrap().0, Status::BAD_PARAM);
            allocate_and_enable(&world, &mut pf);
            assert_eq!(pf.refusal(&about(Opcode::ALLOC_SF, SF0), OUT).unwrap().0, Status::BAD_RES_STATE);
            assert_eq!(pf.refusal(&about(Opcode::DEALLOC_SF, SF0), OUT).unwrap().0, Status::BAD_RES_STATE);
            set_mac(&mut pf, SF0, [2, 0, 0, 0, 0xbb, round]);

            let mut sf = Driver::probe(host, Config::default()).unwrap();
            follow(&world, &mut pf, SF0, VhcaState::IN_USE);
            assert_eq!(sf.caps.general(&cmd_hca_cap::vhca_id), u32::from(SF0_VHCA_ID));
            assert_eq!(sf.caps.general(&cmd_hca_cap::sf), 0);
            sf.open(net()).unwrap();
            assert_eq!(common::mac(&sf), [2, 0, 0, 0, 0xbb, round]);

            // It is asked to leave, and works until it does.
            pf.command(&about(Opcode::DISABLE_HCA, SF0), OUT).unwrap();
            follow(&world, &mut pf, SF0, VhcaState::TEARDOWN_REQUEST);
            assert_eq!(pf.refusal(&about(Opcode::ENABLE_HCA, SF0), OUT).unwrap().0, Status::BAD_SYS_STATE);
            assert_eq!(pf.refusal(&about(Opcode::DEALLOC_SF, SF0), OUT).unwrap().0, Status::BAD_RES_STATE);
            host = goodbye_sf(sf);
            follow(&world, &mut pf, SF0, VhcaState::ALLOCATED);
            assert_eq!(pf.pages.held(), held, "its pages are back");
            pf.command(&about(Opcode::DEALLOC_SF, SF0), OUT).unwrap();
            assert_eq!(told(&world, &mut pf), [0u64; 0], "the driver did not switch events about INVALID on");
        }
        assert_eq!(pf.refusal(&about(Opcode::DEALLOC_SF, SF0), OUT).unwrap().0, Status::BAD_RES_STATE);
    }
}

#[test]
fn an_sf_that_nobody_uses_is_just_disabled_and_one_may_be_left_and_taken_again() {
    let (world, mut pf, _other, [mut host, _]) = card(11);
    allocate_and_enable(&world, &mut pf);
    for _ in 0..2 {
        let sf = Driver::probe(host, Config::default()).unwrap();
        follow(&world, &mut pf, SF0, VhcaState::IN_USE);
        host = goodbye_sf(sf);
        follow(&world, &mut pf, SF0, VhcaState::ACTIVE);
        give(&mut pf, INIT);
    }
    pf.command(&about(Opcode::DISABLE_HCA, SF0), OUT).unwrap();
    follow(&world, &mut pf, SF0, VhcaState::ALLOCATED);
    let mut word = [0; 4];
    host.bar_read(u64::from(mlx5_init_seg::initializing.bit / 8) & !3, &mut word);
    assert_eq!(word[0] & 0x80, 0x80, "initializing");
}

#[test]
fn an_sf_that_has_failed_is_not_waited_for_and_all_go_with_their_pf() {
    let (world, mut pf, _other, [host, other_host]) = card(15);
    allocate_and_enable(&world, &mut pf);
    let sf = Driver::probe(host, Config::default()).unwrap();
    follow(&world, &mut pf, SF0, VhcaState::IN_USE);
    // Function 3 is the first SF.
    world.borrow_mut().card().inject_health(3, 1, false);
    pf.command(&about(Opcode::DISABLE_HCA, SF0), OUT).unwrap();
    follow(&world, &mut pf, SF0, VhcaState::ALLOCATED);
    pf.command(&about(Opcode::DEALLOC_SF, SF0), OUT).unwrap();
    drop(sf);

    arm(&mut pf, SF0 + 1);
    pf.command(&about(Opcode::ALLOC_SF, SF0 + 1), OUT).unwrap();
    pf.command(&about(Opcode::ENABLE_HCA, SF0 + 1), OUT).unwrap();
    serve(&world, &mut pf);
    assert_eq!(state(&mut pf, SF0 + 1), VhcaState::ACTIVE);
    world.borrow_mut().reset(0, ResetKind::Flr);
    assert_eq!(world.borrow_mut().card().vhca_state(4), VhcaState::INVALID);
    let (mut word, mut host) = ([0; 4], other_host);
    host.bar_read(u64::from(mlx5_init_seg::initializing.bit / 8) & !3, &mut word);
    assert_eq!(word[0] & 0x80, 0x80, "initializing");
}

#[test]
fn an_sf_is_told_of_each_time_it_is_allocated() {
    let (world, mut pf, _other, _hosts) = card(16);
    arm(&mut pf, SF0);
    for _ in 0..3 {
        pf.command(&about(Opcode::ALLOC_SF, SF0), OUT).unwrap();
        follow(&world, &mut pf, SF0, VhcaState::ALLOCATED);
        pf.command(&about(Opcode::DEALLOC_SF, SF0), OUT).unwrap();
    }
}

#[test]
fn a_state_between_the_last_question_and_the_next_arming_is_told() {
    let (world, mut pf, _other, _hosts) = card(12);
    arm(&mut pf, SF0);
    pf.command(&about(Opcode::ALLOC_SF, SF0), OUT).unwrap();
    assert_eq!(told(&world, &mut pf), [u64::from(SF0)]);
    assert_eq!(state(&mut pf, SF0), VhcaState::ALLOCATED);
    pf.command(&about(Opcode::ENABLE_HCA, SF0), OUT).unwrap();
    assert_eq!(told(&world, &mut pf), [0u64; 0], "not armed");
    arm(&mut pf, SF0);
    follow(&world, &mut pf, SF0, VhcaState::ACTIVE);
}

#[test]
fn only_sfs_are_allocated_and_only_by_their_pf() {
    let (_world, mut pf, mut other, _hosts) = card(13);
    for id in [0, 1, SF0 + 2, 0xffff] {
        assert_eq!(pf.refusal(&about(Opcode::ALLOC_SF, id), OUT).unwrap().0, Status::BAD_PARAM, "{id:#x}");
    }
    assert_eq!(other.refusal(&about(Opcode::ALLOC_SF, SF0), OUT).unwrap().0, Status::BAD_PARAM);
    assert_eq!(state(&mut pf, 1), VhcaState::ALLOCATED, "a VF is there");
    assert_eq!(pf.refusal(&about(Opcode::QUERY_VHCA_STATE, 2), OUT).unwrap().0, Status::BAD_PARAM);
}

#[test]
fn frames_of_an_sf_go_by_the_fdb() {
    let (world, mut pf, mut other, [host, _]) = card(14);
    allocate_and_enable(&world, &mut pf);
    let own = [2, 0, 0, 0, 0xbb, 1];
    set_mac(&mut pf, SF0, own);
    let mut sf = Driver::probe(host, Config::default()).unwrap();
    sf.open(net()).unwrap();
    let fdb = Fdb::new(&mut pf);
    pf.command(&fdb.entry(0, own, &[SF0]), OUT).unwrap();
    let from_wire = plain(own, common::mac(&other), 60, 1);
    other.send(&from_wire).unwrap();
    assert_eq!(received(&world, &mut sf), vec![from_wire]);
    let out = plain(common::mac(&other), own, 60, 2);
    sf.send(&out).unwrap();
    assert_eq!(received(&world, &mut other), vec![out], "what no rule is for leaves by the wire");
    // Disabled, though its driver has it still: its vport is off.
    pf.command(&about(Opcode::DISABLE_HCA, SF0), OUT).unwrap();
    sf.send(&plain(common::mac(&other), own, 60, 3)).unwrap();
    assert_eq!(received(&world, &mut other), Vec::<Vec<u8>>::new());
}
