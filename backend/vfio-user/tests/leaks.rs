//! Descriptors: whatever a client sends, none is left when it is gone. Alone in its program, because it counts all of
//! the process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

mod common;

use std::os::fd::AsFd;

use common::{Event, Server, eventually};
use mlx5emu_vfio_user::client::Interrupt;
use mlx5emu_vfio_user::proto;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|l| l.contains("memfd:guest-ram")).count()
}

fn session(server: &Server) {
    let client = server.connect();
    let maps: Vec<_> = (0..32).map(|i| client.map_ram(i * 0x10000, 0x8000, 0).unwrap()).collect();
    client.commit(maps).unwrap();
    assert_eq!(mappings(), 1, "one mapping of one file, however often it is announced");
    let fds: Vec<_> = (0..16).map(|_| Interrupt::new().unwrap()).collect();
    let all: Vec<_> = fds.iter().collect();
    let eventfd = proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER;
    for _ in 0..20 {
        client.set_irqs(eventfd, 0, 16, &all).unwrap();
        client.set_irqs(eventfd, 8, 16, &all).unwrap();
    }
    // Refused with descriptors, known and unknown, oversized, too many, with no reply, and half a message.
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let many: Vec<_> = std::iter::repeat_n(borrowed[0], 200).collect();
    assert!(client.request(proto::REGION_READ, &[0; 16], &borrowed).is_err());
    assert!(client.request(99, &[0; 16], &borrowed).is_err());
    assert!(client.request(99, &[0; 16], &many).is_err());
    assert!(client.request(proto::DMA_MAP, &[0; 32], &borrowed[..2]).is_err());
    assert!(client.request(98, &vec![0; 2 << 20], &borrowed).is_err());
    client.post(proto::DEVICE_SET_IRQS, &[0; 20], &borrowed).unwrap();
    for byte in [99u8, 0, 3, 0, 64, 0, 0, 0] {
        client.send_raw(&[byte], &borrowed).unwrap();
    }
    drop(client);
    server.device.wait_for(&Event::Disconnected);
    server.device.events.lock().clear();
}

#[test]
fn no_descriptor_or_mapping_outlives_its_client() {
    let server = Server::start();
    session(&server);
    eventually("the first session is cleared away", || mappings() == 0);
    // Some of the first session may still be open; what each of ten leaves is more.
    let baseline = descriptors();
    for _ in 0..10 {
        session(&server);
    }
    eventually("back at the baseline", || descriptors() <= baseline && mappings() == 0);
    drop(server);
}
