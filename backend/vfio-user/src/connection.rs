//! One client's connection, from VERSION to the end of the stream.

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::Builder;

use rustix::io::Errno;

use crate::attendant::{Attendant, Dismissal, Watch};
use crate::commands::{Commands, Refusal};
use crate::device::{Device, DeviceInfo};
use crate::framing::{Message, Received, Receiver, StreamError};
use crate::link::Link;
use crate::proto::{self, Header};
use crate::ratelimit::RateLimit;
use crate::requests::Client;
use crate::version;

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client left, or was disconnected.
    Client,
    /// The server is to stop.
    Stop,
}

/// The connection before and after VERSION.
struct Connection<'a> {
    stream: &'a UnixStream,
    attendant: &'a Attendant<'a>,
    /// Exists from VERSION on.
    link: Option<Arc<Link>>,
    commands: Commands<'a>,
    /// The reply being written; kept to save allocations.
    out: Vec<u8>,
    unasked: RateLimit,
    /// Set once the device has been told of the client.
    connected: &'a Cell<bool>,
}

impl Drop for Connection<'_> {
    /// However the connection ends, a panic included, the device's handle must not keep it open.
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.close();
        }
    }
}

/// Serves `stream` until it ends. `device.disconnected()` is the caller's to call, if `connected` is set.
pub(crate) fn run(
    stream: &UnixStream,
    device: &dyn Device,
    info: &DeviceInfo,
    watch: &Watch<'_>,
    connected: &Cell<bool>,
) -> End {
    attended(stream, device, info, watch, connected).unwrap_or_else(|e| {
        log::error!("{}: disconnecting the client: {e}", info.name);
        End::Client
    })
}

fn attended(
    stream: &UnixStream,
    device: &dyn Device,
    info: &DeviceInfo,
    watch: &Watch<'_>,
    connected: &Cell<bool>,
) -> Result<End, StreamError> {
    let attendant = Attendant::new(stream, watch)?;
    std::thread::scope(|scope| {
        // However this ends, a panic included, the scope waits for the attendant.
        let dismissal = Dismissal(&attendant);
        let begun =
            Builder::new().name(format!("{}-attend", info.name)).spawn_scoped(scope, || attendant.run(&info.name));
        begun.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::AGAIN))?;
        let mut connection = Connection {
            stream,
            attendant: &attendant,
            link: None,
            commands: Commands { device, info, unsealed_reported: false, log: RateLimit::new() },
            out: Vec::with_capacity(8192),
            unasked: RateLimit::new(),
            connected,
        };
        let served = connection.serve();
        drop(dismissal);
        served.map(|()| if attendant.is_stopped() { End::Stop } else { End::Client })
    })
}

impl Connection<'_> {
    /// Until the end of the stream.
    fn serve(&mut self) -> Result<(), StreamError> {
        let mut receiver = Receiver::new();
        loop {
            match receiver.receive(self.stream)? {
                Received::Nothing => continue,
                Received::EndOfStream => return Ok(()),
                Received::Bytes => {}
            }
            while let Some(message) = receiver.next()? {
                self.handle(message)?;
                if self.link.as_ref().is_some_and(|l| l.is_closed()) || self.attendant.is_stopped() {
                    return Ok(());
                }
            }
            self.commands.device.caught_up();
        }
    }

    fn handle(&mut self, message: Message<'_>) -> Result<(), StreamError> {
        let header = message.header;
        if header.is_reply() {
            let asked =
                self.link.as_ref().is_some_and(|l| message.fds.is_empty() && l.requests.answer(&header, message.body));
            if !asked {
                let name = &self.commands.info.name;
                self.unasked.warn(format_args!("{name}: dropping a reply that nobody asked for ({header:?})"));
            }
            return Ok(());
        }
        if header.flags & proto::TYPE_MASK != proto::TYPE_COMMAND {
            return self.answer(&header, Err(Refusal::new(libc::EINVAL, "unknown message type")));
        }
        if self.link.is_none() {
            return self.negotiate(message);
        }
        let mut out = std::mem::take(&mut self.out);
        proto::begin(&mut out, header.id, header.command, proto::TYPE_REPLY, 0);
        let result = if message.oversized && is_known(header.command) {
            Err(Refusal::new(libc::EINVAL, format!("a message of {} bytes", header.size)))
        } else if message.fds_lost {
            Err(Refusal::new(libc::EINVAL, "too many descriptors"))
        } else {
            self.commands.execute(header.command, message.body, message.fds, &mut out)
        };
        self.out = out;
        let done = self.answer(&header, result);
        // A large reply must not keep its buffer for the life of the connection.
        self.out.clear();
        self.out.shrink_to(64 * 1024);
        done
    }

    /// Sends the reply in `out`, or an error reply; nothing if none is wanted.
    fn answer(&mut self, header: &Header, result: Result<(), Refusal>) -> Result<(), StreamError> {
        if let Err(refusal) = &result {
            let (name, command, why) = (&self.commands.info.name, header.command, &refusal.why);
            if refusal.expected {
                log::debug!("{name}: refusing command {command}: {why}");
            } else {
                self.commands.log.warn(format_args!("{name}: refusing command {command}: {why}"));
            }
        }
        if header.no_reply() {
            return Ok(());
        }
        if let Err(refusal) = result {
            let errno = u32::try_from(refusal.errno).ok().filter(|e| *e != 0).unwrap_or(libc::EINVAL as u32);
            proto::begin(&mut self.out, header.id, header.command, proto::TYPE_REPLY | proto::ERROR, errno);
        }
        proto::finish(&mut self.out);
        match &self.link {
            Some(link) => link.send(&self.out),
            // Nothing can wait before VERSION: a short message fits an empty socket buffer.
            None => send_first(self.stream, &self.out)?,
        }
        Ok(())
    }

    /// The first message must be VERSION; nothing else is answered before it but with an error.
    fn negotiate(&mut self, message: Message<'_>) -> Result<(), StreamError> {
        let header = message.header;
        if header.command != proto::VERSION || message.oversized || !message.fds.is_empty() || message.fds_lost {
            let why = "the first message must be VERSION, without descriptors";
            return self.answer(&header, Err(Refusal::new(libc::EINVAL, why)));
        }
        match version::parse(message.body) {
            Err(e) => self.answer(&header, Err(Refusal::new(libc::EINVAL, e.to_string()))),
            Ok(limits) => {
                let stream = self.stream.try_clone().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
                let wake = Arc::clone(self.attendant.wake());
                let link = Arc::new(Link::new(&self.commands.info.name, stream, wake, limits.max_data_xfer));
                self.attendant.look_after(Arc::clone(&link));
                proto::begin(&mut self.out, header.id, header.command, proto::TYPE_REPLY, 0);
                self.out.extend_from_slice(&version::reply());
                self.link = Some(Arc::clone(&link));
                let done = self.answer(&header, Ok(()));
                self.connected.set(true);
                self.commands.device.connected(Client(link));
                done
            }
        }
    }
}

fn is_known(command: u16) -> bool {
    matches!(
        command,
        proto::VERSION
            | proto::DMA_MAP
            | proto::DMA_UNMAP
            | proto::DEVICE_GET_INFO
            | proto::DEVICE_GET_REGION_INFO
            | proto::DEVICE_GET_IRQ_INFO
            | proto::DEVICE_SET_IRQS
            | proto::REGION_READ
            | proto::REGION_WRITE
            | proto::DEVICE_RESET
    )
}

fn send_first(stream: &UnixStream, bytes: &[u8]) -> Result<(), StreamError> {
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    match rustix::net::send(stream, bytes, flags) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::AGAIN.into()),
        Err(e) => Err(e.into()),
    }
}
