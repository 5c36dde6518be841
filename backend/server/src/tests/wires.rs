//! A driver that sends faster than the other end of a wire takes.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mlx5emu_config::{Card, Role, Wire};
use mlx5emu_driver::{Config, Driver, NetConfig};

use super::machine::{frame, goodbye, mac, patience, rig_of, wait_until};
use crate::StartOptions;

const FRAMES: u32 = 4000;
const LEN: usize = 1514;

#[test]
fn a_sender_waits_for_a_slow_wire_and_loses_nothing() {
    let mut card = Card::default();
    let wire = |path: &str| Wire::Stream { path: path.into(), role: Role::Server };
    (card.ports[0].wire, card.ports[1].wire) = (wire("w0"), wire("w1"));
    let rig = rig_of(card, StartOptions::default());
    let mut driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
    let mut other = UnixStream::connect(rig.dir.path().join("w0")).unwrap();
    other.set_read_timeout(Some(patience())).unwrap();
    driver.open(NetConfig::default()).unwrap();
    wait_until("the link", || driver.link_up().unwrap());

    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; 4 + LEN];
        for number in 0..FRAMES {
            // The other end looks elsewhere for a moment, again and again.
            if number % 500 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            other.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes[18..22], number.to_be_bytes(), "a frame is missing");
        }
        other
    });
    let me = mac(&driver);
    for number in 0..FRAMES {
        driver.send(&frame([2; 6], me, LEN, number)).unwrap();
    }
    drop(reader.join().unwrap());
    goodbye(driver);
}
