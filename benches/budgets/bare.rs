//! A client that is as thin as the echo server: one thread, which sends and waits on the socket itself. What it measures
//! is the server and the kernel; a client with threads of its own would add the same to both sides and bring every ratio
//! nearer to one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use mlx5emu_vfio_user::proto::{self, Header};

use crate::Outcome;
use crate::statistics::median;

/// COMMAND of the configuration space: memory space on.
const COMMAND_AT: u64 = 4;
const MEMORY_SPACE: u16 = 1 << 1;
/// Bytes of the VERSION reply and of all others at most.
const LONGEST_REPLY: usize = 4096;

/// A connection on which BAR 0 answers.
pub(crate) struct Bare {
    stream: UnixStream,
    reply: [u8; LONGEST_REPLY],
}

/// A REGION_READ or REGION_WRITE.
fn access(command: u16, flags: u32, region: u32, offset: u64, count: usize, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    proto::begin(&mut message, 1, command, flags, 0);
    message.extend_from_slice(&offset.to_le_bytes());
    message.extend_from_slice(&region.to_le_bytes());
    message.extend_from_slice(&(count as u32).to_le_bytes());
    message.extend_from_slice(data);
    proto::finish(&mut message);
    message
}

impl Bare {
    pub(crate) fn connect(socket: &Path) -> Outcome<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut client = Self { stream, reply: [0; LONGEST_REPLY] };
        let mut version = Vec::new();
        proto::begin(&mut version, 1, proto::VERSION, proto::TYPE_COMMAND, 0);
        version.extend_from_slice(b"\0\0\0\0{\"capabilities\":{}}\0");
        proto::finish(&mut version);
        client.request(&version)?;
        let command = MEMORY_SPACE.to_le_bytes();
        client.request(&access(
            proto::REGION_WRITE,
            proto::TYPE_COMMAND,
            proto::CONFIG_REGION,
            COMMAND_AT,
            2,
            &command,
        ))?;
        Ok(client)
    }

    /// Sends a message and waits for all of the reply; its body.
    fn request(&mut self, message: &[u8]) -> Outcome<&[u8]> {
        (&self.stream).write_all(message)?;
        let mut got = 0;
        loop {
            match (&self.stream).read(&mut self.reply[got..])? {
                0 => return Err("the server closed the connection".into()),
                n => got += n,
            }
            let Some(header) = self.reply[..got].first_chunk().map(Header::parse) else { continue };
            if got < header.size as usize {
                continue;
            }
            if !header.is_reply() || header.errno().is_some() || got != header.size as usize {
                return Err(format!("a reply that was not expected: {header:?}").into());
            }
            return Ok(&self.reply[proto::HEADER_SIZE..got]);
        }
    }

    /// A dword of BAR 0, big-endian as the card's registers are.
    pub(crate) fn read(&mut self, offset: u64) -> Outcome<u32> {
        self.request_dword(&access(proto::REGION_READ, proto::TYPE_COMMAND, 0, offset, 4, &[]))
    }

    fn request_dword(&mut self, message: &[u8]) -> Outcome<u32> {
        let body = self.request(message)?;
        let data = body.get(proto::REGION_ACCESS_BODY..).and_then(|b| b.first_chunk::<4>());
        data.map(|b| u32::from_be_bytes(*b)).ok_or_else(|| "a short reply to a read".into())
    }

    /// Reads a dword of BAR 0 `count` times: the median time of one round trip, nanoseconds.
    pub(crate) fn time_reads(&mut self, offset: u64, count: usize) -> Outcome<f64> {
        let message = access(proto::REGION_READ, proto::TYPE_COMMAND, 0, offset, 4, &[]);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let from = Instant::now();
            self.request_dword(&message)?;
            times.push(from.elapsed().as_nanos() as f64);
        }
        Ok(median(&times))
    }

    /// Posts `count` writes of eight bytes to BAR 0, a message each as QEMU does, then reads: when the read's answer is
    /// there, all writes have been served. The time of one write, nanoseconds.
    pub(crate) fn time_writes(&mut self, offset: u64, value: u64, count: usize) -> Outcome<f64> {
        let flags = proto::TYPE_COMMAND | proto::NO_REPLY;
        let message = access(proto::REGION_WRITE, flags, 0, offset, 8, &value.to_be_bytes());
        let from = Instant::now();
        for _ in 0..count {
            (&self.stream).write_all(&message)?;
        }
        self.read(0)?;
        Ok(from.elapsed().as_nanos() as f64 / count as f64)
    }
}
