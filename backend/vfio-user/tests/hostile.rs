//! Clients that break every rule: no panic, no hang, no lost place in the stream.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

mod common;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use common::{BAR0_SIZE, Event, PATIENCE, Server, pattern, refused};
use mlx5emu_vfio_user::client::{ClientError, Interrupt, Options, QemuClient};
use mlx5emu_vfio_user::proto::{self, Header};

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn long(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn message(id: u16, command: u16, size: usize, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut m = Header { id, command, size: size as u32, flags, error: 0 }.emit().to_vec();
    m.extend_from_slice(body);
    m
}

/// The stream is where it should be: a read gives what it should.
fn in_sync(client: &QemuClient) {
    assert_eq!(client.region_read_u32(7, 0).expect("the connection still works"), 0x101d_15b3);
    assert_eq!(client.unexpected(), 0);
}

#[test]
fn unknown_commands_are_drained_and_answered() {
    let server = Server::start();
    let client = server.connect();
    for command in [0, 6, 11, 12, 14, 15, 16, 99, u16::MAX] {
        assert_eq!(refused(client.request(command, &pattern(1, 777), &[])), libc::ENOSYS, "command {command}");
        in_sync(&client);
    }
}

#[test]
fn oversized_messages_are_drained_and_answered() {
    let server = Server::start();
    let client = server.connect();
    let big = pattern(2, proto::MAX_MESSAGE + 100_000);
    assert_eq!(refused(client.request(proto::REGION_WRITE, &big, &[])), libc::EINVAL);
    in_sync(&client);
    assert_eq!(refused(client.request(77, &big, &[])), libc::ENOSYS);
    in_sync(&client);
    // The longest write that is allowed.
    let mut body = long(&[0]);
    body.extend(words(&[0, proto::MAX_DATA_XFER as u32]));
    let data = pattern(3, proto::MAX_DATA_XFER);
    body.extend(&data);
    client.request(proto::REGION_WRITE, &body, &[]).unwrap();
    let mut back = vec![0; proto::MAX_DATA_XFER];
    client.region_read(0, 0, &mut back).unwrap();
    assert!(back == data);
    in_sync(&client);
}

#[test]
fn bodies_that_are_too_short_are_refused() {
    let server = Server::start();
    let client = server.connect();
    let sizes = [
        (proto::DMA_MAP, 32),
        (proto::DMA_UNMAP, 24),
        (proto::DEVICE_GET_INFO, 16),
        (proto::DEVICE_GET_REGION_INFO, 32),
        (proto::DEVICE_GET_IRQ_INFO, 16),
        (proto::DEVICE_SET_IRQS, 20),
        (proto::REGION_READ, 16),
        (proto::REGION_WRITE, 16),
    ];
    for (command, size) in sizes {
        for len in 0..size {
            assert_eq!(refused(client.request(command, &vec![0; len], &[])), libc::EINVAL, "{command}, {len} bytes");
        }
    }
    in_sync(&client);
}

#[test]
fn accesses_outside_regions_are_refused() {
    let server = Server::start();
    let client = server.connect();
    let cases = [
        (0, BAR0_SIZE, 1),
        (0, BAR0_SIZE - 3, 4),
        (0, u64::MAX, 4),
        (0, u64::MAX - 3, 4),
        (0, 0, 0),
        (0, 0, u32::MAX),
        (0, 0, proto::MAX_DATA_XFER as u32 + 1),
        (1, 0, 4),
        (7, 4093, 4),
        (8, 0, 1),
        (9, 0, 1),
        (u32::MAX, 0, 1),
    ];
    for (region, offset, count) in cases {
        let mut body = long(&[offset]);
        body.extend(words(&[region, count]));
        let what = format!("{count} bytes at {offset:#x} of region {region}");
        assert_eq!(refused(client.request(proto::REGION_READ, &body, &[])), libc::EINVAL, "{what}");
        body.extend(vec![0; (count as usize).min(64)]);
        assert_eq!(refused(client.request(proto::REGION_WRITE, &body, &[])), libc::EINVAL, "{what}");
    }
    assert_eq!(client.region_read_u32(2, 0).unwrap(), 0x2222_2222);
    assert_eq!(refused(client.region_write(2, 0, &[1])), libc::EINVAL, "a read-only region");
    let mut lie = long(&[0]);
    lie.extend(words(&[0, 8]));
    lie.extend([1; 7]);
    assert_eq!(refused(client.request(proto::REGION_WRITE, &lie, &[])), libc::EINVAL, "8 bytes said, 7 sent");
    in_sync(&client);
}

#[test]
fn missing_surplus_and_wrong_descriptors_are_refused() {
    let server = Server::start();
    let client = server.connect();
    let fds: Vec<_> = (0..40).map(|_| Interrupt::new().unwrap()).collect();
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut read = long(&[0]);
    read.extend(words(&[7, 4]));
    for n in [1, 16, 33, 40] {
        let answer = client.request(proto::REGION_READ, &read, &borrowed[..n]);
        assert_eq!(refused(answer), libc::EINVAL, "{n} descriptors");
        in_sync(&client);
    }
    let eventfd = proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER;
    let set = |count| words(&[20, eventfd, proto::IRQ_MSIX, 0, count]);
    assert_eq!(refused(client.request(proto::DEVICE_SET_IRQS, &set(3), &borrowed[..2])), libc::EINVAL);
    assert_eq!(refused(client.request(proto::DEVICE_SET_IRQS, &set(1), &borrowed[..2])), libc::EINVAL);
    assert_eq!(refused(client.request(proto::DEVICE_SET_IRQS, &set(40), &borrowed)), libc::EINVAL);
    assert_eq!(refused(client.request(proto::DEVICE_SET_IRQS, &set(1), &[client.ram().fd()])), libc::EINVAL);
    assert_eq!(refused(client.request(proto::DEVICE_SET_IRQS, &set(0), &[])), libc::EINVAL);
    let mut map = words(&[32, 3]);
    map.extend(long(&[0, 0, 0x1000]));
    let ram = client.ram().fd();
    assert_eq!(refused(client.request(proto::DMA_MAP, &map, &[ram, ram])), libc::EINVAL);
    assert_eq!(server.device.gate.read().ranges(), 0);
    // A descriptor of no kind of memory is no error: it is reached by message.
    client.request(proto::DMA_MAP, &map, &borrowed[..1]).unwrap();
    in_sync(&client);
}

#[test]
fn impossible_interrupt_requests_are_refused() {
    let server = Server::start();
    let client = server.connect();
    let trigger = proto::IRQ_SET_ACTION_TRIGGER;
    let cases = [
        [proto::IRQ_SET_DATA_NONE | trigger, proto::IRQ_MSIX, 64, 1],
        [proto::IRQ_SET_DATA_NONE | trigger, proto::IRQ_MSIX, u32::MAX, u32::MAX],
        [proto::IRQ_SET_DATA_NONE | trigger, proto::IRQ_MSIX, 1, 0],
        [proto::IRQ_SET_DATA_EVENTFD | trigger, proto::IRQ_MSIX, 0, u32::MAX],
        [proto::IRQ_SET_DATA_EVENTFD | trigger, proto::IRQ_INTX, 0, 1],
        [proto::IRQ_SET_DATA_NONE | 1 << 3, proto::IRQ_MSIX, 0, 1],
        [proto::IRQ_SET_DATA_BOOL | trigger, proto::IRQ_MSIX, 0, 2],
        [proto::IRQ_SET_DATA_NONE | trigger, 3, 0, 0],
        [0, proto::IRQ_MSIX, 0, 0],
        [u32::MAX, u32::MAX, u32::MAX, u32::MAX],
    ];
    for [flags, index, start, count] in cases {
        let body = words(&[20, flags, index, start, count]);
        assert_eq!(refused(client.request(proto::DEVICE_SET_IRQS, &body, &[])), libc::EINVAL, "{flags:#x} {index}");
    }
    // INTx does not exist, and so is off.
    client.request(proto::DEVICE_SET_IRQS, &words(&[20, proto::IRQ_SET_DATA_NONE | trigger, 0, 0, 0]), &[]).unwrap();
    in_sync(&client);
}

#[test]
fn impossible_maps_are_refused() {
    let server = Server::start();
    let client = server.connect();
    let ram = client.ram().fd();
    let size = client.ram().len();
    let cases = [
        (3, 0, 0, 0, libc::EINVAL, "no size"),
        (3, 0, u64::MAX, 2, libc::EINVAL, "over the top"),
        (3, 0, 0, size + 1, libc::EINVAL, "longer than the file"),
        (3, size, 0, 1, libc::EINVAL, "behind the file"),
        (3, u64::MAX, 0, 0x1000, libc::EINVAL, "offset wraps"),
        (0, 0, 0, 0x1000, libc::EINVAL, "no permission"),
        (7, 0, 0, 0x1000, libc::EINVAL, "unknown flag"),
        (3, 0, 0x5000, 0x2000, libc::EEXIST, "overlap"),
    ];
    client.commit([client.map_ram(0x6000, 0x1000, 0).unwrap()]).unwrap();
    for (flags, offset, first, len, errno, what) in cases {
        let mut body = words(&[32, flags]);
        body.extend(long(&[offset, first, len]));
        assert_eq!(refused(client.request(proto::DMA_MAP, &body, &[ram])), errno, "{what}");
    }
    for (flags, first, len) in [(0, 0, 0), (0, u64::MAX, 2), (4, 0, 1), (2, 0, 0x1000), (8, 0, 0)] {
        let mut body = words(&[24, flags]);
        body.extend(long(&[first, len]));
        assert_eq!(refused(client.request(proto::DMA_UNMAP, &body, &[])), libc::EINVAL, "{flags} {first:#x} {len:#x}");
    }
    assert_eq!(server.device.gate.read().ranges(), 1);
    assert_eq!(client.unmap_all().unwrap(), 0x1000);
    in_sync(&client);
}

#[test]
fn the_number_of_ranges_is_bounded() {
    let server = Server::start();
    let client = server.connect();
    for i in 0..65_535u64 {
        let mut body = words(&[32, 3]);
        body.extend(long(&[0, i * 0x2000, 0x1000]));
        client.post(proto::DMA_MAP, &body, &[]).unwrap();
    }
    in_sync(&client);
    assert_eq!(server.device.gate.read().ranges(), 65_535);
    let one_more = client.map_ram(1 << 40, 0x1000, 0).unwrap();
    assert_eq!(refused(client.commit([one_more])), libc::ENOSPC);
    assert_eq!(client.unmap_all().unwrap(), 65_535 * 0x1000);
}

#[test]
fn replies_nobody_asked_for_are_dropped() {
    let server = Server::start();
    let client = server.connect();
    for command in [proto::DMA_READ, proto::DMA_WRITE, proto::VERSION, 200] {
        for id in [0, 1, 0xffff] {
            let body = pattern(9, 64);
            client.send_raw(&message(id, command, 80, proto::TYPE_REPLY, &body), &[]).unwrap();
            client.send_raw(&message(id, command, 16, proto::TYPE_REPLY | proto::ERROR, &[]), &[]).unwrap();
        }
    }
    let ram = client.ram().fd();
    client.send_raw(&message(3, proto::DMA_READ, 16, proto::TYPE_REPLY, &[]), &[ram]).unwrap();
    in_sync(&client);
    client.place_silently(0x1000_0000, pattern(1, 64));
    let mut buf = [0; 64];
    server.device.client().dma_read(0x1000_0000, &mut buf).unwrap();
    assert_eq!(buf[..], pattern(1, 64));
}

#[test]
fn nothing_is_ever_answered_to_no_reply() {
    let server = Server::start();
    let client = server.connect();
    client.post(99, &[1, 2, 3], &[]).unwrap();
    client.post(proto::DMA_MAP, &[], &[]).unwrap();
    client.post(proto::REGION_READ, &[0; 16], &[]).unwrap();
    client.post(proto::DEVICE_GET_INFO, &[0; 16], &[]).unwrap();
    client.post(proto::DEVICE_RESET, &[], &[]).unwrap();
    client.post(proto::VERSION, &[0; 4], &[]).unwrap();
    in_sync(&client);
    server.device.wait_for(&Event::Reset);
}

#[test]
fn a_size_below_the_header_ends_the_connection() {
    for size in [0, 1, 15] {
        let server = Server::start();
        let client = server.connect();
        client.send_raw(&message(1, proto::REGION_READ, size, 0, &[0; 64]), &[]).unwrap();
        assert!(client.wait_closed());
        server.device.wait_for(&Event::Disconnected);
        in_sync(&server.connect());
    }
}

#[test]
fn messages_may_come_in_any_pieces() {
    let server = Server::start();
    let client = server.connect();
    let fd = Interrupt::new().unwrap();
    let eventfd = proto::IRQ_SET_DATA_EVENTFD | proto::IRQ_SET_ACTION_TRIGGER;
    let m = message(9, proto::DEVICE_SET_IRQS, 36, proto::NO_REPLY, &words(&[20, eventfd, 2, 0, 1]));
    for cut in 1..m.len() {
        client.disable_msix().unwrap();
        // The descriptor comes with either piece.
        let (first, second) = if cut % 2 == 0 { (vec![fd.as_fd()], vec![]) } else { (vec![], vec![fd.as_fd()]) };
        client.send_raw(&m[..cut], &first).unwrap();
        client.send_raw(&m[cut..], &second).unwrap();
        in_sync(&client);
        server.device.irqs.trigger(0);
        assert_eq!(fd.take(), 1, "cut at {cut}");
    }
    let mut many = Vec::new();
    for i in 0..1000u32 {
        let mut body = long(&[0x4000]);
        body.extend(words(&[0, 4, i]));
        many.extend(message(7, proto::REGION_WRITE, 36, proto::NO_REPLY, &body));
    }
    for piece in many.chunks(1237) {
        client.send_raw(piece, &[]).unwrap();
    }
    assert_eq!(client.region_read_u32(0, 0x4000).unwrap(), 999);
}

#[test]
fn a_truncated_message_ends_with_the_connection() {
    let server = Server::start();
    for len in [1, 15, 16, 17, 31] {
        let client = server.connect();
        let m = message(1, proto::REGION_WRITE, 40, 0, &[0; 24]);
        client.send_raw(&m[..len], &[client.ram().fd()]).unwrap();
        drop(client);
        server.device.wait_for(&Event::Disconnected);
        server.device.events.lock().clear();
    }
    in_sync(&server.connect());
}

#[test]
fn before_version_nothing_is_served() {
    let server = Server::start();
    let client = QemuClient::connect_only(&server.path, Options::default()).unwrap();
    let map = client.map_ram(0, 0x1000, 0).unwrap();
    assert_eq!(refused(client.commit([map])), libc::EINVAL);
    assert_eq!(refused(client.region_read_u32(7, 0)), libc::EINVAL);
    assert_eq!(refused(client.request(proto::VERSION, &[1, 0, 0, 0], &[])), libc::EINVAL, "version 1.0");
    assert_eq!(refused(client.request(proto::VERSION, b"\0\0\0\0{\"capabilities\"", &[])), libc::EINVAL);
    assert!(server.device.events.lock().is_empty());
    client.version().unwrap();
    in_sync(&client);
    assert_eq!(refused(client.version()), libc::EINVAL, "once is enough");
    drop(client);
    server.device.wait_for(&Event::Disconnected);
}

#[test]
fn a_client_that_knocks_and_leaves_is_never_announced() {
    let server = Server::start();
    for _ in 0..10 {
        drop(UnixStream::connect(&server.path).unwrap());
    }
    let client = server.connect();
    in_sync(&client);
    assert_eq!(*server.device.events.lock(), [Event::Connected]);
}

#[test]
fn a_client_that_stops_reading_is_disconnected_and_nobody_else_notices() {
    let (stuck, other) = (Server::start(), Server::start());
    let neighbour = other.connect();
    let client = stuck.connect();
    client.stall();
    // Each asks for 1 MiB; the socket and the outbox hold a few of them.
    let mut body = long(&[0]);
    body.extend(words(&[0, proto::MAX_DATA_XFER as u32]));
    let mut asked = 0;
    for _ in 0..64 {
        asked += 1;
        if client.send(proto::REGION_READ, &body, &[]).is_err() {
            break;
        }
        in_sync(&neighbour);
    }
    stuck.device.wait_for(&Event::Disconnected);
    assert!(asked > 3, "a few replies may wait");
    client.resume();
    assert!(client.wait_closed());
    in_sync(&stuck.connect());
}

#[test]
fn a_slow_reader_gets_everything() {
    let server = Server::start();
    let client = server.connect();
    let data = pattern(11, 1 << 20);
    server.device.bar0.lock()[..1 << 20].copy_from_slice(&data);
    let mut body = long(&[0]);
    body.extend(words(&[0, 1 << 20]));
    client.stall();
    let ids: Vec<_> = (0..3).map(|_| client.send(proto::REGION_READ, &body, &[]).unwrap()).collect();
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.resume();
    for id in ids {
        assert!(client.wait(id).unwrap()[16..] == data);
    }
    in_sync(&client);
}

#[test]
fn a_panic_in_the_device_costs_its_client_only() {
    let server = Server::start();
    let client = server.connect();
    *server.device.on_read.lock() = Some(Box::new(|| panic!("on purpose")));
    assert!(matches!(client.region_read_u32(0, 0), Err(ClientError::Disconnected)));
    server.device.wait_for(&Event::Disconnected);
    *server.device.on_read.lock() = None;
    in_sync(&server.connect());
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % below
    }

    /// A value that is likely to be at some border.
    fn odd(&mut self) -> u64 {
        match self.next(8) {
            0 => 0,
            1 => 1,
            2 => u64::MAX - self.next(16),
            3 => 1 << self.next(64),
            4 => BAR0_SIZE - self.next(9),
            5 => u64::from(u32::MAX),
            _ => self.next(0x4000),
        }
    }

    fn message(&mut self, id: u16) -> Vec<u8> {
        let command = if self.next(10) == 0 { self.next(1 << 16) } else { self.next(18) } as u16;
        let mut body: Vec<u8> = (0..self.next(8)).flat_map(|_| self.odd().to_le_bytes()).collect();
        if self.next(2) == 0 {
            // A plausible access.
            body = long(&[self.odd()]);
            let (region, count) = (self.next(10) as u32, self.odd() as u32);
            body.extend(words(&[region, count]));
            body.extend(vec![0x5a; (count as usize).min(64)]);
        }
        body.truncate(self.next(body.len() as u64 * 3 + 1) as usize);
        let size = match self.next(40) {
            0 => self.odd() as usize & 0xff_ffff,
            _ => 16 + body.len(),
        };
        let flags = [0, 0, 0, 0x10, 0x10, 1, 0x21, 0x11, 2, u32::MAX][self.next(10) as usize];
        message(id, command, size, flags, &body)
    }
}

#[test]
fn random_streams_do_no_harm() {
    let server = Server::start();
    for seed in 1..=60u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let client = server.connect();
        let fds = [Interrupt::new().unwrap(), Interrupt::new().unwrap()];
        for i in 0..300u16 {
            let m = random.message(i);
            let sent = match random.next(6) {
                0 => client.send_raw(&m, &[fds[0].as_fd()]),
                1 => client.send_raw(&m, &[client.ram().fd(), fds[1].as_fd()]),
                _ => client.send_raw(&m, &[]),
            };
            if sent.is_err() {
                break;
            }
            // DMA of the device's at the same time, whatever is mapped now.
            let _ = server.device.gate.read().peek(random.odd(), &mut [0; 64]);
        }
        drop(client);
        server.device.wait_for(&Event::Disconnected);
        server.device.events.lock().clear();
    }
    in_sync(&server.connect());
}

#[test]
fn random_bytes_do_no_harm() {
    let server = Server::start();
    for seed in 1..=40 {
        let mut stream = UnixStream::connect(&server.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may have closed already: that is its right.
        let _ = stream.write_all(&pattern(seed, 5000));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    in_sync(&server.connect());
}
