//! Memory that only the client can reach: fetched outside the gate, written after the burst.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use common::{Event, PATIENCE, Server, eventually, pattern};
use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_vfio_user::client::{Interrupt, Options, QemuClient};
use mlx5emu_vfio_user::{MessageError, StageError, proto};
use vm_memory::Bytes;

const PLAIN: Attrs = Attrs::PLAIN;
/// RAM below, memory without a descriptor from here on.
const BASE: u64 = 0x10_0000;

fn start() -> (Server, QemuClient) {
    let server = Server::start();
    let client = server.connect();
    let ram = client.map_ram(0, BASE, 0).unwrap();
    client.commit([ram, client.map_without_fd(BASE, pattern(1, 0x10000)).unwrap()]).unwrap();
    server.device.enable();
    (server, client)
}

#[test]
fn a_burst_is_run_again_until_all_it_needs_is_there() {
    let (server, client) = start();
    client.ram().write(BASE - 16, &[7; 16]);
    let mut attempts = 0;
    let got = server.device.burst(|m| {
        attempts += 1;
        let (mut across, mut far) = ([0; 32], [0; 8]);
        m.read(PLAIN, BASE - 16, &mut across)?;
        m.read(PLAIN, BASE + 0x8000, &mut far)?;
        Ok((across, far, m.load_be32(PLAIN, BASE + 0x100)?))
    });
    let private = pattern(1, 0x10000);
    let (across, far, word) = got.unwrap();
    assert_eq!(across[..16], [7; 16]);
    assert_eq!(across[16..], private[..16]);
    assert_eq!(far[..], private[0x8000..0x8008]);
    assert_eq!(word.to_be_bytes(), private[0x100..0x104]);
    assert_eq!(attempts, 4, "one more for each address");
    assert_eq!(client.dma_requests(), 3);
    let again = server.device.gate.read().read(PLAIN, BASE, &mut [0; 16]);
    assert_eq!(again, Err(DmaError::Fetch { addr: BASE, len: 16 }), "what was fetched is forgotten with the session");
}

#[test]
fn a_hole_is_an_error_and_may_be_filled_later() {
    let (server, client) = start();
    assert_eq!(server.device.read(0x7000_0000, 8), Err(DmaError::Unmapped { addr: 0x7000_0000 }));
    client.place_silently(0x7000_0000, pattern(2, 64));
    assert_eq!(server.device.read(0x7000_0000, 8).unwrap(), pattern(2, 64)[..8]);
    server.device.write(0x6666_0000, &[1, 2, 3]).unwrap();
    assert_eq!(server.device.read(BASE, 4).unwrap(), pattern(1, 4), "a lost posted write does no other harm");
    let atomic = server.device.gate.read().fetch_add_u64(PLAIN, BASE, 1);
    assert_eq!(atomic, Err(DmaError::Unmapped { addr: BASE }), "no AtomicOps by message");
}

#[test]
fn writes_wait_for_the_end_of_the_burst_and_interrupts_behind_them() {
    let (server, client) = start();
    let interrupt = Interrupt::new().unwrap();
    client.wire_vector(1, &interrupt).unwrap();
    let messages = server.device.gate.read().messages();
    let mut entry = vec![0xaa; 63];
    entry.push(0xbb);
    {
        let gate = server.device.gate.read();
        gate.write_release(PLAIN, BASE + 0x40, &entry).unwrap();
        gate.msi(1);
        gate.msi(1);
    }
    assert!(messages.needs_flush());
    assert_eq!(interrupt.take(), 0, "not before the data");
    assert_eq!(client.peek(BASE + 0x40, 1).unwrap(), pattern(1, 0x10000)[0x40..0x41]);
    messages.flush().unwrap();
    assert_eq!(interrupt.wait(PATIENCE), 1);
    assert_eq!(client.peek(BASE + 0x40, 64).unwrap(), entry);
    assert!(!messages.needs_flush());
    server.device.gate.read().msi(1);
    assert_eq!(interrupt.take(), 1, "with nothing waiting an interrupt is raised at once");
}

#[test]
fn a_burst_reads_what_it_has_written() {
    let (server, client) = start();
    let got = server.device.burst(|m| {
        m.write(PLAIN, BASE + 8, &[1, 2, 3, 4])?;
        let mut first = [0; 16];
        m.read(PLAIN, BASE, &mut first)?;
        m.write(PLAIN, BASE + 2, &[9])?;
        m.write(PLAIN, BASE - 4, &[5; 6])?;
        m.read(PLAIN, BASE, &mut first)?;
        Ok(first)
    });
    let mut expected = pattern(1, 16);
    expected[8..12].copy_from_slice(&[1, 2, 3, 4]);
    expected[2] = 9;
    expected[..2].copy_from_slice(&[5; 2]);
    assert_eq!(got.unwrap()[..], expected);
    assert_eq!(client.peek(BASE, 16).unwrap(), expected);
}

#[test]
fn a_reset_drops_what_waits() {
    let (server, client) = start();
    let interrupt = Interrupt::new().unwrap();
    client.wire_vector(0, &interrupt).unwrap();
    let messages = server.device.gate.read().messages();
    let mut session = messages.session();
    session.stage(BASE, 64).unwrap();
    server.device.gate.read().write(PLAIN, BASE, &[0xee; 64]).unwrap();
    server.device.gate.read().msi(0);
    client.reset().unwrap();
    session.finish().unwrap();
    server.device.enable();
    assert_eq!(client.peek(BASE, 64).unwrap(), pattern(1, 64));
    assert_eq!(interrupt.take(), 0);
    assert!(!messages.needs_flush());
}

#[test]
fn a_full_queue_is_emptied_on_the_way() {
    let (server, client) = start();
    let gate = &server.device.gate;
    let mut filled = 0u64;
    let full = loop {
        match gate.read().write(PLAIN, BASE + filled % 0x10000, &[filled as u8; 8]) {
            Ok(()) => filled += 8,
            Err(e) => break e,
        }
        assert!(filled < 64 << 20, "the queue must be bounded");
    };
    assert!(matches!(full, DmaError::Fetch { len: 0, .. }), "{full}");
    server.device.write(BASE + 0x100, b"after the others").unwrap();
    assert_eq!(client.peek(BASE + 0x100, 16).unwrap(), b"after the others");
    assert_eq!(client.unexpected(), 0);
}

#[test]
fn too_much_at_a_time_is_refused() {
    let (server, _client) = start();
    let messages = server.device.gate.read().messages();
    let mut session = messages.session();
    assert_eq!(session.stage(BASE, u32::MAX), Err(StageError::TooMuch));
    let full = (0..100_000).map(|_| session.stage(BASE, 0x10000)).find(Result::is_err);
    assert_eq!(full, Some(Err(StageError::TooMuch)));
    drop(session);
    messages.session().stage(BASE, 0x10000).unwrap();
}

#[test]
fn a_client_that_does_not_answer_costs_the_task_only() {
    let (server, client) = start();
    let handle = server.device.client();
    client.stall();
    assert_eq!(handle.dma_read(BASE, &mut [0; 8]), Err(MessageError::TimedOut));
    client.resume();
    // The late answer must not be taken for that of a later question.
    let mut buf = [0; 8];
    handle.dma_read(BASE + 0x1000, &mut buf).unwrap();
    assert_eq!(buf[..], pattern(1, 0x10000)[0x1000..0x1008]);
    assert_eq!(client.region_read_u32(7, 0).unwrap(), 0x101d_15b3);
    assert!(handle.is_connected());
}

#[test]
fn who_waits_for_a_client_that_leaves_is_told_at_once() {
    let (server, client) = start();
    let handle = server.device.client();
    client.stall();
    let (done, finished) = channel();
    let waiting = handle.clone();
    let worker = std::thread::spawn(move || done.send(waiting.dma_read(BASE, &mut [0; 8])).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(client);
    assert_eq!(finished.recv_timeout(PATIENCE).unwrap(), Err(MessageError::Disconnected));
    worker.join().unwrap();
    server.device.wait_for(&Event::Disconnected);
    assert_eq!(handle.dma_write(0, &[1]), Err(MessageError::Disconnected));
    let messages = server.device.gate.read().messages();
    assert_eq!(messages.session().stage(BASE, 4), Err(StageError::NoClient));
}

#[test]
fn many_tasks_of_one_function_do_not_disturb_each_other() {
    let (server, client) = start();
    let private = Arc::new(pattern(1, 0x10000));
    let interrupt = Interrupt::new().unwrap();
    client.wire_vector(2, &interrupt).unwrap();
    let tasks: Vec<_> = (0..4u64)
        .map(|task| {
            let (device, private) = (Arc::clone(&server.device), Arc::clone(&private));
            std::thread::spawn(move || {
                for round in 0..50u64 {
                    let read_only = (task * 0x1000 + round * 16) as usize;
                    let got = device.read(BASE + read_only as u64, 16).unwrap();
                    assert_eq!(got[..], private[read_only..read_only + 16]);
                    let mine = BASE + 0x8000 + task * 0x1000 + (round % 8) * 64;
                    device
                        .burst(|m| {
                            m.write(PLAIN, mine, &[round as u8; 64])?;
                            m.msi(2);
                            Ok(())
                        })
                        .unwrap();
                    assert_eq!(device.read(mine, 64).unwrap(), [round as u8; 64]);
                }
            })
        })
        .collect();
    // The vCPU goes on meanwhile.
    while tasks.iter().any(|t| !t.is_finished()) {
        assert_eq!(client.region_read_u32(7, 0).unwrap(), 0x101d_15b3);
    }
    tasks.into_iter().for_each(|t| t.join().unwrap());
    assert!(interrupt.take() >= 1);
    assert!(!server.device.gate.read().messages().needs_flush());
    assert_eq!(client.unexpected(), 0);
}

#[test]
fn a_client_that_takes_small_messages_only_gets_small_ones() {
    let server = Server::start();
    let client = QemuClient::connect_only(&server.path, Options::default()).unwrap();
    let version = b"\0\0\0\0{\"capabilities\":{\"max_data_xfer_size\":4096}}\0";
    client.request(proto::VERSION, version, &[]).unwrap();
    server.device.wait_for(&Event::Connected);
    client.place_silently(BASE, pattern(3, 1 << 20));
    server.device.enable();
    assert!(server.device.read(BASE, 1 << 20).unwrap() == pattern(3, 1 << 20));
    assert_eq!(client.dma_requests(), 256);
    let data = pattern(4, 1 << 20);
    server.device.write(BASE, &data).unwrap();
    assert!(client.peek(BASE, 1 << 20).unwrap() == data);
    assert_eq!(client.dma_requests(), 512);
    server.device.client().dma_write(BASE, &data[1..]).unwrap();
    assert!(client.peek(BASE, (1 << 20) - 1).unwrap() == data[1..]);
}

#[test]
fn after_the_reply_to_unmap_nothing_in_flight_uses_the_range() {
    let (server, client) = start();
    let stop = Arc::new(AtomicBool::new(false));
    let (device, stopped) = (Arc::clone(&server.device), Arc::clone(&stop));
    let worker = std::thread::spawn(move || {
        let mut rounds = 0u64;
        while !stopped.load(Ordering::Acquire) {
            match device.gate.read().fetch_add_u64(PLAIN, 0x4000, 1) {
                Ok(_) => rounds += 1,
                Err(e) => assert_eq!(e, DmaError::Unmapped { addr: 0x4000 }),
            }
        }
        rounds
    });
    let word = || client.ram().slice(0x4000, 8).load::<u64>(0, Ordering::Acquire).unwrap();
    for _ in 0..200 {
        let before = word();
        eventually("the worker works", || word() > before);
        client.unmap(0x4000, 0x1000).unwrap();
        let left = word();
        (0..20).for_each(|_| std::thread::yield_now());
        assert_eq!(word(), left, "nobody may touch it from the reply on");
        client.commit([client.map_ram(0x4000, 0x1000, 0x4000).unwrap()]).unwrap();
    }
    stop.store(true, Ordering::Release);
    let rounds = worker.join().unwrap();
    assert_eq!(word(), rounds, "and every one before it counts");
}
