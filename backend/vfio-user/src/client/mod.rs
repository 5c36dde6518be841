//! The other side: a client that behaves as QEMU 11.1's `vfio-user-pci` does, for tests and benches of a function.
//!
//! It owns guest RAM (a sealed memfd), announces it with pipelined DMA_MAPs, posts its BAR writes, waits for the
//! replies to everything else, owns the eventfds of the interrupts, and serves DMA_READ and DMA_WRITE. As in QEMU,
//! DMA is served by a "main loop" under a big lock that a waiting "vCPU" holds: a server that waits for DMA before it
//! answers will wait in vain ([`Options::big_lock`]). Beyond what QEMU does, it can stall, send any bytes and
//! descriptors, and pretend that its memory is private.

mod calls;
mod memory;

use std::collections::HashMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Inbox, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg};

use crate::framing::{Received, Receiver};
use crate::proto::{self, Header, u32_at, u64_at};
use crate::requests::DmaLayout;

pub use calls::RegionDescription;
use memory::{Area, Place};
pub use memory::{Interrupt, Ram};

/// What kind of client it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of guest RAM.
    pub ram: u64,
    /// Layout of DMA messages; that of QEMU 11.1 by default.
    pub layout: DmaLayout,
    /// Serve DMA only while no reply is waited for, as QEMU does. On by default.
    pub big_lock: bool,
    /// How long a reply is waited for. QEMU's `x-msg-timeout` is 5 s; slow test machines need more.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { ram: 16 << 20, layout: DmaLayout::Count64, big_lock: true, timeout: Duration::from_secs(30) }
    }
}

/// Why a call of the client failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The system refused something.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The server answered with an error.
    #[error("the server refused command {command} with errno {errno}")]
    Refused {
        /// The command.
        command: u16,
        /// The errno in the reply.
        errno: i32,
    },
    /// The connection is gone.
    #[error("the server closed the connection")]
    Disconnected,
    /// No reply in time.
    #[error("the server did not answer command {0}")]
    TimedOut(u16),
    /// The reply is not what the protocol says.
    #[error("the reply to command {command} is wrong: {what}")]
    Malformed {
        /// The command.
        command: u16,
        /// What is wrong.
        what: String,
    },
}

impl From<Errno> for ClientError {
    fn from(e: Errno) -> Self {
        Self::System(e.into())
    }
}

impl ClientError {
    /// The errno of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

struct Reply {
    header: Header,
    body: Vec<u8>,
}

/// A request of the server: header and body.
type Request = (Header, Vec<u8>);

struct Shared {
    stream: UnixStream,
    options: Options,
    next_id: AtomicU16,
    /// Ids asked for, with their replies as they come.
    replies: Mutex<HashMap<u16, Option<Reply>>>,
    arrived: Condvar,
    closed: AtomicBool,
    /// QEMU's big lock: held by whoever waits for a reply, and by whoever serves DMA.
    big_lock: Mutex<()>,
    stalled: Mutex<bool>,
    unstalled: Condvar,
    place: Mutex<Vec<Area>>,
    ram: Ram,
    dma_requests: AtomicU64,
    unexpected: AtomicU64,
}

/// A QEMU-like client of one function's socket. See the module's page.
pub struct QemuClient {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl QemuClient {
    /// Connects and agrees on the version, with the message that QEMU sends.
    ///
    /// # Errors
    /// [`ClientError`] if there is no server, or its reply would not do for QEMU.
    pub fn connect(path: &Path, options: Options) -> Result<Self, ClientError> {
        let client = Self::connect_only(path, options)?;
        client.version()?;
        Ok(client)
    }

    /// Connects and sends nothing.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn connect_only(path: &Path, options: Options) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)?;
        // A server that stops reading must fail a test, not hang it.
        stream.set_write_timeout(Some(options.timeout))?;
        let shared = Arc::new(Shared {
            stream,
            ram: Ram::new(options.ram)?,
            options,
            next_id: AtomicU16::new(0x100),
            replies: Mutex::default(),
            arrived: Condvar::new(),
            closed: AtomicBool::new(false),
            big_lock: Mutex::new(()),
            stalled: Mutex::new(false),
            unstalled: Condvar::new(),
            place: Mutex::default(),
            dma_requests: AtomicU64::new(0),
            unexpected: AtomicU64::new(0),
        });
        let (to_main_loop, requests) = channel();
        let (reader, main_loop) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::Builder::new().name("client-io".into()).spawn(move || reader.read_all(&to_main_loop))?,
            std::thread::Builder::new().name("client-main".into()).spawn(move || main_loop.main_loop(&requests))?,
        ];
        Ok(Self { shared, threads })
    }

    /// Guest RAM.
    pub fn ram(&self) -> &Ram {
        &self.shared.ram
    }

    /// Stops reading the socket, as a stopped QEMU does.
    pub fn stall(&self) {
        *self.shared.stalled.lock() = true;
    }

    /// Reads the socket again.
    pub fn resume(&self) {
        *self.shared.stalled.lock() = false;
        self.shared.unstalled.notify_all();
    }

    /// DMA requests of the server received so far (served or waiting for the big lock).
    pub fn dma_requests(&self) -> u64 {
        self.shared.dma_requests.load(Ordering::Acquire)
    }

    /// Messages that QEMU would have complained about: replies to nothing, unknown requests.
    pub fn unexpected(&self) -> u64 {
        self.shared.unexpected.load(Ordering::Acquire)
    }

    /// Whether the server still keeps the connection.
    pub fn is_connected(&self) -> bool {
        !self.shared.closed.load(Ordering::Acquire)
    }

    /// Waits until the server has closed the connection; false if it has not within the client's timeout.
    pub fn wait_closed(&self) -> bool {
        let deadline = Instant::now() + self.shared.options.timeout;
        let mut replies = self.shared.replies.lock();
        while self.is_connected() {
            if self.shared.arrived.wait_until(&mut replies, deadline).timed_out() {
                return !self.is_connected();
            }
        }
        true
    }

    /// Sends any bytes with any descriptors, in one message of the socket.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        self.shared.send(bytes, fds)
    }

    /// Sends a command and does not wait; [`Self::wait`] does.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn send(&self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<u16, ClientError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        self.shared.replies.lock().insert(id, None);
        self.shared.send(&message(id, command, proto::TYPE_COMMAND, body), fds)?;
        Ok(id)
    }

    /// Sends a command that wants no reply.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn post(&self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        self.shared.send(&message(id, command, proto::TYPE_COMMAND | proto::NO_REPLY, body), fds)
    }

    /// Waits for the reply to `id`, and returns its body.
    ///
    /// # Errors
    /// [`ClientError`], a refusal included.
    pub fn wait(&self, id: u16) -> Result<Vec<u8>, ClientError> {
        let deadline = Instant::now() + self.shared.options.timeout;
        let mut replies = self.shared.replies.lock();
        loop {
            match replies.remove(&id) {
                Some(Some(reply)) => return reply.into_result(),
                Some(None) if self.is_connected() => {
                    replies.insert(id, None);
                }
                _ => return Err(ClientError::Disconnected),
            }
            if self.shared.arrived.wait_until(&mut replies, deadline).timed_out() {
                return match replies.remove(&id).flatten() {
                    Some(reply) => reply.into_result(),
                    None => Err(ClientError::TimedOut(0)),
                };
            }
        }
    }

    /// Sends a command and waits for its reply, as a vCPU does: nothing else of this client runs meanwhile.
    ///
    /// # Errors
    /// [`ClientError`], a refusal included.
    pub fn request(&self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Vec<u8>, ClientError> {
        let _vcpu = self.shared.options.big_lock.then(|| self.shared.big_lock.lock());
        let id = self.send(command, body, fds)?;
        self.wait(id).map_err(|e| match e {
            ClientError::TimedOut(_) => ClientError::TimedOut(command),
            e => e,
        })
    }

    /// Leaves. Dropping the client does the same.
    pub fn disconnect(self) {}
}

impl Drop for QemuClient {
    fn drop(&mut self) {
        // An error says that the server was faster.
        let _ = rustix::net::shutdown(&self.shared.stream, Shutdown::Both);
        self.resume();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Reply {
    fn into_result(self) -> Result<Vec<u8>, ClientError> {
        match self.header.errno() {
            Some(errno) if self.header.error != 0 => Err(ClientError::Refused { command: self.header.command, errno }),
            Some(_) => Err(malformed(self.header.command, "an error reply with errno 0, which QEMU takes for success")),
            None => Ok(self.body),
        }
    }
}

fn malformed(command: u16, what: impl Into<String>) -> ClientError {
    ClientError::Malformed { command, what: what.into() }
}

fn message(id: u16, command: u16, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut m = Vec::with_capacity(proto::HEADER_SIZE + body.len());
    proto::begin(&mut m, id, command, flags, 0);
    m.extend_from_slice(body);
    proto::finish(&mut m);
    m
}

impl Shared {
    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::MSGSIZE.into());
        }
        let mut sent = sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        while sent < bytes.len() {
            sent += rustix::net::send(&self.stream, &bytes[sent..], SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    fn read_all(&self, main_loop: &Sender<Request>) {
        let mut receiver = Receiver::new();
        while self.read_once(&mut receiver, main_loop) {
            let mut stalled = self.stalled.lock();
            while *stalled {
                self.unstalled.wait(&mut stalled);
            }
        }
        self.closed.store(true, Ordering::Release);
        drop(self.replies.lock());
        self.arrived.notify_all();
    }

    fn read_once(&self, receiver: &mut Receiver, main_loop: &Sender<Request>) -> bool {
        let ready = poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], None);
        if ready.is_err_and(|e| e != Errno::INTR) || *self.stalled.lock() {
            return ready.is_ok();
        }
        match receiver.receive(&self.stream) {
            Ok(Received::Bytes) => {}
            Ok(Received::Nothing) => return true,
            Ok(Received::EndOfStream) | Err(_) => return false,
        }
        loop {
            match receiver.next() {
                Ok(Some(m)) if m.header.is_reply() => self.reply(m.header, m.body),
                Ok(Some(m)) => {
                    self.dma_requests.fetch_add(1, Ordering::AcqRel);
                    if main_loop.send((m.header, m.body.to_vec())).is_err() {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn reply(&self, header: Header, body: &[u8]) {
        match self.replies.lock().get_mut(&header.id) {
            Some(slot @ None) => *slot = Some(Reply { header, body: body.to_vec() }),
            _ => {
                self.unexpected.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.arrived.notify_all();
    }

    /// Serves the server's requests, one by one, under the big lock.
    fn main_loop(&self, requests: &Inbox<Request>) {
        while let Ok((header, body)) = requests.recv() {
            let _lock = self.options.big_lock.then(|| self.big_lock.lock());
            let (flags, body) = match self.serve_dma(&header, &body) {
                Ok(body) => (proto::TYPE_REPLY, body),
                Err(errno) => {
                    let mut m = message(header.id, header.command, proto::TYPE_REPLY | proto::ERROR, &[]);
                    m[12..16].copy_from_slice(&errno.to_le_bytes());
                    // The reader notices when the connection is gone.
                    let _ = self.send(&m, &[]);
                    continue;
                }
            };
            if !header.no_reply() {
                let _ = self.send(&message(header.id, header.command, flags, &body), &[]);
            }
        }
    }

    fn serve_dma(&self, header: &Header, body: &[u8]) -> Result<Vec<u8>, i32> {
        if !matches!(header.command, proto::DMA_READ | proto::DMA_WRITE) {
            self.unexpected.fetch_add(1, Ordering::AcqRel);
            return Err(libc::ENOSYS);
        }
        // Both layouts are equally long: the shorter count's ends in padding.
        if body.len() < proto::DMA_ACCESS_BODY {
            return Err(libc::EINVAL);
        }
        let data_at = if self.options.layout == DmaLayout::Count32 { 12 } else { 16 };
        let (addr, count) = (u64_at(body, 0), u32_at(body, 8) as usize);
        if header.command == proto::DMA_READ {
            if count > proto::MAX_DATA_XFER {
                return Err(libc::E2BIG);
            }
            let mut reply = body[..proto::DMA_ACCESS_BODY].to_vec();
            reply.resize(proto::DMA_ACCESS_BODY + count, 0);
            self.space_access(addr, &mut Place::Read(&mut reply[data_at..data_at + count]))?;
            return Ok(reply);
        }
        if count > body.len() - proto::DMA_ACCESS_BODY {
            return Err(libc::E2BIG);
        }
        self.space_access(addr, &mut Place::Write(&body[data_at..data_at + count]))?;
        Ok(Vec::new())
    }

    /// ENODEV where nothing is, as QEMU says for a decode error.
    fn space_access(&self, addr: u64, access: &mut Place<'_>) -> Result<(), i32> {
        let mut place = self.place.lock();
        place.iter_mut().rev().find_map(|area| area.access(&self.ram, addr, access)).ok_or(libc::ENODEV)
    }
}
