//! Firmware pages: by both kinds of ids, asked for and offered by event, with objects that come and go, and canaries.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Drv, Rng, goodbye, mix, world};
use mlx5emu_card::{FunctionSetup, PageChange, PageIds, PageTarget, Personality, ResetKind};
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::{InProcess, SharedWorld, World, two_ports};
use mlx5emu_driver::{Config, Driver, Error, Host, NetConfig, pages};
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use proptest::prelude::*;

const OUT: usize = 0x10;
/// Syndromes of the card.
const PAGES_MISSING: u32 = 0x2001;
const WRONG_PAGE_ID: u32 = 0x2004;
/// VHCA ids of the VFs.
const VF: [u16; 2] = [0x41, 0x42];

/// A card whose first port has two VFs.
fn with_vfs() -> Personality {
    let mut personality = two_ports();
    for (vf, vhca_id) in (0..2u16).zip(VF) {
        let setup = FunctionSetup {
            name: format!("pf0vf{vf}"),
            vport: vf + 1,
            vhca_id,
            bar0: 2 << 20,
            ..personality.functions[0].clone()
        };
        personality.functions.push(setup);
    }
    personality
}

/// The first PF probed, and the machines of its VFs.
fn card(personality: Personality, seed: u64) -> (SharedWorld, Drv, [InProcess; 2]) {
    let (world, hosts) = World::new(personality, seed).hosts();
    let [pf, _, vf0, vf1] = <[InProcess; 4]>::try_from(hosts).ok().unwrap();
    (world, Driver::probe(pf, Config::default()).unwrap(), [vf0, vf1])
}

fn about(opcode: Opcode, id: u32) -> Vec<u8> {
    let mut cmd = input(opcode, enable_hca_in::SIZE);
    enable_hca_in::function_id.set(&mut cmd, id.into());
    cmd
}

fn query(op_mod: u16, id: u16) -> Vec<u8> {
    let mut cmd = input(Opcode::QUERY_PAGES, query_pages_in::SIZE);
    query_pages_in::op_mod.set(&mut cmd, op_mod.into());
    query_pages_in::function_id.set(&mut cmd, id.into());
    cmd
}

/// Serves what came, until nothing does.
fn serve(world: &SharedWorld, pf: &mut Drv) {
    assert!(world.borrow_mut().settle());
    pf.service().unwrap();
    pf.settle_pages().unwrap();
}

fn inject(world: &SharedWorld, pf: &mut Drv, target: PageTarget, change: PageChange) {
    world.borrow_mut().card().inject_pages(target, change).unwrap();
    serve(world, pf);
}

fn ask(world: &SharedWorld, pf: &mut Drv, target: PageTarget, count: i32) {
    inject(world, pf, target, PageChange::Ask(count));
}

fn inspect(world: &SharedWorld, path: &str) -> serde_json::Value {
    let tree = world.borrow_mut().card().inspect();
    tree.pointer(&format!("/functions/{path}")).cloned().ok_or(path).unwrap()
}

fn count(world: &SharedWorld, path: &str) -> u64 {
    inspect(world, path).as_u64().unwrap()
}

/// Whether the books of the PF and its VFs balance, and what they hold is what the driver says.
fn balanced(world: &SharedWorld, pf: &Drv) {
    for name in ["pf0", "pf0vf0", "pf0vf1"] {
        let of = |what: &str| count(world, &format!("{name}/pages/{what}"));
        assert_eq!(of("given"), of("returned") + of("forgotten") + of("held"), "{name}");
    }
    assert_eq!(count(world, "pf0/pages/total"), pf.pages.held() as u64);
    let by_id = inspect(world, "pf0/pages/by_id");
    for (id, line) in by_id.as_object().unwrap() {
        assert_eq!(line["held"], pf.pages.held_for(id.parse().unwrap()), "id {id}: {line}");
    }
    assert_eq!(count(world, "pf0/pages/canaries/broken"), 0);
}

#[test]
fn a_driver_that_knows_vhca_ids_names_pages_by_them_after_the_boot_pages() {
    let (world, mut pf, _) = card(with_vfs(), 1);
    assert_eq!((pf.page_id(), inspect(&world, "pf0/pages/mode")), (1, "vhca_id".into()));
    // Boot pages keep the function id, all else has the VHCA id.
    pf.command(&query(1, 0), query_pages_out::SIZE).unwrap();
    for op_mod in [2, 3] {
        pf.command(&query(op_mod, 1), query_pages_out::SIZE).unwrap();
        let refused = pf.refusal(&query(op_mod, 0), query_pages_out::SIZE).unwrap();
        assert_eq!(refused, (Status::BAD_PARAM, WRONG_PAGE_ID));
    }
    assert_eq!(pf.refusal(&query(1, VF[0]), query_pages_out::SIZE).unwrap(), (Status::BAD_PARAM, WRONG_PAGE_ID));
    for id in [0, 2, 0xffff] {
        for job in [pages::take_job(id, 1), pages::cant_give_job(id), pages::give_job(&mut pf.host, id, 1).unwrap()] {
            assert_eq!(pf.refusal(&job.input, job.out_len).unwrap(), (Status::BAD_PARAM, WRONG_PAGE_ID), "id {id}");
        }
    }
    let mut job = pages::take_job(1, 1);
    manage_pages_in::embedded_cpu_function.set(&mut job.input, 1);
    assert_eq!(pf.refusal(&job.input, job.out_len).unwrap(), (Status::BAD_PARAM, WRONG_PAGE_ID));
    pf.pages.abandon(&mut pf.host);
}

#[test]
fn a_card_or_a_driver_without_vhca_ids_names_pages_by_function_ids() {
    for offered in [false, true] {
        let mut personality = with_vfs();
        if !offered {
            personality.page_manner.ids = PageIds::FunctionId;
        }
        let (world, hosts) = World::new(personality, 2).hosts();
        let host = hosts.into_iter().next().unwrap();
        let mut pf = Driver::probe(host, Config { vhca_id_pages: !offered, ..Config::default() }).unwrap();
        assert_eq!((pf.page_id(), inspect(&world, "pf0/pages/mode")), (0, "func_id".into()));
        for id in [1u16, VF[0], 3] {
            let job = pages::take_job(id, 1);
            let refused = pf.refusal(&job.input, job.out_len).unwrap();
            // 1 is the first VF here.
            assert_eq!(refused.1, if id == 1 { 0 } else { WRONG_PAGE_ID }, "id {id}");
        }
        balanced(&world, &pf);
        goodbye(pf);
    }
}

#[test]
fn the_mode_is_chosen_before_init_hca_and_ends_with_disable_hca() {
    let (world, mut pf, _) = card(with_vfs(), 3);
    let mut cmd = input(Opcode::SET_HCA_CAP, set_hca_cap_in::SIZE);
    let new = set_hca_cap_in::capability.of_mut(&mut cmd);
    new[..cmd_hca_cap::SIZE].copy_from_slice(&pf.caps.general[..cmd_hca_cap::SIZE]);
    pf.command(&cmd, set_hca_cap_out::SIZE).unwrap();
    cmd_hca_cap::icm_mng_function_id_mode.set(set_hca_cap_in::capability.of_mut(&mut cmd), 0);
    assert_eq!(pf.refusal(&cmd, set_hca_cap_out::SIZE).unwrap().0, Status::BAD_SYS_STATE);
    let (host, _) = goodbye(pf);
    assert_eq!(inspect(&world, "pf0/pages/mode"), "func_id");
    goodbye(Driver::probe(host, Config::default()).unwrap());
}

#[test]
fn a_vhca_id_may_be_0() {
    let mut personality = with_vfs();
    personality.functions[0].vhca_id = 0;
    let (world, pf, _) = card(personality, 4);
    assert_eq!((pf.page_id(), inspect(&world, "pf0/pages/mode")), (0, "vhca_id".into()));
    balanced(&world, &pf);
    goodbye(pf);
}

#[test]
fn slips_of_the_firmware_are_taken_when_pages_are_given_and_never_after() {
    let mut personality = two_ports();
    personality.page_manner.boot_id = Some(5);
    let (_, hosts) = World::new(personality, 5).hosts();
    // Our driver notices what the kernel's does not.
    let error = Driver::probe(hosts.into_iter().next().unwrap(), Config::default()).err().unwrap();
    assert!(matches!(&error, Error::Device(why) if why.contains("answers for function 0x5")), "{error}");

    let mut personality = two_ports();
    personality.page_manner.ids = PageIds::VhcaIdIgnored;
    let (_, hosts) = World::new(personality, 6).hosts();
    let error = Driver::probe(hosts.into_iter().next().unwrap(), Config::default()).err().unwrap();
    assert!(matches!(error, Error::Refused { status: Status::BAD_PARAM, syndrome: WRONG_PAGE_ID, .. }), "{error}");
}

/// Both VFs with all their pages, their drivers probed.
fn probed_vfs(world: &SharedWorld, pf: &mut Drv, hosts: [InProcess; 2]) -> [Drv; 2] {
    let mut vfs = Vec::new();
    for (host, n) in hosts.into_iter().zip(0u16..) {
        pf.command(&about(Opcode::ENABLE_HCA, u32::from(n) + 1), OUT).unwrap();
        serve(world, pf);
        let job = pages::give_job(&mut pf.host, VF[usize::from(n)], 10).unwrap();
        let output = pf.execute(&job.input, job.out_len).unwrap();
        pf.pages.finish(&mut pf.host, job, output).unwrap();
        vfs.push(Driver::probe(host, Config::default()).unwrap());
    }
    <[Drv; 2]>::try_from(vfs).ok().unwrap()
}

#[test]
fn pages_of_vfs_are_named_by_their_vhca_ids() {
    let (world, mut pf, hosts) = card(with_vfs(), 7);
    let vfs = probed_vfs(&world, &mut pf, hosts);
    balanced(&world, &pf);
    assert_eq!(pf.pages.held_for(VF[0]), 16);
    assert_eq!(count(&world, "pf0/pages/by_type/vf/held"), 32);
    for vf in vfs {
        assert_eq!(vf.page_id(), VF[usize::from(vf.page_id() == VF[1])]);
        let (host, farewell) = vf.remove().unwrap();
        assert_eq!((farewell.pages_given, host.dma_in_use()), (0, 0));
    }
    for id in [1, 2] {
        pf.command(&about(Opcode::DISABLE_HCA, id), OUT).unwrap();
    }
    serve(&world, &mut pf);
    balanced(&world, &pf);
    assert_eq!((pf.pages.held_for(VF[0]), pf.pages.held_for(VF[1])), (0, 0));
    goodbye(pf);
}

#[test]
fn pages_are_asked_for_offered_and_released_on_demand() {
    let (world, mut pf, hosts) = card(with_vfs(), 8);
    let own = pf.pages.held();
    let unknown = PageTarget::Id(0, 0x77);
    for (target, id) in [(PageTarget::Function(0), 1), (PageTarget::Function(2), VF[0]), (unknown, 0x77)] {
        let before = pf.pages.held_for(id);
        ask(&world, &mut pf, target, 1000);
        assert_eq!(pf.pages.held_for(id), before + 1000);
        balanced(&world, &pf);
        ask(&world, &mut pf, target, -990);
        assert_eq!(pf.pages.held_for(id), before + 10);
        ask(&world, &mut pf, target, 0);
        balanced(&world, &pf);
    }
    assert_eq!(count(&world, "pf0/pages/by_type/none/held"), 10);
    assert_eq!(count(&world, "pf0/pages/by_type/vf/held"), 10);
    inject(&world, &mut pf, unknown, PageChange::ReleaseAll);
    inject(&world, &mut pf, PageTarget::Function(2), PageChange::ReleaseAll);
    balanced(&world, &pf);
    assert_eq!(pf.pages.held(), own + 10);
    // What is the firmware's own need is given up too if an event says so.
    ask(&world, &mut pf, PageTarget::Function(0), -(own as i32) - 10);
    assert_eq!(pf.pages.held(), 0);
    // And a VF's that is enabled and disabled with it.
    ask(&world, &mut pf, PageTarget::Function(3), 5);
    let vfs = probed_vfs(&world, &mut pf, hosts);
    balanced(&world, &pf);
    // They came beyond what it needs, and are taken back as such.
    ask(&world, &mut pf, PageTarget::Function(3), -5);
    assert_eq!(pf.pages.held_for(VF[1]), 16);
    vfs.into_iter().for_each(|vf| drop(vf.remove().unwrap()));
    for id in [1, 2] {
        pf.command(&about(Opcode::DISABLE_HCA, id), OUT).unwrap();
    }
    serve(&world, &mut pf);
    assert_eq!(pf.pages.held(), 0);
    ask(&world, &mut pf, unknown, 3);
    goodbye(pf);
}

#[test]
fn a_firmware_that_gives_back_few_at_a_time_offers_the_rest_again() {
    let mut personality = with_vfs();
    personality.page_manner.take_at_most = 7;
    let (world, mut pf, _) = card(personality, 9);
    let (own, requests) = (pf.pages.held(), pf.pages.requests);
    ask(&world, &mut pf, PageTarget::Function(0), 100);
    ask(&world, &mut pf, PageTarget::Function(0), -100);
    assert_eq!(pf.pages.held(), own);
    assert_eq!(pf.pages.requests - requests, 1 + 100_u64.div_ceil(7));
    balanced(&world, &pf);
    goodbye(pf);
}

#[test]
fn a_page_that_comes_back_twice_is_noticed() {
    let mut personality = with_vfs();
    personality.page_manner.take_twice = true;
    let (world, mut pf, _) = card(personality, 18);
    ask(&world, &mut pf, PageTarget::Function(0), 20);
    // As many as are asked for: there is no room for one more.
    ask(&world, &mut pf, PageTarget::Function(0), -20);
    balanced(&world, &pf);
    let job = pages::give_job(&mut pf.host, 1, 3).unwrap();
    let output = pf.execute(&job.input, job.out_len).unwrap();
    pf.pages.finish(&mut pf.host, job, output).unwrap();
    let job = pages::take_job(1, 10);
    let output = pf.execute(&job.input, job.out_len).unwrap();
    let error = pf.pages.finish(&mut pf.host, job, output).err().unwrap();
    assert!(matches!(&error, Error::Device(why) if why.contains("which the device did not have")), "{error}");
    assert_eq!(count(&world, "pf0/pages/held"), pf.pages.held() as u64);
}

#[test]
fn a_driver_that_cannot_give_is_left_alone() {
    let (world, hosts) = World::new(with_vfs(), 10).hosts();
    let host = hosts.into_iter().next().unwrap();
    let mut pf = Driver::probe(host, Config { starve: true, ..Config::default() }).unwrap();
    let held = pf.pages.held();
    ask(&world, &mut pf, PageTarget::Function(0), 10);
    assert_eq!((count(&world, "pf0/pages/by_id/1/asked"), count(&world, "pf0/pages/by_id/1/extra")), (0, 0));
    assert_eq!(count(&world, "pf0/pages/cannot_give"), 2);
    // Nor is more taken than was asked to be given.
    let job = pages::take_job(1, 5);
    let out = pf.command(&job.input, job.out_len).unwrap();
    assert_eq!((manage_pages_out::output_num_entries.get(&out), pf.pages.held()), (0, held));
}

#[test]
fn init_hca_of_a_vf_does_not_wait_for_ever() {
    let (world, mut pf, [host, _]) = card(with_vfs(), 11);
    // It reads its events, and never serves them.
    pf.command(&about(Opcode::ENABLE_HCA, 1), OUT).unwrap();
    let from = world.borrow().now();
    let error = Driver::probe(host, Config::default()).err().unwrap();
    assert!(matches!(error, Error::Refused { status: Status::NO_RESOURCES, syndrome: PAGES_MISSING, .. }), "{error}");
    let took = world.borrow().now() - from;
    assert!((20_000_000_000..60_000_000_000).contains(&took), "{took}");
}

/// Memory keys and their protection domain.
#[derive(Default)]
struct Keys {
    pd: Option<u32>,
    keys: Vec<u32>,
}

impl Keys {
    /// Makes `count` keys, or takes as many away; without keys there is no domain either.
    fn change(&mut self, driver: &mut Drv, count: i64) {
        let pd = *self.pd.get_or_insert_with(|| driver.alloc_pd().unwrap());
        self.keys.extend((0..count).map(|_| driver.create_pa_mkey(pd, 0).unwrap()));
        for _ in count..0 {
            driver.destroy_mkey(self.keys.pop().unwrap()).unwrap();
        }
        if self.keys.is_empty() {
            driver.dealloc_pd(self.pd.take().unwrap()).unwrap();
        }
    }
}

#[test]
fn objects_cost_pages_which_go_back_with_them() {
    let (world, mut pf, hosts) = card(with_vfs(), 12);
    let vfs = probed_vfs(&world, &mut pf, hosts);
    let [mut vf, other] = vfs;
    pf.settle_pages().unwrap();
    let (own, of_vf, requests) = (pf.pages.held_for(1), pf.pages.held_for(VF[0]), pf.pages.requests);
    let (mut keys, mut vf_keys) = (Keys::default(), Keys::default());
    // 256 bytes each: 16 a page.
    keys.change(&mut pf, 2000);
    serve(&world, &mut pf);
    let grown = pf.pages.held_for(1) - own;
    assert!((125 - 33..=125 + 16).contains(&grown), "{grown}");
    vf_keys.change(&mut vf, 1000);
    serve(&world, &mut pf);
    assert!(pf.pages.held_for(VF[0]) >= of_vf + 48, "{}", pf.pages.held_for(VF[0]));
    assert_eq!(pf.pages.held_for(VF[1]), 16);
    balanced(&world, &pf);
    // One more and one less make no event.
    let steady = pf.pages.requests;
    assert!(steady - requests < 20);
    for _ in 0..40 {
        keys.change(&mut pf, 1);
        keys.change(&mut pf, -1);
    }
    serve(&world, &mut pf);
    assert!(pf.pages.requests - steady <= 1);
    keys.change(&mut pf, -2000);
    vf_keys.change(&mut vf, -1000);
    serve(&world, &mut pf);
    let (left, left_of_vf) = (pf.pages.held_for(1) - own, pf.pages.held_for(VF[0]) - of_vf);
    assert!(left <= 32 && left_of_vf <= 32, "{left} {left_of_vf}");
    balanced(&world, &pf);
    drop(vf.remove().unwrap());
    drop(other.remove().unwrap());
    for id in [1, 2] {
        pf.command(&about(Opcode::DISABLE_HCA, id), OUT).unwrap();
    }
    serve(&world, &mut pf);
    assert_eq!(pf.pages.held_for(VF[0]), 0);
    goodbye(pf);
}

#[test]
fn a_driver_without_memory_makes_objects_all_the_same() {
    let (world, a, _) = world(13);
    let mut pf = Driver::probe(a, Config { starve: true, ..Config::default() }).unwrap();
    let mut keys = Keys::default();
    keys.change(&mut pf, 3000);
    serve(&world, &mut pf);
    // It is asked once, and not again for each object.
    assert!(pf.pages.requests <= 3, "{}", pf.pages.requests);
    keys.change(&mut pf, -3000);
    serve(&world, &mut pf);
    goodbye(pf);
}

#[test]
fn who_writes_to_a_page_that_the_firmware_holds_is_found_out() {
    let (world, mut pf, _) = card(with_vfs(), 14);
    let page = pf.pages.list(1)[100];
    let mut canary = [0; 4096];
    pf.host.mem_read(page, &mut canary);
    assert!(canary.as_chunks::<8>().0.iter().all(|word| *word != [0; 8]));
    pf.host.mem_write(page + 0x123, &[0xde, 0xad]);
    // Taken back while it runs.
    let held = pf.pages.held_for(1) as i32;
    ask(&world, &mut pf, PageTarget::Function(0), -held);
    let canaries = inspect(&world, "pf0/pages/canaries");
    assert_eq!(canaries["broken"], 1);
    assert_eq!(canaries["last_broken"][0]["page"], format!("{page:#x}"));
    assert_eq!(canaries["last_broken"][0]["offset"], 0x123);
    assert!(canaries["last_broken"][0]["found"].as_str().unwrap().starts_with("dead"));
    assert_eq!(canaries["whole"].as_u64().unwrap() + 1, canaries["written"].as_u64().unwrap());

    world.borrow_mut().card().forget_broken_canaries(0);
    assert_eq!(count(&world, "pf0/pages/canaries_broken"), 0);

    // At the teardown, once: not again when the page goes back.
    ask(&world, &mut pf, PageTarget::Function(0), 3);
    let page = pf.pages.list(1)[0];
    pf.host.mem_write(page, &[0; 4096]);
    ask(&world, &mut pf, PageTarget::Id(0, 0x99), 1);
    pf.host.mem_write(pf.pages.list(0x99)[0] + 4095, &[0]);
    inject(&world, &mut pf, PageTarget::Id(0, 0x99), PageChange::Ask(0));
    let mut from = 0;
    while world.borrow_mut().card().check_before_release(PageTarget::Id(0, 0x99), &mut from) {}
    inject(&world, &mut pf, PageTarget::Id(0, 0x99), PageChange::ReleaseAll);
    goodbye(pf);
    assert_eq!(count(&world, "pf0/pages/canaries_broken"), 2);
}

#[test]
fn without_canaries_pages_stay_as_they_are() {
    let mut personality = with_vfs();
    personality.page_manner.canaries = false;
    let (world, mut pf, _) = card(personality, 15);
    let page = pf.pages.list(1)[0];
    let mut bytes = [1; 4096];
    pf.host.mem_read(page, &mut bytes);
    assert_eq!(bytes, [0; 4096]);
    pf.host.mem_write(page, &[7; 4096]);
    goodbye(pf);
    assert_eq!(count(&world, "pf0/pages/canaries/written"), 0);
    assert_eq!(count(&world, "pf0/pages/canaries/broken"), 0);
}

#[test]
fn pages_that_are_out_of_reach_are_no_failure() {
    let (world, a, _) = world(16);
    // Memory that only messages reach: no canaries, and no waiting for it.
    let (base, far) = (a.space().base() + (48 << 20), a.space().base() + (64 << 20));
    let mut pf = Driver::probe(a, Config::default()).unwrap();
    pf.host.space().set_remote(base..far);
    let mut job = pages::give_job(&mut pf.host, 1, 3).unwrap();
    // One far away, one that nothing answers, and one as it should be.
    be64::value.set(manage_pages_in::pas.at_mut(&mut job.input, 0), base);
    be64::value.set(manage_pages_in::pas.at_mut(&mut job.input, 1), far + 0x1000);
    pf.command(&job.input, job.out_len).unwrap();
    let canaries = inspect(&world, "pf0/pages/canaries");
    assert_eq!((&canaries["by_message"], &canaries["unreachable"]), (&1.into(), &1.into()));
    let mut byte = [1; 8];
    pf.host.mem_read(base, &mut byte);
    assert_eq!(byte, [0; 8]);
}

#[test]
fn a_reset_in_the_middle_of_giving_writes_no_canary_afterwards() {
    let (world, mut pf, _) = card(with_vfs(), 17);
    let job = pages::give_job(&mut pf.host, 1, 2000).unwrap();
    pf.submit(&job.input, job.out_len).unwrap();
    while count(&world, "pf0/pages/canaries/written") <= 950 {
        assert!(world.borrow_mut().step());
    }
    world.borrow_mut().reset(0, ResetKind::Flr);
    assert!(world.borrow_mut().settle());
    assert!(count(&world, "pf0/pages/canaries/written") < 2900);
    assert_eq!(count(&world, "pf0/pages/given"), count(&world, "pf0/pages/forgotten"));
    assert_eq!(count(&world, "pf0/pages/held"), 0);
    drop(pf.abandon());
}

#[derive(Debug, Clone)]
enum Act {
    Ask(usize, i32),
    Release(usize),
    Take(usize, usize),
    Give(usize, usize),
    CantGive(usize),
    Enable(u32),
    Disable(u32),
    Keys(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4usize, -400..400i32).prop_map(|(who, n)| Act::Ask(who, n)),
        (1..4usize).prop_map(Act::Release),
        (0..5usize, 0..900usize).prop_map(|(who, n)| Act::Take(who, n)),
        (0..5usize, 0..300usize).prop_map(|(who, n)| Act::Give(who, n)),
        (0..5usize).prop_map(Act::CantGive),
        (1..3u32).prop_map(Act::Enable),
        (1..3u32).prop_map(Act::Disable),
        (-600..600i64).prop_map(Act::Keys),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever is asked, given, taken and refused, by whatever ids: card and driver agree on every page.
    #[test]
    fn the_books_balance(seed: u64, vhca_ids: bool, most in prop_oneof![Just(u32::MAX), 1..100u32],
                         acts in prop::collection::vec(act(), 1..60)) {
        let mut personality = with_vfs();
        personality.page_manner.take_at_most = most;
        personality.seed = mix(seed, 1);
        let (world, hosts) = World::new(personality, seed).hosts();
        let host = hosts.into_iter().next().unwrap();
        let mut pf = Driver::probe(host, Config { vhca_id_pages: vhca_ids, ..Config::default() }).unwrap();
        // Own, two VFs, one that nobody is until it is asked for, and one that never is.
        let ids = if vhca_ids { [1, VF[0], VF[1], 0x77, 0x78] } else { [0, 1, 2, 0x77, 0x78] };
        let target = |who: usize| match who {
            0 => PageTarget::Function(0),
            1 | 2 => PageTarget::Function(who + 1),
            _ => PageTarget::Id(0, ids[who]),
        };
        let mut keys = Keys::default();
        let mut given: BTreeMap<u16, u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Ask(who, n) => ask(&world, &mut pf, target(who), n),
                Act::Release(who) => inject(&world, &mut pf, target(who), PageChange::ReleaseAll),
                Act::Take(who, n) => {
                    let job = pages::take_job(ids[who], n);
                    let output = pf.execute(&job.input, job.out_len).unwrap();
                    if output.status() == Status::OK {
                        pf.pages.finish(&mut pf.host, job, output).unwrap();
                    }
                }
                Act::Give(who, n) => {
                    let job = pages::give_job(&mut pf.host, ids[who], n).unwrap();
                    let output = pf.execute(&job.input, job.out_len).unwrap();
                    let good = output.status() == Status::OK;
                    prop_assert!(good || who >= 3);
                    if good {
                        *given.entry(ids[who]).or_default() += n as u64;
                    }
                    let _ = pf.pages.finish(&mut pf.host, job, output);
                }
                Act::CantGive(who) => {
                    let job = pages::cant_give_job(ids[who]);
                    pf.execute(&job.input, job.out_len).unwrap();
                }
                Act::Enable(id) => { pf.execute(&about(Opcode::ENABLE_HCA, id), OUT).unwrap(); }
                Act::Disable(id) => { pf.execute(&about(Opcode::DISABLE_HCA, id), OUT).unwrap(); }
                Act::Keys(n) => keys.change(&mut pf, n.max(-(keys.keys.len() as i64))),
            }
            serve(&world, &mut pf);
            balanced(&world, &pf);
        }
        for (id, n) in given {
            let booked = count(&world, &format!("pf0/pages/by_id/{id}/given"));
            prop_assert!(booked >= n, "id {}: {} of {}", id, booked, n);
        }
        pf.open(NetConfig::default()).unwrap();
        let mut rng = Rng::new(seed);
        rng.next();
        goodbye(pf);
        prop_assert_eq!(count(&world, "pf0/pages/total"), 0);
    }
}
