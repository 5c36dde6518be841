//! Wires to the outside over real sockets: what goes over them, who comes and goes, and what hostile ends do.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mlx5emu_config::Wire;
use mlx5emu_wire::{Line, MAX_FRAME, Notify, Plug, PlugError};
use rustix::event::{EventfdFlags, eventfd};

/// Waits, up to a limit that only a hang reaches.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[derive(Default)]
struct Heard {
    up: AtomicBool,
    changes: AtomicU64,
    arrived: AtomicU64,
    room: AtomicU64,
}

struct Ear(Arc<Heard>);

impl Notify for Ear {
    fn arrived(&self) {
        self.0.arrived.fetch_add(1, SeqCst);
    }

    fn link(&self, up: bool) {
        self.0.up.store(up, SeqCst);
        self.0.changes.fetch_add(1, SeqCst);
    }

    fn room(&self) {
        self.0.room.fetch_add(1, SeqCst);
    }
}

/// A wire that runs.
struct Running {
    line: Arc<Line>,
    heard: Arc<Heard>,
    stop: Arc<OwnedFd>,
    join: Option<JoinHandle<()>>,
}

impl Running {
    fn start(dir: &Path, text: &str) -> Self {
        let plug = Plug::bind(0, &Wire::outside(text).unwrap(), dir).unwrap().unwrap();
        let heard = Arc::new(Heard::default());
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let (line, ear, stopped) = (plug.line(), Ear(Arc::clone(&heard)), Arc::clone(&stop));
        let join = std::thread::spawn(move || plug.run(&*stopped, &ear));
        Self { line, heard, stop, join: Some(join) }
    }

    fn is_up(&self, up: bool) {
        eventually("the link", || self.heard.up.load(SeqCst) == up && self.line.is_up() == up);
    }

    fn send(&self, frames: &[&[u8]]) {
        frames.iter().for_each(|frame| self.line.send(frame));
        self.line.flush();
    }

    /// The next `count` frames.
    fn frames(&self, count: usize) -> Vec<Vec<u8>> {
        let got = Mutex::new(Vec::new());
        eventually("frames", || {
            self.line.receive(&mut |frames| got.lock().unwrap().extend(frames.iter().map(|frame| frame.to_vec())));
            got.lock().unwrap().len() >= count
        });
        got.into_inner().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).unwrap();
        self.join.take().unwrap().join().unwrap();
    }
}

fn framed(frames: &[&[u8]]) -> Vec<u8> {
    frames.iter().flat_map(|f| (f.len() as u32).to_be_bytes().into_iter().chain(f.iter().copied())).collect()
}

fn read(stream: &mut UnixStream, len: usize) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_stream_carries_frames_after_their_length_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s,server");
    let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
    wire.is_up(true);
    wire.send(&[b"one", b"three"]);
    assert_eq!(read(&mut other, 16), framed(&[b"one", b"three"]));
    let long = vec![7u8; MAX_FRAME];
    let bytes = framed(&[b"a", &long, b"bc"]);
    // In pieces that are no frames.
    for piece in bytes.chunks(1000) {
        other.write_all(piece).unwrap();
    }
    assert_eq!(wire.frames(3), [b"a".to_vec(), long, b"bc".to_vec()]);
    assert!(wire.heard.arrived.load(SeqCst) > 0);
}

#[test]
fn the_end_that_listens_sees_its_other_end_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s,server");
    for round in 0..3u8 {
        wire.send(&[b"nobody is there"]);
        let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
        wire.is_up(true);
        wire.send(&[&[round; 60]]);
        assert_eq!(read(&mut other, 64), framed(&[&[round; 60]]), "and nothing from before");
        drop(other);
        wire.is_up(false);
    }
    assert_eq!(wire.line.counters.connections.load(Relaxed), 3);
    assert_eq!(wire.line.counters.dropped.load(Relaxed), 3);
}

#[test]
fn the_end_that_connects_tries_until_the_other_listens_and_again_when_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s");
    let path = dir.path().join("s");
    for _ in 0..2 {
        let listener = UnixListener::bind(&path).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        wire.is_up(true);
        other.write_all(&framed(&[b"hello"])).unwrap();
        assert_eq!(wire.frames(1), [b"hello".to_vec()]);
        drop((other, listener));
        std::fs::remove_file(&path).unwrap();
        wire.is_up(false);
    }
}

#[test]
fn what_is_no_frame_ends_the_connection_and_not_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s,server");
    for bad in [0u32, MAX_FRAME as u32 + 1, u32::MAX] {
        let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
        other.write_all(&bad.to_be_bytes()).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(other.read(&mut [0; 8]).unwrap_or(0), 0, "hung up");
    }
    assert_eq!(wire.line.counters.violations.load(Relaxed), 3);
    let _other = UnixStream::connect(dir.path().join("s")).unwrap();
    eventually("the next connection", || wire.line.counters.connections.load(Relaxed) == 4);
}

#[test]
fn an_end_that_does_not_read_costs_frames_and_never_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s,server");
    let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
    wire.is_up(true);
    let frame = [9u8; 1500];
    for _ in 0..4000 {
        wire.line.send(&frame);
        wire.line.flush();
    }
    let (sent, dropped) = (wire.line.counters.sent.load(Relaxed), wire.line.counters.dropped.load(Relaxed));
    assert!(dropped > 0 && sent + dropped == 4000, "{sent} {dropped}");
    // What was taken arrives whole, without another call of the card's.
    let bytes = read(&mut other, sent as usize * 1504);
    assert!(bytes.chunks(1504).all(|f| f[..4] == 1500u32.to_be_bytes() && f[4..] == frame));
}

#[test]
fn frames_that_nobody_takes_hold_the_sender_off_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s,server");
    let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..20_000u32 {
            other.write_all(&framed(&[&[&n.to_be_bytes()[..], &[0; 200]].concat()])).unwrap();
        }
        other
    });
    eventually("the first frames", || wire.line.waiting() > 0);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!sender.is_finished() && wire.line.waiting() <= 256);
    let mut next = 0u32;
    eventually("all of them", || {
        wire.line.receive(&mut |frames| {
            for frame in frames {
                assert_eq!(frame[..4], next.to_be_bytes());
                next += 1;
            }
        });
        next == 20_000
    });
    drop(sender.join().unwrap());
}

#[test]
fn datagrams_are_frames_and_the_other_end_may_come_go_and_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let wire = Running::start(dir.path(), "dgram:ours,theirs");
    for round in 0..3u8 {
        let other = UnixDatagram::bind(&theirs).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        wire.is_up(true);
        let mut buffer = [0; 2000];
        if round == 2 {
            // Nobody told the wire: it notices by what it sends, which is lost, or by asking.
            other.set_nonblocking(true).unwrap();
            eventually("a frame for the new one", || {
                wire.send(&[b"lost or not"]);
                other.recv(&mut buffer).is_ok()
            });
            while other.recv(&mut buffer).is_ok() {}
            other.set_nonblocking(false).unwrap();
            wire.is_up(true);
        }
        wire.send(&[&[round; 60], &[round; 1514]]);
        assert_eq!(other.recv(&mut buffer).unwrap(), 60);
        assert_eq!((other.recv(&mut buffer).unwrap(), buffer[0]), (1514, round));
        // As QEMU does it: the destination is given with each.
        other.send_to(&[round; 99], &ours).unwrap();
        assert_eq!(wire.frames(1), [vec![round; 99]]);
        if round == 1 {
            // Another one takes its place before anybody asked.
            drop(other);
            std::fs::remove_file(&theirs).unwrap();
            continue;
        }
        drop(other);
        wire.is_up(false);
        std::fs::remove_file(&theirs).unwrap();
    }
}

#[test]
fn datagrams_of_an_end_that_does_not_read_wait_and_then_go() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "dgram:ours,theirs");
    let other = UnixDatagram::bind(dir.path().join("theirs")).unwrap();
    wire.is_up(true);
    for n in 0..500u32 {
        wire.send(&[&n.to_be_bytes()]);
    }
    other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for n in 0..500u32 {
        let mut buffer = [0; 8];
        assert_eq!(other.recv(&mut buffer).unwrap(), 4);
        assert_eq!(buffer[..4], n.to_be_bytes());
    }
    assert_eq!(wire.line.counters.dropped.load(Relaxed), 0);
}

#[test]
fn datagrams_that_are_no_frames_are_counted_and_those_that_nobody_takes_wait() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "dgram:ours,theirs");
    let other = UnixDatagram::bind(dir.path().join("theirs")).unwrap();
    wire.is_up(true);
    let ours = dir.path().join("ours");
    other.send_to(&[], &ours).unwrap();
    other.send_to(&vec![0; MAX_FRAME + 1], &ours).unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..2000u32 {
            other.send_to(&n.to_be_bytes(), &ours).unwrap();
        }
        other
    });
    eventually("frames", || wire.line.waiting() == 256);
    let mut next = 0u32;
    eventually("all", || {
        wire.line.receive(&mut |frames| {
            for frame in frames {
                assert_eq!(*frame, next.to_be_bytes());
                next += 1;
            }
        });
        next == 2000
    });
    assert_eq!(wire.line.counters.violations.load(Relaxed), 2);
    drop(sender.join().unwrap());
}

#[test]
fn a_socket_in_use_is_named_with_the_remedy_and_a_stale_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let wire = |text: &str| Plug::bind(3, &Wire::outside(text).unwrap(), dir.path());
    for text in ["stream:a,server", "dgram:a,b"] {
        let held = wire(text).unwrap();
        assert!(held.is_some());
        for again in ["stream:a,server", "dgram:a,b"] {
            let error = wire(again).err().unwrap();
            assert!(matches!(error, PlugError::InUse { port: 3, .. }), "{error}");
        }
        drop(held);
    }
    assert!(wire("stream:a,server").unwrap().is_some(), "what was left behind is replaced");
    let error = wire(&format!("stream:{}", "x".repeat(100))).err().unwrap().to_string();
    assert!(error.contains("the wire of p3") && error.contains("107"), "{error}");
    assert!(Plug::bind(0, &Wire::None, dir.path()).unwrap().is_none());
}

/// Sends until the wire has no room; says how many frames that took.
fn fill(wire: &Running) -> usize {
    let mut sent = 0;
    while wire.line.has_room() {
        wire.send(&[&[sent as u8; 1500]]);
        sent += 1;
        assert!(sent < 10_000, "there must be an end to it");
    }
    sent
}

#[test]
fn a_slow_end_is_waited_for_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["stream:s,server", "dgram:ours,theirs"] {
        let wire = Running::start(dir.path(), kind);
        let stream = kind.starts_with("stream");
        let mut reader: Box<dyn FnMut() + Send> = if stream {
            let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
            Box::new(move || drop(read(&mut other, 1504)))
        } else {
            let other = UnixDatagram::bind(dir.path().join("theirs")).unwrap();
            Box::new(move || assert_eq!(other.recv(&mut [0; 2000]).unwrap(), 1500))
        };
        wire.is_up(true);
        let mut sent = 0;
        for round in 1..4 {
            sent += fill(&wire);
            let more = sent - 10;
            (0..more).for_each(|_| reader());
            sent -= more;
            eventually("room", || wire.heard.room.load(SeqCst) == round);
            assert!(wire.line.has_room());
        }
        assert_eq!(wire.line.counters.dropped.load(Relaxed), 0, "{kind}");
    }
}

#[test]
fn an_end_that_takes_nothing_is_given_up_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Running::start(dir.path(), "stream:s,server");
    let mut other = UnixStream::connect(dir.path().join("s")).unwrap();
    wire.is_up(true);
    let sent = fill(&wire);
    eventually("patience to end", || wire.heard.room.load(SeqCst) == 1);
    assert!(wire.line.has_room());
    // Nothing makes anybody wait now, and what does not fit is lost.
    (0..1000).for_each(|_| wire.send(&[&[0; 1500]]));
    assert!(wire.line.has_room() && wire.line.counters.dropped.load(Relaxed) > 0);
    (0..sent).for_each(|_| drop(read(&mut other, 1504)));
    eventually("a wire that is waited for again", || {
        wire.send(&[&[0; 1500]]);
        !wire.line.has_room()
    });
    drop(other);
    eventually("room for whoever waits for an end that is gone", || wire.heard.room.load(SeqCst) == 2);
}
