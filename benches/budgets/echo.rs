//! The baseline: the least that a program can do on the other end of a function's socket and still be understood. One
//! thread, one connection at a time, one blocking loop, in a process of its own: read a header, read the rest, answer.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mlx5emu_vfio_user::proto::{self, Header};
use rustix::process::Signal;

use crate::{Outcome, Room};

/// The argument that makes this program the echo server.
pub(crate) const ARGUMENT: &str = "--echo-server";
/// The environment variable that has it signal its standard output, an eventfd, for each posted write.
const INTERRUPTS: &str = "ECHO_INTERRUPTS";
/// The longest message that it understands.
const LONGEST: usize = 4096;

/// An echo server in a process of its own. Dropping it ends it.
pub(crate) struct Echo {
    child: Child,
    socket: PathBuf,
}

impl Echo {
    /// Starts one. With `interrupt`, an eventfd, it answers a posted write by signalling that.
    pub(crate) fn start(room: &Room, interrupt: Option<OwnedFd>) -> Outcome<Self> {
        let socket = room.fresh();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).arg(&socket).stdin(Stdio::null());
        match interrupt {
            Some(fd) => command.env(INTERRUPTS, "1").stdout(Stdio::from(fd)),
            None => command.env_remove(INTERRUPTS).stdout(Stdio::null()),
        };
        let mut echo = Self { child: room.spawn(&mut command)?, socket };
        let until = Instant::now() + Duration::from_secs(30);
        while !echo.socket.exists() {
            if Instant::now() > until || echo.child.try_wait()?.is_some() {
                return Err("the echo server does not start".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(echo)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The echo server's life: it ends with whoever started it.
pub(crate) fn serve(socket: &Path) -> Outcome<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The file appears with bind, a moment before listen: it gets its name when a client can connect.
    let nascent = socket.with_extension("new");
    let listener = UnixListener::bind(&nascent)?;
    std::fs::rename(&nascent, socket)?;
    let interrupts = std::env::var_os(INTERRUPTS).is_some();
    loop {
        let (stream, _) = listener.accept()?;
        match echo(&stream, interrupts) {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof && e.kind() != io::ErrorKind::ConnectionReset => {
                return Err(e.into());
            }
            _ => {}
        }
    }
}

fn echo(mut stream: &UnixStream, interrupts: bool) -> io::Result<()> {
    // As much is read at once as there is: with two reads a message the baseline would be easier to reach.
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    let mut message = [0; LONGEST];
    loop {
        let (head, body) = message.split_at_mut(proto::HEADER_SIZE);
        input.read_exact(head)?;
        let header = head.first_chunk().map(Header::parse).unwrap_or_default();
        let rest = (header.size as usize).checked_sub(proto::HEADER_SIZE).and_then(|n| body.get_mut(..n));
        let Some(rest) = rest else { return Err(io::ErrorKind::InvalidData.into()) };
        input.read_exact(rest)?;
        if header.no_reply() {
            if interrupts {
                rustix::io::write(io::stdout().as_fd(), &1u64.to_ne_bytes())?;
            }
            continue;
        }
        let answered = match header.command {
            proto::VERSION => header.size as usize,
            proto::REGION_READ => {
                proto::HEADER_SIZE + proto::REGION_ACCESS_BODY + proto::u32_at(body, 12).min(64) as usize
            }
            _ => proto::HEADER_SIZE + proto::REGION_ACCESS_BODY,
        };
        let reply = Header { size: answered as u32, flags: proto::TYPE_REPLY, ..header };
        head.copy_from_slice(&reply.emit());
        stream.write_all(&message[..answered])?;
    }
}
