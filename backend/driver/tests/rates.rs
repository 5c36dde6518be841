//! Rates and shares of vports: a PF's scheduling elements, and how fast VFs send under them.

#![allow(clippy::unwrap_used)]

mod common;

use common::vfs::*;
use common::{Drv, plain};
use mlx5emu_card::ResetKind;
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::SharedWorld;
use mlx5emu_driver::striding::StridingShape;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::register::{AccessRegMode, Register};
use mlx5emu_prm::scheduling::{SchedulingElementType as Type, SchedulingHierarchy as Hierarchy, TsarType};

/// What a driver asks for.
#[derive(Clone, Copy)]
struct Element {
    hierarchy: Hierarchy,
    kind: Type,
    tsar: TsarType,
    vport: u16,
    parent: u32,
    share: u32,
    mbps: u32,
}

const TSAR: Element = Element {
    hierarchy: Hierarchy::E_SWITCH,
    kind: Type::TSAR,
    tsar: TsarType::DWRR,
    vport: 0,
    parent: 0,
    share: 0,
    mbps: 0,
};

fn leaf(vport: u16, parent: u32, share: u32) -> Element {
    Element { kind: Type::VPORT, vport, parent, share, ..TSAR }
}

fn fill(context: &mut [u8], element: &Element) {
    use scheduling_context as ctx;
    ctx::element_type.set(context, element.kind.0.into());
    ctx::parent_element_id.set(context, element.parent.into());
    ctx::bw_share.set(context, element.share.into());
    ctx::max_average_bw.set(context, element.mbps.into());
    let attributes = ctx::element_attributes.of_mut(context);
    if element.kind == Type::TSAR {
        tsar_element::tsar_type.set(attributes, element.tsar.0.into());
    } else {
        vport_element::vport_number.set(attributes, element.vport.into());
    }
}

fn creation(element: &Element) -> Vec<u8> {
    use create_scheduling_element_in as layout;
    let mut cmd = input(Opcode::CREATE_SCHEDULING_ELEMENT, layout::SIZE);
    layout::scheduling_hierarchy.set(&mut cmd, element.hierarchy.0.into());
    fill(layout::scheduling_context.of_mut(&mut cmd), element);
    cmd
}

fn create(pf: &mut Drv, element: Element) -> u32 {
    let out = pf.command(&creation(&element), create_scheduling_element_out::SIZE).unwrap();
    create_scheduling_element_out::scheduling_element_id.get32(&out)
}

fn modification(number: u32, mask: u32, element: &Element) -> Vec<u8> {
    use modify_scheduling_element_in as layout;
    let mut cmd = input(Opcode::MODIFY_SCHEDULING_ELEMENT, layout::SIZE);
    layout::scheduling_hierarchy.set(&mut cmd, element.hierarchy.0.into());
    layout::scheduling_element_id.set(&mut cmd, number.into());
    layout::modify_bitmask.set(&mut cmd, mask.into());
    fill(layout::scheduling_context.of_mut(&mut cmd), element);
    cmd
}

fn destruction(number: u32) -> Vec<u8> {
    use destroy_scheduling_element_in as layout;
    let mut cmd = input(Opcode::DESTROY_SCHEDULING_ELEMENT, layout::SIZE);
    layout::scheduling_hierarchy.set(&mut cmd, Hierarchy::E_SWITCH.0.into());
    layout::scheduling_element_id.set(&mut cmd, number.into());
    cmd
}

fn refused(driver: &mut Drv, cmd: &[u8]) -> Status {
    driver.refusal(cmd, create_scheduling_element_out::SIZE).unwrap().0
}

fn elements(world: &SharedWorld) -> usize {
    world.borrow_mut().card().inspect()["eswitch"]["pf0"]["scheduling"].as_array().unwrap().len()
}

#[test]
fn what_is_not_offered_is_refused() {
    let (world, mut pf, _other, [mut vf0, _vf1], _fdb) = switched(1);
    let root = create(&mut pf, TSAR);
    let of_vport = create(&mut pf, leaf(1, root, 0));
    for (wrong, why) in [
        (Element { hierarchy: Hierarchy::NIC, ..TSAR }, "another hierarchy"),
        (Element { tsar: TsarType::TC_ARB, ..TSAR }, "another kind of arbiter"),
        (Element { kind: Type::VPORT_TC, ..leaf(2, root, 0) }, "another kind of element"),
        (leaf(1, root, 0), "a vport twice"),
        (leaf(3, root, 0), "a vport that does not exist"),
        (leaf(2, of_vport, 0), "one below a vport"),
        (leaf(2, root, 101), "a share above the largest"),
    ] {
        assert_eq!(refused(&mut pf, &creation(&wrong)), Status::BAD_PARAM, "{why}");
    }
    assert_eq!(refused(&mut pf, &creation(&leaf(2, 99, 0))), Status::BAD_RESOURCE);
    assert_eq!(refused(&mut pf, &modification(root, 4, &TSAR)), Status::BAD_PARAM);
    assert_eq!(refused(&mut pf, &modification(99, 1, &TSAR)), Status::BAD_RESOURCE);
    assert_eq!(refused(&mut pf, &modification(root, 1, &Element { share: 101, ..TSAR })), Status::BAD_PARAM);
    assert_eq!(refused(&mut pf, &destruction(root)), Status::BAD_RES_STATE);
    assert_eq!(refused(&mut vf0, &creation(&TSAR)), Status::BAD_PARAM, "a VF manages nothing");
    let mut above = root;
    for _ in 0..3 {
        above = create(&mut pf, Element { parent: above, ..TSAR });
    }
    assert_eq!(refused(&mut pf, &creation(&Element { parent: above, ..TSAR })), Status::BAD_PARAM, "a fifth level");
    assert_eq!(elements(&world), 5);
    for number in (of_vport..=above).rev().chain([root]) {
        pf.command(&destruction(number), OUT).unwrap();
    }
    assert_eq!(elements(&world), 0);
}

#[test]
fn what_a_pf_leaves_is_counted_and_gone() {
    let (world, mut pf, _other, _vfs, _fdb) = switched(2);
    let root = create(&mut pf, TSAR);
    create(&mut pf, Element { mbps: 10, ..leaf(1, root, 0) });
    let objects = world.borrow_mut().card().inspect()["functions"]["pf0"]["objects"].clone();
    assert_eq!(objects["scheduling element"], 2);
    // Its driver does not know of them.
    drop(pf.remove());
    assert_eq!(elements(&world), 0);
    let card = world.borrow_mut().card().inspect();
    assert_eq!(card["functions"]["pf0"]["left_at_teardown"]["scheduling element"], 2);
}

#[test]
fn a_reset_of_the_pf_ends_its_scheduling() {
    let (world, mut pf, _other, _vfs, _fdb) = switched(5);
    create(&mut pf, Element { mbps: 10, ..TSAR });
    world.borrow_mut().reset(0, ResetKind::Flr);
    assert_eq!(elements(&world), 0);
}

/// Both VFs send to the PF, as much as they can.
struct Race {
    world: SharedWorld,
    pf: Drv,
    vfs: [Drv; 2],
    sent: [u64; 2],
    came: [u64; 2],
}

impl Race {
    fn new(world: &SharedWorld, pf: Drv, vfs: [Drv; 2]) -> Self {
        Self { world: world.clone(), pf, vfs, sent: [0; 2], came: [0; 2] }
    }

    /// Runs for `ms` milliseconds; how many bytes of each came.
    fn run(&mut self, ms: u64) -> [u64; 2] {
        let end = self.world.borrow().now() + ms * 1_000_000;
        let (target, before) = (common::mac(&self.pf), self.came);
        while self.world.borrow().now() < end {
            for (n, vf) in self.vfs.iter_mut().enumerate() {
                while self.sent[n] < self.came[n] + UNDER_WAY {
                    vf.send(&plain(target, mac(n as u8 + 1), FRAME, self.sent[n])).unwrap();
                    self.sent[n] += 1;
                }
            }
            self.world.borrow_mut().step();
            self.take();
        }
        [0, 1].map(|n| (self.came[n] - before[n]) * FRAME as u64)
    }

    fn take(&mut self) {
        while let Some(received) = self.pf.recv().unwrap() {
            self.came[usize::from(received.frame[11]) - 1] += 1;
        }
    }
}

/// Bytes of a frame, and how many of them a VF has under way: both together no more than the PF has buffers for.
const FRAME: usize = 1500;
const UNDER_WAY: u64 = 30;

fn about(is: u64, mbps: u64, ms: u64) {
    let should = mbps * 125 * ms;
    assert!((should * 8 / 10..=should * 12 / 10).contains(&is), "{is} bytes in {ms} ms, {should} at {mbps} Mbit/s");
}

#[test]
fn a_vf_sends_no_faster_than_it_may_and_loses_nothing() {
    let (world, mut pf, _other, vfs, _fdb) = switched(3);
    let root = create(&mut pf, TSAR);
    let one = create(&mut pf, Element { mbps: 50, ..leaf(1, root, 0) });
    let two = create(&mut pf, Element { mbps: 200, ..leaf(2, root, 0) });
    let mut race = Race::new(&world, pf, vfs);
    let [first, second] = race.run(60);
    about(first, 50, 60);
    about(second, 200, 60);
    // Changed under way, the one of them; the other one is taken away.
    race.pf.command(&modification(one, 2, &Element { mbps: 100, ..TSAR }), OUT).unwrap();
    let [first, second] = race.run(60);
    about(first, 100, 60);
    about(second, 200, 60);
    for number in [one, two, root] {
        race.pf.command(&destruction(number), OUT).unwrap();
    }
    assert_eq!(elements(&world), 0);
    while race.came != race.sent {
        assert!(world.borrow_mut().step(), "{:?} of {:?} came", race.came, race.sent);
        race.take();
    }
}

#[test]
fn vfs_share_what_their_arbiter_lets_pass() {
    let (world, mut pf, _other, vfs, _fdb) = switched(4);
    let root = create(&mut pf, TSAR);
    let group = create(&mut pf, Element { parent: root, mbps: 100, ..TSAR });
    create(&mut pf, leaf(1, group, 20));
    let two = create(&mut pf, leaf(2, group, 80));
    let mut race = Race::new(&world, pf, vfs);
    let [first, second] = race.run(100);
    about(first + second, 100, 100);
    about(first, 20, 100);
    about(second, 80, 100);
    race.pf.command(&modification(two, 1, &Element { share: 20, ..TSAR }), OUT).unwrap();
    let [first, second] = race.run(100);
    about(first, 50, 100);
    about(second, 50, 100);
}

#[test]
fn a_vf_that_may_not_send_still_gets_what_is_for_it() {
    // Every few frames its receive queue needs memory to be mapped, which a queue does that sends nothing.
    let net = NetConfig { striding: Some(StridingShape::plain()), ..net() };
    let (world, mut pf, _other, [mut vf, _], _fdb) = switched_with(6, &net);
    let root = create(&mut pf, TSAR);
    create(&mut pf, Element { mbps: 1, ..leaf(1, root, 0) });
    let (from, to) = (common::mac(&pf), mac(1));
    for n in 0..UNDER_WAY {
        vf.send(&plain(from, to, FRAME, n)).unwrap();
    }
    // No time passes but for what there is to do: what the VF has to send takes 360 ms.
    for n in 0..1000 {
        let frame = plain(to, from, FRAME, n);
        pf.send(&frame).unwrap();
        assert_eq!(received(&world, &mut vf), [frame], "frame {n} waits for what the VF has to send");
    }
}

#[test]
fn one_that_must_wait_and_whose_port_is_paused_waits_in_peace() {
    let (world, mut pf, mut other, [mut vf, _], _fdb) = switched(7);
    let mut pause = vec![0; pfcc_reg::SIZE];
    pfcc_reg::local_port.set(&mut pause, 1);
    pfcc_reg::pprx.set(&mut pause, 1);
    pf.access_register(Register::PFCC, AccessRegMode::WRITE, 0, &pause).unwrap();
    let root = create(&mut pf, TSAR);
    create(&mut pf, Element { mbps: 50, ..leaf(1, root, 0) });
    let target = common::mac(&other);
    for n in 0..UNDER_WAY {
        vf.send(&plain(target, mac(1), FRAME, n)).unwrap();
    }
    // Its turn comes while the port is paused, for 335 us a time (65535 quanta of 512 bit times at 100 Gbit/s).
    let mut control = plain([1, 0x80, 0xc2, 0, 0, 1], [2, 0, 0, 0, 0, 9], 60, 0);
    control[12..18].copy_from_slice(&[0x88, 0x08, 0, 1, 0xff, 0xff]);
    let now = || world.borrow().now();
    // Each step takes 250 ns: who looks again and again needs thousands of them.
    let settles = || {
        let begin = now();
        assert!(world.borrow_mut().settle() && now() - begin < 50_000, "it looks again and again");
    };
    let end = now() + 3_000_000;
    while now() < end {
        settles();
        other.send(&control).unwrap();
        settles();
        assert!(world.borrow_mut().step());
    }
    let mut came = 0;
    while came < UNDER_WAY {
        assert!(other.recv_wait().is_ok());
        came += 1;
    }
}
