//! A card that clients come to and leave for a long time keeps no descriptor and no thread of theirs. Alone in its
//! process, because it counts what the process has.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use mlx5emu_config::Card;
use mlx5emu_config::control::{Client, Request};
use mlx5emu_server::{Confinement, StartOptions, start};
use mlx5emu_vfio_user::client::{Interrupt, Options, QemuClient};
use mlx5emu_vfio_user::proto;

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

fn visit(socket: &Path, control: &Path) {
    let client = QemuClient::connect(socket, Options { ram: 1 << 20, ..Options::default() }).unwrap();
    let id = client.map_ram(0, 1 << 20, 0).unwrap();
    client.commit([id]).unwrap();
    client.enable_msix().unwrap();
    for vector in 0..client.irq_count(proto::IRQ_MSIX).unwrap() {
        client.wire_vector(vector, &Interrupt::new().unwrap()).unwrap();
        // The second takes the first one's place.
        client.wire_vector(vector, &Interrupt::new().unwrap()).unwrap();
    }
    let mut ctl = Client::connect(control.parent().unwrap()).unwrap();
    ctl.call(Request::Ping {}).unwrap();
}

/// Waits until what was there has gone: a thread that ends and a socket that closes take their time.
fn settles_at(what: &str, expected: usize, count: impl Fn() -> usize) {
    let until = Instant::now() + Duration::from_secs(30);
    while count() != expected {
        assert!(Instant::now() < until, "{what}: {} instead of {expected}", count());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn clients_leave_nothing_behind() {
    let (descriptors, threads) = (|| entries("/proc/self/fd"), || entries("/proc/self/task"));
    let before = (descriptors(), threads());
    let dir = tempfile::tempdir().unwrap();
    // Nobody: what is counted must not depend on who may look at /proc.
    let options = StartOptions { confinement: Confinement::Nobody, ..StartOptions::default() };
    let mut running = start(&Card::default(), dir.path(), options).unwrap();
    let sockets: Vec<_> = running.sockets().iter().map(|(_, path)| path.clone()).collect();
    let control = running.control().to_path_buf();
    sockets.iter().for_each(|socket| visit(socket, &control));
    std::thread::sleep(Duration::from_millis(100));
    let with_card = (descriptors(), threads());
    for _ in 0..25 {
        sockets.iter().for_each(|socket| visit(socket, &control));
    }
    settles_at("descriptors", with_card.0, descriptors);
    settles_at("threads", with_card.1, threads);
    running.stop();
    drop(running);
    settles_at("descriptors after the end", before.0, descriptors);
    settles_at("threads after the end", before.1, threads);
    assert!(sockets.iter().chain([&control]).all(|path| !path.exists()));
}
