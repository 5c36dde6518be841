//! What QEMU does with a function, in the order in which it does it.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{BAR0_SIZE, Event, PATIENCE, Server, VECTORS, eventually, pattern, refused};
use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_vfio_user::client::{Interrupt, Options, RegionDescription};
use mlx5emu_vfio_user::{DmaLayout, MessageError, Sharing, proto};

#[test]
fn a_boot_in_qemus_order() {
    let server = Server::start();
    let client = server.connect();

    // Pipelined maps before the first question.
    let maps = [
        client.map_ram(0, 0xa0000, 0).unwrap(),
        client.map_rom(0xc0000, 0x40000, 0xc0000).unwrap(),
        client.map_ram(0x100000, 0xe00000, 0x100000).unwrap(),
        client.map_without_fd(0xfffc_0000, pattern(1, 0x40000)).unwrap(),
    ];
    client.commit(maps).unwrap();
    assert_eq!(server.device.gate.read().ranges(), 4);

    let (flags, regions, irqs) = client.device_info().unwrap();
    assert_eq!(flags, proto::DEVICE_FLAGS_RESET | proto::DEVICE_FLAGS_PCI);
    assert_eq!((regions, irqs), (9, 5));
    let both = proto::REGION_FLAG_READ | proto::REGION_FLAG_WRITE;
    for index in [0, 1, 2, 3, 4, 5, 7] {
        let expected = match index {
            0 => RegionDescription { flags: both, size: BAR0_SIZE },
            2 => RegionDescription { flags: proto::REGION_FLAG_READ, size: 0x1000 },
            7 => RegionDescription { flags: both, size: 4096 },
            _ => RegionDescription { flags: 0, size: 0 },
        };
        assert_eq!(client.region_info(index).unwrap(), expected, "region {index}");
    }
    assert_eq!(refused(client.irq_count(3)), libc::EINVAL);
    let mut config = vec![0; 4096];
    client.config_read(0, &mut config).unwrap();
    assert_eq!(config[..4], [0xb3, 0x15, 0x1d, 0x10]);
    assert_eq!(client.irq_count(2).unwrap(), u32::from(VECTORS));
    assert_eq!((client.irq_count(0).unwrap(), client.irq_count(1).unwrap()), (0, 0));

    // Machine reset, then the guest: SeaBIOS unmaps and remaps low memory in pieces.
    client.reset().unwrap();
    server.device.wait_for(&Event::Reset);
    assert_eq!(client.unmap(0xc0000, 0x40000).unwrap(), 0x40000);
    assert_eq!(client.unmap(0, 0xa0000).unwrap(), 0xa0000);
    assert_eq!(client.unmap(0, 0xa0000).unwrap(), 0);
    client.commit([client.map_ram(0, 0x100000, 0).unwrap()]).unwrap();

    client.config_write(4, &[6, 4]).unwrap();
    assert!(server.device.gate.read().enabled());
    let interrupt = Interrupt::new().unwrap();
    client.enable_msix().unwrap();
    client.wire_vector(3, &interrupt).unwrap();

    // A doorbell, and what it leads to.
    client.ram().write(0x5000, b"a work queue entry");
    client.region_write_posted(0, 0x800, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    server.device.wait_for(&Event::Write(0, 0x800, vec![1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(client.region_read_u32(0, 0x804).unwrap(), u32::from_le_bytes([5, 6, 7, 8]));
    assert_eq!(server.device.read(0x5000, 18).unwrap(), b"a work queue entry");
    server.device.gate.read().write(Attrs::PLAIN, 0x6000, &[9; 64]).unwrap();
    server.device.gate.read().msi(3);
    assert_eq!(interrupt.wait(PATIENCE), 1);
    let mut cqe = [0; 64];
    client.ram().read(0x6000, &mut cqe);
    assert_eq!(cqe, [9; 64]);

    client.disable_msix().unwrap();
    server.device.gate.read().msi(3);
    assert_eq!(interrupt.take(), 0);
    assert_eq!(client.unexpected(), 0);
    drop(client);
    server.device.wait_for(&Event::Disconnected);
    assert_eq!(server.device.gate.read().ranges(), 0, "a client's memory goes with it");
}

#[test]
fn dma_during_a_region_read_is_served_once_the_read_is_answered() {
    let server = Server::start();
    let client = server.connect();
    client.place_silently(0xb000_0000, pattern(7, 4096));
    let (answer, answered) = std::sync::mpsc::channel();
    let device = Arc::clone(&server.device);
    let (asked, requests) = (Arc::clone(&server.device), std::sync::mpsc::channel::<()>());
    let begin = requests.0;
    let worker = std::thread::spawn(move || {
        requests.1.recv().unwrap();
        let mut buf = vec![0; 4096];
        let result = asked.client().dma_read(0xb000_0000, &mut buf);
        answer.send((result, buf)).unwrap();
    });
    // On the I/O thread: start the worker, and do not answer before its request is at the client.
    let before = Arc::new(client);
    let seen = Arc::clone(&before);
    let begin = parking_lot::Mutex::new(Some(begin));
    *device.on_read.lock() = Some(Box::new(move || {
        if let Some(begin) = begin.lock().take() {
            begin.send(()).unwrap();
            eventually("the request arrives", || seen.dma_requests() == 1);
        }
    }));
    before.region_read_u32(0, 0).unwrap();
    let (result, buf) = answered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(result, Ok(()));
    assert_eq!(buf, pattern(7, 4096));
    worker.join().unwrap();
    *device.on_read.lock() = None;
}

#[test]
fn a_handler_on_the_io_thread_cannot_wait_for_dma() {
    let server = Server::start();
    let client = server.connect();
    let device = Arc::clone(&server.device);
    let results = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&results);
    *server.device.on_read.lock() = Some(Box::new(move || {
        let c = device.client();
        seen.lock().extend([c.dma_read(0, &mut [0; 4]), c.dma_write(0, &[0; 4])]);
    }));
    client.region_read_u32(0, 0).unwrap();
    assert_eq!(*results.lock(), [Err(MessageError::OnIoThread), Err(MessageError::OnIoThread)]);
    *server.device.on_read.lock() = None;
}

#[test]
fn large_dma_by_message_in_both_layouts() {
    for layout in [DmaLayout::Count32, DmaLayout::Count64] {
        let server = Server::start();
        let client = server.connect_with(Options { layout, ..Options::default() });
        let data = pattern(3, (1 << 20) + 77);
        client.place_silently(0xb000_0000, data.clone());
        let handle = server.device.client();
        let mut buf = vec![0; data.len()];
        handle.dma_read(0xb000_0000, &mut buf).unwrap();
        assert!(buf == data, "{layout:?}");
        assert_eq!(handle.dma_layout(), layout, "the first reply shows the layout");
        assert_eq!(client.dma_requests(), 33, "32 KiB a message");
        let data = pattern(4, data.len());
        handle.dma_write(0xb000_0000, &data).unwrap();
        assert!(client.peek(0xb000_0000, data.len()).unwrap() == data, "{layout:?}");
        assert_eq!(handle.dma_read(0xb000_0000 + (1 << 20), &mut buf[..100]), Err(MessageError::Refused { errno: 19 }));
        assert_eq!(handle.dma_write(0x1234, &[1]), Err(MessageError::Refused { errno: 19 }));
    }
}

#[test]
fn private_guest_memory_is_detected() {
    let server = Server::start();
    let client = server.connect();
    client.commit([client.map_ram(0, 0x10000, 0).unwrap()]).unwrap();
    client.commit([client.map_private(0x10_0000, 0x10_0000, pattern(5, 0x10000)).unwrap()]).unwrap();
    client.ram().write(0x2000, &pattern(6, 256));
    let gate = &server.device.gate;
    let messages = gate.read().messages();
    let check = |addr| messages.check_shared(addr, 256, |buf| gate.read().peek(addr, buf)).unwrap();
    assert_eq!(check(0x2000), Sharing::Shared);
    assert_eq!(check(0x10_2000), Sharing::Private);
    assert_eq!(check(0x8000), Sharing::Unknown);
}

#[test]
fn memory_without_seal_is_reached_by_message() {
    let server = Server::start();
    let client = server.connect();
    let unsealed = rustix::fs::memfd_create("unsealed", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&unsealed, 0x10000).unwrap();
    client.place_silently(0x4000_0000, pattern(8, 0x10000));
    let mut body = [proto::DMA_MAP_BODY as u32, 3].map(u32::to_le_bytes).concat();
    body.extend([0u64, 0x4000_0000, 0x10000].map(u64::to_le_bytes).concat());
    client.request(proto::DMA_MAP, &body, &[std::os::fd::AsFd::as_fd(&unsealed)]).unwrap();
    server.device.enable();
    let first = server.device.gate.read().read(Attrs::PLAIN, 0x4000_0100, &mut [0; 64]);
    assert_eq!(first, Err(DmaError::Fetch { addr: 0x4000_0100, len: 64 }));
    assert_eq!(server.device.read(0x4000_0100, 64).unwrap(), pattern(8, 0x10000)[0x100..0x140]);
}

#[test]
fn no_interrupt_is_lost_while_eventfds_are_replaced() {
    const ROUNDS: u64 = 20_000;
    let server = Server::start();
    let client = server.connect();
    server.device.enable();
    let fds = [Interrupt::new().unwrap(), Interrupt::new().unwrap()];
    client.wire_vector(5, &fds[0]).unwrap();
    let device = Arc::clone(&server.device);
    let raiser = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            device.gate.read().msi(5);
        }
    });
    let mut swaps = 0u64;
    while !raiser.is_finished() || swaps < 50 {
        swaps += 1;
        client.wire_vector(5, &fds[swaps as usize % 2]).unwrap();
    }
    raiser.join().unwrap();
    assert_eq!(fds[0].take() + fds[1].take(), ROUNDS, "after {swaps} replacements");
}

#[test]
fn an_interrupt_between_two_eventfds_is_kept() {
    let server = Server::start();
    let client = server.connect();
    server.device.enable();
    client.enable_msix().unwrap();
    server.device.gate.read().msi(0);
    server.device.gate.read().msi(0);
    let fd = Interrupt::new().unwrap();
    client.wire_vector(0, &fd).unwrap();
    assert_eq!(fd.take(), 1, "one pending bit");
    server.device.gate.write().set_bus_master(false);
    server.device.gate.read().msi(0);
    assert_eq!(fd.take(), 0, "no bus master, no message");
}

#[test]
fn software_triggers_and_ranges_of_vectors() {
    let server = Server::start();
    let client = server.connect();
    let fds: Vec<_> = (0..16).map(|_| Interrupt::new().unwrap()).collect();
    let all: Vec<_> = fds.iter().collect();
    let eventfd = proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER;
    client.set_irqs(eventfd, 48, 16, &all).unwrap();
    client.set_irqs(proto::IRQ_SET_DATA_NONE | proto::IRQ_SET_ACTION_TRIGGER, 50, 2, &[]).unwrap();
    assert_eq!(fds.iter().map(Interrupt::take).collect::<Vec<_>>()[..5], [0, 0, 1, 1, 0]);
    assert_eq!(refused(client.set_irqs(eventfd, 49, 16, &all)), libc::EINVAL);
    client.set_irqs(eventfd, 48, 16, &[]).unwrap();
    server.device.irqs.trigger(50);
    assert_eq!(fds[2].take(), 0);
    assert!(server.device.irqs.is_pending(50));
}

#[test]
fn a_second_client_is_refused_and_a_later_one_accepted() {
    let server = Server::start();
    let client = server.connect();
    let second = mlx5emu_vfio_user::client::QemuClient::connect(&server.path, Options::default());
    assert!(second.is_err());
    assert_eq!(client.region_read_u32(7, 0).unwrap(), 0x101d_15b3);
    drop(client);
    server.device.wait_for(&Event::Disconnected);
    let third = server.connect();
    assert_eq!(third.region_read_u32(7, 0).unwrap(), 0x101d_15b3);
}

#[test]
fn whoever_knocks_when_a_client_leaves_is_its_successor() {
    let server = Server::start();
    for _ in 0..100 {
        // Nobody waits in between: the knock is heard before the end of the last connection, or after it.
        let client = server.connect();
        assert_eq!(client.region_read_u32(7, 0).unwrap(), 0x101d_15b3);
    }
}

#[test]
fn the_stop_ends_connections_that_say_nothing() {
    // Before VERSION, after it, and in the middle of a message.
    let server = Server::start();
    let mut mute = UnixStream::connect(&server.path).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(server);
    assert_eq!(mute.read(&mut [0; 1]).unwrap(), 0);

    let server = Server::start();
    let idle = server.connect();
    drop(server);
    assert!(idle.region_read_u32(7, 0).is_err());

    let server = Server::start();
    let mut half = UnixStream::connect(&server.path).unwrap();
    half.write_all(&[1, 2, 3]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(server);
    assert_eq!(half.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn a_client_that_sends_nothing_more_is_gone() {
    let server = Server::start();
    let half = UnixStream::connect(&server.path).unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(server.connect().region_read_u32(7, 0).unwrap(), 0x101d_15b3);
}

#[test]
fn posted_writes_keep_their_order_with_reads() {
    let server = Server::start();
    let client = server.connect();
    for i in 0u32..5000 {
        client.region_write_posted(0, 0x1000 + u64::from(i % 512) * 8, &i.to_le_bytes()).unwrap();
        if i % 251 == 0 {
            assert_eq!(client.region_read_u32(0, 0x1000 + u64::from(i % 512) * 8).unwrap(), i);
        }
    }
    client.region_read_u32(0, 0).unwrap();
    assert_eq!(server.device.writes.load(Ordering::Acquire), 5000);
}
