//! An embedded CPU that manages the e-switch of a host: how it names the host's functions and itself, and what it is told.

#![allow(clippy::unwrap_used)]

mod common;

use common::Drv;
use common::vfs::{OUT, about, net, serve};
use mlx5emu_card::FunctionSetup;
use mlx5emu_card::eswitch::{ECPF_VPORT, PF_VPORT};
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::{InProcess, SharedWorld, World, two_ports};
use mlx5emu_driver::{Config, Driver, Host};
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};

/// Pages that the card asks for, for a host's function that was enabled.
const ENABLE: usize = 6;
const HOST_VHCA_ID: u16 = 3;

/// A card whose first port is an embedded CPU's, with a host that can have two VFs; that CPU's driver has it.
fn card(seed: u64) -> (SharedWorld, Drv, InProcess) {
    let mut personality = two_ports();
    personality.functions[0].vport = ECPF_VPORT;
    for (name, vport, vhca_id) in [("pf0host", PF_VPORT, HOST_VHCA_ID), ("pf0vf0", 1, 4), ("pf0vf1", 2, 5)] {
        let setup = FunctionSetup {
            name: name.into(),
            vport,
            of_host: true,
            vhca_id,
            bar0: 1 << 20,
            ..personality.functions[0].clone()
        };
        personality.functions.push(setup);
    }
    let (world, hosts) = World::new(personality, seed).hosts();
    let [ecpf, other, ..] = <[InProcess; 5]>::try_from(hosts).ok().unwrap();
    let mut driver = Driver::probe(ecpf, Config::default()).unwrap();
    driver.open(net()).unwrap();
    (world, driver, other)
}

/// Whether the host's PF is disabled, how many VFs it has, and how many it can have.
fn host(ecpf: &mut Drv) -> (bool, u64, u64) {
    use host_params_context as ctx;
    let cmd = input(Opcode::QUERY_ESW_FUNCTIONS, query_esw_functions_in::SIZE);
    let out = ecpf.command(&cmd, query_esw_functions_out::SIZE).unwrap();
    let params = query_esw_functions_out::net_function_params.of(&out);
    assert!(!ctx::host_pf_not_exist.is_set(params));
    (ctx::host_pf_disabled.is_set(params), ctx::host_num_of_vfs.get(params), ctx::host_total_vfs.get(params))
}

fn set_vfs(world: &SharedWorld, count: u16) -> Result<(), String> {
    let mut world = world.borrow_mut();
    let now = world.now();
    world.card().inject_host_vfs(0, count, now)
}

/// Times that it was told of the host's functions.
fn told(world: &SharedWorld, ecpf: &mut Drv) -> usize {
    serve(world, ecpf);
    let told = ecpf.events.iter().filter(|e| e.event == Event::ESW_FUNCTIONS_CHANGED).count();
    ecpf.events.clear();
    told
}

#[test]
fn its_host_comes_and_goes() {
    for seed in 0..4 {
        let (world, mut ecpf, _other) = card(seed);
        assert_eq!(host(&mut ecpf), (true, 0, 2));
        assert!(set_vfs(&world, 1).unwrap_err().contains("not enabled"));
        let own = ecpf.pages.held();
        // Function 0 is the host's PF, unless it says that it means itself.
        ecpf.command(&about(Opcode::ENABLE_HCA, 0), OUT).unwrap();
        serve(&world, &mut ecpf);
        assert_eq!(ecpf.pages.held_for(HOST_VHCA_ID), ENABLE);
        assert_eq!(host(&mut ecpf), (false, 0, 2));
        assert!(set_vfs(&world, 3).unwrap_err().contains("2 VFs"));
        set_vfs(&world, 2).unwrap();
        assert_eq!(told(&world, &mut ecpf), 1);
        assert_eq!(host(&mut ecpf), (false, 2, 2));
        assert_eq!(ecpf.pages.held() - own, 3 * ENABLE);
        assert!(set_vfs(&world, 1).unwrap_err().contains("gives them up"));
        set_vfs(&world, 0).unwrap();
        assert_eq!(told(&world, &mut ecpf), 1);
        assert_eq!(ecpf.pages.held() - own, ENABLE, "what was for VFs comes back");
        // A host whose PF goes has no VFs.
        set_vfs(&world, 1).unwrap();
        assert_eq!(told(&world, &mut ecpf), 1);
        ecpf.command(&about(Opcode::DISABLE_HCA, 0), OUT).unwrap();
        serve(&world, &mut ecpf);
        assert_eq!((host(&mut ecpf), ecpf.pages.held()), ((true, 0, 2), own));
        let (machine, _) = ecpf.remove().unwrap();
        assert_eq!(machine.dma_in_use(), 0, "memory is leaked");
    }
}

#[test]
fn only_an_embedded_cpu_has_a_host() {
    let (_world, mut ecpf, other) = card(1);
    let mut about_ec = about(Opcode::ENABLE_HCA, 1);
    enable_hca_in::embedded_cpu_function.set(&mut about_ec, 1);
    assert_eq!(ecpf.refusal(&about_ec, OUT).unwrap().0, Status::BAD_PARAM, "it has no VFs of its own");
    let mut plain = Driver::probe(other, Config::default()).unwrap();
    let query = input(Opcode::QUERY_ESW_FUNCTIONS, query_esw_functions_in::SIZE);
    assert_eq!(plain.refusal(&query, query_esw_functions_out::SIZE).unwrap().0, Status::BAD_OP);
    enable_hca_in::function_id.set(&mut about_ec, 0);
    assert_eq!(plain.refusal(&about_ec, OUT).unwrap().0, Status::BAD_PARAM, "there is no embedded CPU");
}
