//! Events: `ctl inject`, seen from the machine.

use mlx5emu_config::Card;
use mlx5emu_config::control::{Client, ClientError, ErrorCode, Reply, Request};
use mlx5emu_driver::{Config, Driver};

use super::machine::{Machine, goodbye, rig, rig_of};
use crate::StartOptions;

/// The gateway's registers, from the start of the vendor-specific capability.
const GATEWAY_AT: u64 = 0xc0;
const COUNTER: u64 = GATEWAY_AT + 0x08;
const SEMAPHORE: u64 = GATEWAY_AT + 0x0c;
/// `nic_interface` is in bits 10:8 of this register of the initialization segment.
const CMDQ_ADDR_L: u64 = 0x14;
const NIC_DISABLED: u32 = 1;
const NIC_SW_RESET: u32 = 7;
/// Uncorrectable Error Status of the AER capability.
const UNCORRECTABLE_STATUS: u64 = 0x104;

fn inject(ctl: &mut Client, words: &str) -> Result<Option<String>, ClientError> {
    let mut words = words.split(' ').map(str::to_string);
    let event = words.next().unwrap();
    match ctl.call(Request::Inject { event, args: words.collect() })? {
        Reply::Injected { note } => Ok(note),
        other => panic!("{other:?}"),
    }
}

fn dword(machine: &Machine, at: u64) -> u32 {
    let mut bytes = [0; 4];
    machine.client.config_read(at, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

fn register(machine: &Machine, at: u64) -> u32 {
    let mut bytes = [0; 4];
    machine.client.region_read(0, at, &mut bytes).unwrap();
    u32::from_be_bytes(bytes)
}

fn nic_interface(machine: &Machine) -> u32 {
    register(machine, CMDQ_ADDR_L) >> 8 & 7
}

#[test]
fn off_the_bus_everything_is_all_ones_and_back_on_it_a_driver_finds_a_fresh_card() {
    let rig = rig();
    let mut ctl = rig.control();
    let driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
    let machine = &driver.host;
    inject(&mut ctl, "bus pf0 off").unwrap();
    assert_eq!(dword(machine, 0), u32::MAX);
    assert_eq!(register(machine, 0), u32::MAX);
    // Only the command register takes writes in: QEMU's copy of it has.
    machine.client.config_write(4, &2u16.to_le_bytes()).unwrap();
    machine.client.config_write(0x10, &u32::MAX.to_le_bytes()).unwrap();
    inject(&mut ctl, "bus pf0 on").unwrap();
    assert_eq!(dword(machine, 4) & 0xffff, 2);
    assert_eq!(dword(machine, 0x10), 0xc, "the BAR is where it was");
    assert_eq!(nic_interface(machine), NIC_DISABLED, "the firmware has started anew");
    drop(driver);
    goodbye(Driver::probe(rig.machine(0), Config::default()).unwrap());
}

#[test]
fn a_software_reset_takes_every_function_of_the_card() {
    let rig = rig();
    let mut ctl = rig.control();
    let machines = [0, 1].map(|f| rig.machine(f));
    let drivers = machines.map(|machine| Driver::probe(machine, Config::default()).unwrap());
    inject(&mut ctl, "health all 1").unwrap();
    let [a, b] = &drivers;
    assert_eq!(register(&a.host, 0x23c) >> 16 & 0xff, 1, "the syndrome");
    assert_eq!(register(&b.host, 0x23c) >> 16 & 0xff, 1);
    let reset = register(&a.host, CMDQ_ADDR_L) & 0xffff_f000 | NIC_SW_RESET << 8;
    a.host.client.region_write_posted(0, CMDQ_ADDR_L, &reset.to_be_bytes()).unwrap();
    assert_eq!(nic_interface(&a.host), NIC_DISABLED);
    assert_eq!(nic_interface(&b.host), NIC_DISABLED);
    assert_eq!(register(&b.host, 0x23c), 0, "the health buffer is empty again");
}

#[test]
fn a_fast_teardown_ends_everything_at_once() {
    let rig = rig();
    let [driver, other] = rig.opened();
    let off = register(&driver.host, CMDQ_ADDR_L) & 0xffff_f000 | NIC_DISABLED << 8;
    driver.host.client.region_write_posted(0, CMDQ_ADDR_L, &off.to_be_bytes()).unwrap();
    assert_eq!(nic_interface(&driver.host), NIC_DISABLED);
    let Reply::Inspect { tree } = rig.control().call(Request::Inspect { path: "pf0".into() }).unwrap() else {
        panic!()
    };
    assert_eq!((tree["objects"].to_string(), &tree["pages"]["held"]), ("{}".to_string(), &0.into()));
    // The next kernel finds the function as it would after a reset.
    let Driver { host, .. } = driver;
    goodbye(Driver::probe(host.afresh(), Config::default()).unwrap());
    goodbye(other);
}

#[test]
fn the_gateway_answers_in_configuration_space() {
    let rig = rig();
    let machine = rig.machine(0);
    assert_eq!(dword(&machine, GATEWAY_AT) & 0xff, 9);
    let tickets = [dword(&machine, COUNTER), dword(&machine, COUNTER)];
    assert!(tickets[0] != tickets[1] && !tickets.contains(&0), "{tickets:?}");
    machine.client.config_write(SEMAPHORE, &tickets[0].to_le_bytes()).unwrap();
    machine.client.config_write(SEMAPHORE, &tickets[1].to_le_bytes()).unwrap();
    assert_eq!(dword(&machine, SEMAPHORE), tickets[0]);
    // Neighbours of the gateway stay what they are.
    assert_eq!(dword(&machine, GATEWAY_AT + 0x18), 0);
    machine.flr().unwrap();
    assert_eq!(dword(&machine, SEMAPHORE), 0, "a reset frees it");
}

#[test]
fn a_vf_has_no_gateway() {
    let rig = rig_of(Card::parse("vfs = 1").unwrap(), StartOptions::default());
    let machine = rig.machine(2);
    assert_eq!(rig.names()[2].to_string(), "pf0vf0");
    machine.client.config_write(SEMAPHORE, &1u32.to_le_bytes()).unwrap();
    for at in (GATEWAY_AT..GATEWAY_AT + 0x18).step_by(4) {
        assert_eq!(dword(&machine, at), 0, "at {at:#x}");
    }
}

#[test]
fn an_error_is_logged_and_the_note_says_what_else_there_is_to_do() {
    let rig = rig();
    let mut ctl = rig.control();
    let machine = rig.machine(0);
    let note = inject(&mut ctl, "aer pf0 fatal").unwrap().unwrap();
    assert!(note.contains("pcie_aer_inject_error card0-pf0 MALF_TLP"), "{note}");
    assert_eq!(dword(&machine, UNCORRECTABLE_STATUS), 1 << 18);
    inject(&mut ctl, "aer pf0 nonfatal").unwrap();
    assert_eq!(dword(&machine, UNCORRECTABLE_STATUS), 1 << 18 | 1 << 14);
}

#[test]
fn events_that_cannot_be_are_refused() {
    let rig = rig();
    let mut ctl = rig.control();
    let mut refused = |words: &str| match inject(&mut ctl, words) {
        Err(ClientError::Refused { code, message }) => (code, message),
        other => panic!("{words}: {other:?}"),
    };
    for words in [
        "health pf9 1",
        "heartbeat pf9 off",
        "link p7 down",
        "bus pf9 off",
        "msi-loss pf9 1",
        "stall pf9 1",
        "aer pf9 fatal",
    ] {
        let (code, message) = refused(words);
        assert_eq!(code, ErrorCode::NotFound, "{words}: {message}");
        assert!(message.contains("pf0, pf1 and 2 ports"), "{words}: {message}");
    }
    let (code, message) = refused("stall pf0 0x2a");
    assert_eq!((code, message.as_str()), (ErrorCode::NotFound, "pf0 has no send queue 0x2a"));
    let (code, message) = refused("helth pf0 1");
    assert_eq!(code, ErrorCode::BadCall);
    assert!(message.contains("did you mean 'health'"), "{message}");
}
