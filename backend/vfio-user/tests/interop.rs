//! A second opinion: the client of the `vfio_user` crate.

mod common;

use std::os::fd::{AsFd, AsRawFd};

use common::{Event, PATIENCE, Server, pattern};
use mlx5emu_pci_model::{Attrs, DmaSpace};
use mlx5emu_vfio_user::client::Interrupt;
use mlx5emu_vfio_user::{Backing, proto};
use rustix::fs::{MemfdFlags, SealFlags};

#[test]
fn the_vfio_user_crates_client_gets_what_it_expects() {
    let server = Server::start();
    let mut client = vfio_user::Client::new(&server.path).unwrap();
    server.device.wait_for(&Event::Connected);

    // Not asked: `resettable()`, which is the wrong way round in version 0.1.7.
    let bar0 = client.region(0).unwrap();
    assert_eq!((bar0.size, bar0.flags), (common::BAR0_SIZE, 3));
    assert_eq!(client.region(7).unwrap().size, 4096);
    let msix = client.get_irq_info(proto::IRQ_MSIX).unwrap();
    assert_eq!((msix.index, msix.count), (2, u32::from(common::VECTORS)));

    let mut config = [0; 64];
    client.region_read(7, 0, &mut config).unwrap();
    assert_eq!(config[..4], [0xb3, 0x15, 0x1d, 0x10]);
    client.region_write(0, 0x1234, &[1, 2, 3, 4]).unwrap();
    let mut back = [0; 4];
    client.region_read(0, 0x1234, &mut back).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);

    let fd = rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, 0x10000).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    client.dma_map(0x1000, 0x8000_0000, 0x2000, fd.as_raw_fd()).unwrap();
    server.device.wait_for(&Event::Map(0x8000_0000, 0x8000_1fff));
    server.device.enable();
    server.device.gate.read().write(Attrs::PLAIN, 0x8000_0010, &pattern(1, 100)).unwrap();
    let ram = Backing::open(&fd, 0, 0x10000, true).unwrap().unwrap();
    let mut seen = vec![0; 100];
    ram.map.slice(0x1010, 100).unwrap().copy_to(&mut seen[..]);
    assert_eq!(seen, pattern(1, 100));

    let interrupt = Interrupt::new().unwrap();
    let flags = proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER;
    client.set_irqs(proto::IRQ_MSIX, flags, 6, 1, &[interrupt.as_fd().as_raw_fd()]).unwrap();
    server.device.gate.read().msi(6);
    assert_eq!(interrupt.wait(PATIENCE), 1);

    client.dma_unmap(0x8000_0000, 0x2000).unwrap();
    assert_eq!(server.device.gate.read().ranges(), 0);
    client.reset().unwrap();
    server.device.wait_for(&Event::Reset);
    client.shutdown().unwrap();
    server.device.wait_for(&Event::Disconnected);
}
