//! QEMU's `-netdev dgram` over unix sockets: one frame a datagram, from a socket of one's own to the other end's.
//!
//! Datagram sockets do not say when the other end goes. So the wire asks: connecting to the other end's path succeeds
//! exactly when somebody has bound it, and finds the new socket after a restart. Nothing is sent for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, SocketType};

use crate::line::{Line, Notify, Transmit, would_block};
use crate::poll::{Patience, wait};
use crate::queue::{MAX_FRAME, Outgoing, PREFIX};

/// How often the wire asks whether the other end is there.
const ASK: Duration = Duration::from_millis(100);
/// Datagrams read before other things are looked after.
const READS: usize = 64;

/// The two sockets.
pub(crate) struct Pair {
    socket: Arc<OwnedFd>,
    remote: PathBuf,
}

impl Pair {
    /// A socket at `local` that sends to `remote`. Only the same user may send to it.
    pub(crate) fn bind(local: &Path, remote: PathBuf) -> rustix::io::Result<Self> {
        let socket = crate::plug::own_socket(SocketType::DGRAM, local)?;
        Ok(Self { socket: Arc::new(socket), remote })
    }

    /// Whether the other end is there; frames go to it from now on.
    fn find(&self) -> bool {
        let address = SocketAddrUnix::new(self.remote.as_path());
        address.and_then(|address| rustix::net::connect(&*self.socket, &address)).is_ok()
    }
}

/// The sending side.
struct Sender(Arc<OwnedFd>);

impl Transmit for Sender {
    fn transmit(&mut self, queue: &mut Outgoing) -> io::Result<()> {
        while let Some(frame) = queue.first() {
            match rustix::net::send(&*self.0, frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) | Err(Errno::MSGSIZE) => {}
                Err(Errno::INTR) => continue,
                Err(error) if would_block(error) => break,
                Err(error) => return Err(error.into()),
            }
            let len = PREFIX + frame.len();
            queue.sent(len);
        }
        Ok(())
    }
}

/// Runs the wire on the calling thread until `stop` can be read.
pub(crate) fn run(pair: &Pair, line: &Line, stop: BorrowedFd<'_>, notify: &dyn Notify) {
    let mut buffer = vec![0; MAX_FRAME + 1];
    let mut held = None;
    let mut ask = Instant::now();
    let mut patience = Patience::new();
    loop {
        let out = line.out_state();
        if ask <= Instant::now() || out.failed {
            ask = Instant::now() + ASK;
            let found = pair.find();
            if line.is_up() && (out.failed || !found) {
                line.close(notify);
                held = None;
            }
            if found && !line.is_up() {
                line.open(Box::new(Sender(Arc::clone(&pair.socket))), notify);
            }
        }
        let mut want = PollFlags::empty();
        want.set(PollFlags::IN, !line.is_paused());
        want.set(PollFlags::OUT, out.unsent && line.is_up());
        let until_ask = ask.saturating_duration_since(Instant::now());
        let time = patience.left(line, out, notify).map_or(until_ask, |left| left.min(until_ask));
        let woken = wait(stop, line, Some((pair.socket.as_fd(), want)), Some(time));
        if woken.stop {
            if line.is_up() {
                line.close(notify);
            }
            return;
        }
        if woken.socket.contains(PollFlags::OUT) {
            line.transmit(notify);
        }
        take(pair, line, notify, &mut buffer, &mut held);
    }
}

/// Takes datagrams as far as there is room. One that there was no room for stays in `held`, a length in `buffer`.
fn take(pair: &Pair, line: &Line, notify: &dyn Notify, buffer: &mut [u8], held: &mut Option<usize>) {
    let mut any = false;
    for _ in 0..READS {
        let len = match held.take() {
            Some(len) => len,
            None => match rustix::net::recv(&*pair.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => len,
                Err(_) => break,
            },
        };
        if len == 0 || len > MAX_FRAME {
            line.violation(&format!("a datagram of {len} bytes or more"));
            continue;
        }
        // Without a link nobody takes it.
        if line.is_up() && !line.push(&buffer[..len]) {
            *held = Some(len);
            break;
        }
        any = true;
    }
    if any {
        notify.arrived();
    }
}
