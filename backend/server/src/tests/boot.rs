//! From connecting to the first frames.

use mlx5emu_driver::{Config, Driver, Host, NetConfig};
use mlx5emu_vfio_user::proto;

use super::machine::{Machine, frame, goodbye, mac, rig, rig_with};
use crate::{Confinement, StartOptions};

/// The messages of QEMU 11.1 from connecting to a running guest, in its order.
#[test]
fn a_function_is_realized_as_qemu_does_it() {
    let rig = rig();
    let client = Machine::connect(rig.socket(0)).unwrap();
    let ids: Vec<_> = [(0u64, 0xa_0000u64), (0xc_0000, 0x4_0000), (0x10_0000, 0xf0_0000)]
        .map(|(at, len)| client.map_ram(at, len, at).unwrap())
        .to_vec();
    client.commit(ids).unwrap();
    let (flags, regions, irqs) = client.device_info().unwrap();
    assert_eq!((flags, regions, irqs), (proto::DEVICE_FLAGS_RESET | proto::DEVICE_FLAGS_PCI, 9, 5));
    let sizes = [0, 1, 2, 3, 4, 5, 7].map(|n| client.region_info(n).unwrap().size);
    assert_eq!(sizes, [32 << 20, 0, 0, 0, 0, 0, 4096]);
    let mut config = vec![0; 4096];
    client.config_read(0, &mut config).unwrap();
    assert_eq!(config[..4], [0xb3, 0x15, 0x1d, 0x10]);
    assert_eq!(config[0x0a..0x0c], [0x00, 0x02], "an Ethernet controller");
    // ROM sizing: there is none.
    client.config_write(0x30, &0xffff_f800u32.to_le_bytes()).unwrap();
    let mut rom = [0xff; 4];
    client.config_read(0x30, &mut rom).unwrap();
    assert_eq!(rom, [0; 4]);
    let mut bar = [0; 4];
    client.config_read(0x10, &mut bar).unwrap();
    assert_eq!(u32::from_le_bytes(bar), 0xc);
    assert_eq!(client.irq_count(proto::IRQ_MSIX).unwrap(), 8);
    let mut pin = [0xff];
    client.config_read(0x3d, &mut pin).unwrap();
    assert_eq!(pin, [0]);
    // Machine reset, then the guest sizes BAR0 as it boots.
    client.config_write(4, &[0, 0]).unwrap();
    client.reset().unwrap();
    for (at, expected) in [(0x10u64, 0xfe00_000cu32), (0x14, 0xffff_ffff)] {
        client.config_write(at, &[0xff; 4]).unwrap();
        client.config_read(at, &mut bar).unwrap();
        assert_eq!(u32::from_le_bytes(bar), expected);
    }
    assert_eq!(client.unexpected(), 0);
}

#[test]
fn bar0_answers_only_while_memory_space_is_enabled() {
    let rig = rig();
    let mut machine = Machine::over(Machine::connect(rig.socket(0)).unwrap(), u32::MAX).unwrap();
    assert_eq!(machine.bar_read32(0), u32::MAX);
    machine.set_command(1 << 1).unwrap();
    assert_eq!(machine.bar_read32(0), 43 << 16 | 22, "fw_rev");
    machine.set_command(0).unwrap();
    assert_eq!(machine.bar_read32(0), u32::MAX);
}

#[test]
fn the_msix_table_is_masked_and_no_uar_page() {
    let rig = rig();
    let mut machine = rig.machine(0);
    assert_eq!(machine.bar_read32(0x4000 + 12).swap_bytes(), 1, "vector control of entry 0");
    assert_eq!(machine.bar_read32(0xc000), 0, "pending bits");
    machine.bar_write32(0x4000, 0x1234);
    assert_eq!(machine.bar_read32(0x4000), 0);
}

fn ping_both_ways(confinement: Confinement) {
    let rig = rig_with(StartOptions { confinement, ..StartOptions::default() });
    let [mut a, mut b] = rig.opened();
    let (mac_a, mac_b) = (mac(&a), mac(&b));
    for number in 0..50 {
        let there = frame(mac_b, mac_a, 60 + 29 * number as usize, number);
        a.send(&there).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, there);
        let back = frame(mac_a, mac_b, 60, number);
        b.send(&back).unwrap();
        assert_eq!(a.recv_wait().unwrap().frame, back);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn drivers_come_up_move_frames_and_leave_confined() {
    ping_both_ways(Confinement::Card);
}

#[test]
fn drivers_come_up_move_frames_and_leave_unconfined() {
    ping_both_ways(Confinement::Nobody);
}

#[test]
fn a_driver_comes_and_goes_ten_times_and_then_another_machine_does() {
    let rig = rig();
    let mut machine = rig.machine(0);
    for _ in 0..10 {
        let driver = Driver::probe(machine, Config::default()).unwrap();
        (machine, _) = goodbye(driver);
    }
    drop(machine);
    for _ in 0..3 {
        goodbye(Driver::probe(rig.machine(0), Config::default()).unwrap());
    }
}

/// The timer of the receiver's CQ starts in the sender's burst; the receiver's own worker sleeps at that time.
#[test]
fn a_moderated_completion_event_comes_though_its_worker_slept() {
    let rig = rig();
    let [mut a, mut b] = [0, 1].map(|f| Driver::probe(rig.machine(f), Config::default()).unwrap());
    let mut moderated = NetConfig::default();
    (moderated.rq_cq.period, moderated.rq_cq.max_count) = (200, 32);
    a.open(NetConfig::default()).unwrap();
    b.open(moderated).unwrap();
    let (mac_a, mac_b) = (mac(&a), mac(&b));
    for number in 0..10 {
        let sent = frame(mac_b, mac_a, 100, number);
        a.send(&sent).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, sent);
    }
    goodbye(a);
    goodbye(b);
}
