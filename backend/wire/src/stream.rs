//! QEMU's `-netdev stream` over a unix socket: each frame after its length in four bytes, big-endian. Either end listens;
//! the other connects, again and again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::line::{Line, Notify, Transmit, would_block};
use crate::poll::{Patience, Woken, wait};
use crate::queue::{MAX_FRAME, Outgoing, PREFIX};

/// How long to wait between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);
/// Bytes read in one go: several of the longest frames.
const READ: usize = 4 * (MAX_FRAME + PREFIX);
/// Milliseconds for which frames of an end that is gone may wait.
const LINGER: u32 = 200;
/// Reads before other things are looked after.
const READS: usize = 8;

/// Where the other end comes from.
pub(crate) enum Source {
    /// It connects to this socket.
    Listener(OwnedFd),
    /// It listens there.
    Path(PathBuf),
}

impl Source {
    /// A socket at `path` that waits for the other end. Only the same user may connect.
    pub(crate) fn listen(path: &Path) -> rustix::io::Result<Self> {
        let socket = crate::plug::own_socket(SocketType::STREAM, path)?;
        // One other end at a time: the next one waits its turn.
        rustix::net::listen(&socket, 1)?;
        Ok(Self::Listener(socket))
    }

    /// The other end, if it is there now.
    fn next(&self) -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match self {
            Self::Listener(listener) => rustix::net::accept_with(listener, flags).ok(),
            Self::Path(path) => {
                let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
                rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_path()).ok()?).ok()?;
                Some(socket)
            }
        }
    }
}

/// The sending side of a connection.
struct Sender(Arc<OwnedFd>);

impl Transmit for Sender {
    fn transmit(&mut self, queue: &mut Outgoing) -> io::Result<()> {
        while !queue.waiting().is_empty() {
            match rustix::net::send(&*self.0, queue.waiting(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) => queue.sent(n),
                Err(Errno::INTR) => {}
                Err(error) if would_block(error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Runs the wire on the calling thread until `stop` can be read.
pub(crate) fn run(source: &Source, line: &Line, stop: BorrowedFd<'_>, notify: &dyn Notify) {
    let mut buffer = vec![0; READ];
    loop {
        if let Some(socket) = source.next() {
            let socket = Arc::new(socket);
            line.open(Box::new(Sender(Arc::clone(&socket))), notify);
            let stopped = connected(&socket, line, stop, notify, &mut buffer);
            line.close(notify);
            if stopped {
                return;
            }
            continue;
        }
        let listener = match source {
            Source::Listener(listener) => Some((listener.as_fd(), PollFlags::IN)),
            Source::Path(_) => None,
        };
        let pause = listener.is_none().then_some(RETRY);
        if wait(stop, line, listener, pause).stop {
            return;
        }
    }
}

/// Serves one connection to its end. True: the wire is to stop.
fn connected(socket: &Arc<OwnedFd>, line: &Line, stop: BorrowedFd<'_>, notify: &dyn Notify, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    let mut linger = Linger(LINGER);
    let mut patience = Patience::new();
    // Something is read and not looked at yet.
    let mut more = false;
    loop {
        let mut want = PollFlags::empty();
        want.set(PollFlags::IN, !line.is_paused());
        let out = line.out_state();
        want.set(PollFlags::OUT, out.unsent);
        if out.failed {
            return false;
        }
        let time = patience.left(line, out, notify);
        let time = if more { Some(Duration::ZERO) } else { time };
        let Woken { stop, socket: events, .. } = wait(stop, line, Some((socket.as_fd(), want)), time);
        if stop {
            return true;
        }
        if events.contains(PollFlags::OUT) {
            line.transmit(notify);
        }
        let hung_up = events.intersects(PollFlags::HUP | PollFlags::ERR);
        match take_in(socket, line, notify, buffer, &mut filled) {
            Came::End => return false,
            Came::NoRoom if hung_up && !linger.take() => return false,
            came => more = matches!(came, Came::More),
        }
    }
}

/// What came of reading.
enum Came {
    /// There may be more, and what was read last is not looked at yet.
    More,
    /// There is no more for now.
    All,
    /// Nobody takes what is there.
    NoRoom,
    /// The connection is to end.
    End,
}

/// Reads what there is, up to a limit, and takes the frames in it. `filled` bytes at the front of `buffer` are no whole frames
/// yet, or there was no room for them.
fn take_in(socket: &OwnedFd, line: &Line, notify: &dyn Notify, buffer: &mut [u8], filled: &mut usize) -> Came {
    // A stream that gave less than there was room for has no more for now.
    let mut drained = false;
    for _ in 0..READS {
        match take_frames(line, &mut buffer[..*filled]) {
            Err(()) => return Came::End,
            Ok(used) => {
                buffer.copy_within(used..*filled, 0);
                *filled -= used;
                if used > 0 {
                    notify.arrived();
                }
            }
        }
        if line.is_paused() || *filled == buffer.len() {
            return Came::NoRoom;
        }
        if drained {
            return Came::All;
        }
        match rustix::net::recv(socket, &mut buffer[*filled..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Came::End,
            Ok((n, _)) => {
                *filled += n;
                drained = *filled < buffer.len();
            }
            Err(error) if would_block(error) => return Came::All,
            Err(_) => return Came::End,
        }
    }
    Came::More
}

/// Takes the whole frames from the front of `bytes`, as far as there is room; says how many bytes they were.
fn take_frames(line: &Line, bytes: &mut [u8]) -> Result<usize, ()> {
    let mut used = 0;
    while let Some((prefix, rest)) = bytes[used..].split_first_chunk::<PREFIX>() {
        let len = u32::from_be_bytes(*prefix) as usize;
        if len == 0 || len > MAX_FRAME {
            line.violation(&format!("a frame of {len} bytes"));
            return Err(());
        }
        let Some(frame) = rest.get(..len) else { break };
        if !line.push(frame) {
            break;
        }
        used += PREFIX + len;
    }
    Ok(used)
}

/// What came last from an end that is gone is given a moment to be taken, not for ever.
struct Linger(u32);

impl Linger {
    /// Waits a little. False: it was long enough.
    fn take(&mut self) -> bool {
        std::thread::sleep(Duration::from_millis(1));
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}
