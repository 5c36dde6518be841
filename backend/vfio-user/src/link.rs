//! The sending half of a connection: the outbox, which never blocks. What a socket does not take at once, the attendant
//! sends later.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};

use crate::requests::Requests;

/// Bytes that may wait for a client that does not read.
const MAX_OUTBOX: usize = 4 << 20;

#[derive(Default)]
struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first waiting message that are sent already.
    sent: usize,
    bytes: usize,
}

/// What both halves of a connection share.
pub(crate) struct Link {
    name: String,
    stream: UnixStream,
    outbox: Mutex<Outbox>,
    /// Tells the attendant that the outbox waits for the socket.
    wake: Arc<OwnedFd>,
    pub(crate) requests: Requests,
    io_thread: ThreadId,
    closed: AtomicBool,
}

impl Link {
    /// To be created on the I/O thread. `max_dma` is the client's largest data part of a message.
    pub(crate) fn new(name: &str, stream: UnixStream, wake: Arc<OwnedFd>, max_dma: usize) -> Self {
        Self {
            name: name.to_owned(),
            stream,
            outbox: Mutex::default(),
            wake,
            requests: Requests::new(max_dma),
            io_thread: std::thread::current().id(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn on_io_thread(&self) -> bool {
        std::thread::current().id() == self.io_thread
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.outbox.lock().waiting.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the connection: the I/O thread sees the end of the stream, all requests fail.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // An error says that the peer was faster.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Both);
        self.requests.wake_all();
    }

    /// Sends one message: at once if the socket takes it, else the rest waits. Never blocks.
    pub(crate) fn send(&self, message: &[u8]) {
        if self.is_closed() {
            return;
        }
        let mut outbox = self.outbox.lock();
        let mut sent = 0;
        if outbox.waiting.is_empty() {
            match self.send_now(message) {
                Ok(n) if n == message.len() => return,
                Ok(n) => sent = n,
                Err(()) => {
                    drop(outbox);
                    return self.close();
                }
            }
            outbox.sent = sent;
        }
        if outbox.bytes + message.len() > MAX_OUTBOX {
            drop(outbox);
            log::error!("{}: the client does not read its socket ({MAX_OUTBOX} bytes wait): disconnected", self.name);
            return self.close();
        }
        outbox.bytes += message.len() - sent;
        outbox.waiting.push_back(message.to_vec());
        drop(outbox);
        // A full counter has woken it already.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    /// The socket can take more: sends what waits.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox.lock();
        while let Some(first) = outbox.waiting.front() {
            let (len, from) = (first.len(), outbox.sent);
            match self.send_now(&first[from..]) {
                Ok(0) => return,
                Ok(n) => {
                    outbox.bytes -= n;
                    outbox.sent += n;
                    if outbox.sent == len {
                        outbox.waiting.pop_front();
                        outbox.sent = 0;
                    }
                }
                Err(()) => {
                    drop(outbox);
                    return self.close();
                }
            }
        }
    }

    fn send_now(&self, bytes: &[u8]) -> Result<usize, ()> {
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(n) => return Ok(n),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(_) => return Err(()),
            }
        }
    }
}
