//! From a byte stream with descriptors to messages.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use crate::proto::{HEADER_SIZE, Header, MAX_MESSAGE, MAX_MSG_FDS};

/// Bytes that are kept for messages of usual size.
const BUFFER: usize = 64 * 1024;
/// Descriptors that are taken in one go; the kernel closes what is beyond.
const FDS_PER_READ: usize = 2 * MAX_MSG_FDS;
/// Descriptors that may lie between the messages that are being put together.
const MAX_HELD_FDS: usize = 4 * MAX_MSG_FDS;

/// The stream cannot be understood any more: the connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("a message claims to be {0} bytes long, less than its header")]
    TooSmall(u32),
    #[error("the connection broke: {0}")]
    Io(#[from] Errno),
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes,
    Nothing,
    EndOfStream,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) header: Header,
    pub(crate) body: &'a [u8],
    pub(crate) fds: Vec<OwnedFd>,
    /// It had more descriptors than anyone may send; they are closed.
    pub(crate) fds_lost: bool,
    /// It was longer than [`MAX_MESSAGE`]: its body has been drained and is not here.
    pub(crate) oversized: bool,
}

/// Puts messages together. Memory is bounded: one buffer, grown for a longer message and shrunk after it.
#[derive(Debug)]
pub(crate) struct Receiver {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Stream position of `buffer[start]`.
    position: u64,
    /// Descriptors, each with the stream position of the last byte that came with it. A read ends where the bytes
    /// that carried descriptors end (unix(7)), so that position lies in the message that they belong to.
    fds: VecDeque<(u64, OwnedFd)>,
    /// Positions at which descriptors were lost.
    lost: VecDeque<u64>,
    /// An oversized message that is being drained: its header, and the bytes still to come.
    draining: Option<(Header, u64)>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            position: 0,
            fds: VecDeque::new(),
            lost: VecDeque::new(),
            draining: None,
        }
    }

    /// One read, which waits for the socket if that blocks.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> Result<Received, StreamError> {
        self.make_room();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_READ))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut self.buffer[self.end..])];
        let got = match recvmsg(socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => got,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::EndOfStream),
            Err(e) => return Err(e.into()),
        };
        if got.bytes == 0 {
            return Ok(Received::EndOfStream);
        }
        self.end += got.bytes;
        let last = self.position + (self.end - self.start) as u64 - 1;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fds.for_each(|fd| self.hold(last, fd));
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            self.mark_lost(last);
        }
        Ok(Received::Bytes)
    }

    /// The next whole message, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Message<'_>>, StreamError> {
        if self.draining.is_some() {
            return Ok(self.drain());
        }
        let Some(header) = self.peek_header() else { return Ok(None) };
        let size = header.size as usize;
        if size < HEADER_SIZE {
            return Err(StreamError::TooSmall(header.size));
        }
        if size > MAX_MESSAGE {
            self.draining = Some((header, u64::from(header.size)));
            return Ok(self.drain());
        }
        if self.end - self.start < size {
            return Ok(None);
        }
        let (fds, fds_lost) = self.take_fds(self.position + size as u64);
        let from = self.start + HEADER_SIZE;
        self.consume(size);
        let body = &self.buffer[from..from + size - HEADER_SIZE];
        Ok(Some(Message { header, body, fds, fds_lost, oversized: false }))
    }

    fn peek_header(&self) -> Option<Header> {
        let bytes = self.buffer[self.start..self.end].first_chunk::<HEADER_SIZE>()?;
        Some(Header::parse(bytes))
    }

    fn drain(&mut self) -> Option<Message<'_>> {
        let (header, left) = self.draining.take()?;
        let here = ((self.end - self.start) as u64).min(left);
        let (fds, _) = self.take_fds(self.position + here);
        drop(fds);
        self.consume(here as usize);
        if here < left {
            self.draining = Some((header, left - here));
            return None;
        }
        Some(Message { header, body: &[], fds: Vec::new(), fds_lost: false, oversized: true })
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
        self.position += n as u64;
    }

    /// Descriptors of the message that ends before stream position `end`.
    fn take_fds(&mut self, end: u64) -> (Vec<OwnedFd>, bool) {
        let mut lost = false;
        while self.lost.front().is_some_and(|at| *at < end) {
            self.lost.pop_front();
            lost = true;
        }
        let mut fds = Vec::new();
        while self.fds.front().is_some_and(|(at, _)| *at < end) {
            fds.extend(self.fds.pop_front().map(|(_, fd)| fd));
        }
        if lost {
            fds.clear();
        }
        (fds, lost)
    }

    fn hold(&mut self, at: u64, fd: OwnedFd) {
        if self.fds.len() < MAX_HELD_FDS {
            self.fds.push_back((at, fd));
        } else {
            drop(fd);
            self.mark_lost(at);
        }
    }

    fn mark_lost(&mut self, at: u64) {
        // Marks of one message are equal or follow each other; the last one of the newest message is enough, so a
        // hostile sender cannot make the list grow.
        if self.lost.len() >= MAX_HELD_FDS {
            self.lost.pop_back();
        }
        self.lost.push_back(at);
    }

    /// Makes room for at least one more byte, and for the whole of the message that has begun.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BUFFER {
                self.buffer = vec![0; BUFFER];
            }
            return;
        }
        let begun = self.peek_header().map_or(HEADER_SIZE, |h| h.size as usize);
        let wanted = begun.clamp(HEADER_SIZE, MAX_MESSAGE);
        if self.start + wanted > self.buffer.len() || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if wanted > self.buffer.len() {
            self.buffer.resize(wanted, 0);
        }
    }
}
