//! A client that is as thin as the echo server: one thread, which sends and waits on the socket itself. What it measures
//! is the server and the kernel; a client with threads of its own would add the same to both sides and bring every ratio
//! nearer to one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mlx5emu_vfio_user::proto::{self, Header};

use crate::Outcome;

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

/// Messages to BAR 0.
pub(crate) enum AtBar {}

impl AtBar {
    /// Reads a dword.
    pub(crate) fn read(offset: u64) -> Vec<u8> {
        access(proto::REGION_READ, proto::TYPE_COMMAND, 0, offset, 4, &[])
    }

    /// Writes eight bytes, big-endian as the card's registers are; no reply is wanted.
    pub(crate) fn posted_write(offset: u64, value: u64) -> Vec<u8> {
        access(proto::REGION_WRITE, proto::TYPE_COMMAND | proto::NO_REPLY, 0, offset, 8, &value.to_be_bytes())
    }
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
        let region = proto::CONFIG_REGION;
        client.request(&access(
            proto::REGION_WRITE,
            proto::TYPE_COMMAND,
            region,
            COMMAND_AT,
            command.len(),
            &command,
        ))?;
        Ok(client)
    }

    /// Sends a message and does not wait.
    pub(crate) fn post(&mut self, message: &[u8]) -> Outcome<()> {
        Ok((&self.stream).write_all(message)?)
    }

    /// Sends a message and waits for all of the reply; the dword that it brings, big-endian, or 0 if it brings none.
    pub(crate) fn request(&mut self, message: &[u8]) -> Outcome<u32> {
        self.post(message)?;
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
            let data = self.reply[..got].get(proto::HEADER_SIZE + proto::REGION_ACCESS_BODY..);
            return Ok(data.and_then(|d| d.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b)));
        }
    }
}
