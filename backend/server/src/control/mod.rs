//! The control socket: one thread that accepts, one for each client. None of them holds anything that the engine waits
//! for longer than it takes to copy what is asked for.

mod capture;
mod decode;
mod fault;
mod guest;
mod inject;
mod view;

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind, Read};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use mlx5emu_config::FunctionName;
use mlx5emu_config::control::{
    Answer, Call, ErrorCode, Hello, LineError, MAX_ANSWER, MAX_CALL, MAX_RECORDS, Reply, Request, read_line, write_line,
};
use mlx5emu_vfio_user::{FunctionMemory, Stop};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};

pub use view::View;

type Card = mlx5emu_card::Card<FunctionMemory>;

/// Clients at a time.
const MAX_CLIENTS: usize = 16;
/// How long a client may leave its answer unread.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a client that follows is looked after.
const FOLLOW: Duration = Duration::from_millis(50);

/// The clients that are there, so that they can be hung up on.
type Clients = Arc<Mutex<HashMap<u64, UnixStream>>>;

/// Who is at the other end of a control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Programs of the host.
    Host,
    /// Guests.
    Guest,
}

/// Serves a control socket on the calling thread until `stop`, then hangs up on all clients.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(listener: &UnixListener, kind: Kind, view: &Arc<View>, stop: &Stop) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let clients = Clients::default();
    let mut number = 0u64;
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[1].revents().is_empty() {
            break;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                number += 1;
                if let Err(error) = admit(stream, kind, number, view, &clients) {
                    log::warn!("control: a client cannot be served: {error}");
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => {
                log::warn!("control: a client cannot be accepted: {error}");
                // Out of descriptors: the listener stays readable, so do not spin.
                std::thread::sleep(FOLLOW);
            }
        }
    }
    for stream in clients.lock().values() {
        // Whoever has gone already is no loss.
        let _ = stream.shutdown(Shutdown::Both);
    }
    Ok(())
}

fn admit(stream: UnixStream, kind: Kind, number: u64, view: &Arc<View>, clients: &Clients) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = stream;
    if clients.lock().len() >= MAX_CLIENTS {
        if kind == Kind::Guest {
            return Err(io::Error::other(format!("{MAX_CLIENTS} guests are connected")));
        }
        let message = format!("{MAX_CLIENTS} clients are connected: close one of them");
        let answer = Answer { id: 0, reply: Reply::error(ErrorCode::TooMuch, message) };
        // One short message to a fresh socket: it does not wait.
        return write_line(&mut stream, &Hello::of(view.card()), MAX_ANSWER)
            .and_then(|()| write_line(&mut stream, &answer, MAX_ANSWER))
            .map_err(io::Error::other);
    }
    clients.lock().insert(number, stream.try_clone()?);
    let left = Departure { clients: Arc::clone(clients), number };
    let view = Arc::clone(view);
    Builder::new().name("control".into()).spawn(move || {
        let _left = left;
        let ended = match kind {
            Kind::Host => converse(stream, &view),
            Kind::Guest => guest::converse(stream, &view),
        };
        if let Err(error) = ended {
            log::debug!("control: a client's connection ended: {error}");
        }
    })?;
    Ok(())
}

/// Takes a client off the list when its thread ends, in whatever way.
struct Departure {
    clients: Clients,
    number: u64,
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.number);
    }
}

fn converse(stream: UnixStream, view: &View) -> Result<(), LineError> {
    let mut stream = BufReader::new(stream);
    write_line(stream.get_mut(), &Hello::of(view.card()), MAX_ANSWER)?;
    loop {
        let Call { id, request } = match read_line(&mut stream, MAX_CALL) {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(()),
            Err(error @ (LineError::Json(_) | LineError::TooLong(_))) => {
                let reply = Reply::error(ErrorCode::BadCall, error.to_string());
                write_line(stream.get_mut(), &Answer { id: 0, reply }, MAX_ANSWER)?;
                if matches!(error, LineError::TooLong(_)) {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        match request {
            Request::Commands { since, follow: false, function } => {
                commands(&mut stream, view, id, since, function)?;
            }
            Request::Commands { since, follow: true, function } => {
                return follow(&mut stream, view, id, since, function);
            }
            Request::Capture { at, snaplen, count, last } => match capture::begin(view, &at, snaplen, count, last) {
                Ok(capture) => return capture.follow(&mut stream, id),
                Err(reply) => answer(&mut stream, id, reply)?,
            },
            request => answer(&mut stream, id, view.answer(request))?,
        }
    }
}

fn answer(stream: &mut BufReader<UnixStream>, id: u64, reply: Reply) -> Result<(), LineError> {
    match write_line(stream.get_mut(), &Answer { id, reply }, MAX_ANSWER) {
        Err(LineError::TooLong(max)) => {
            let message = format!("the answer would be longer than {max} bytes: ask for a part, by its path");
            let reply = Reply::error(ErrorCode::TooMuch, message);
            write_line(stream.get_mut(), &Answer { id, reply }, MAX_ANSWER)
        }
        other => other,
    }
}

/// Answers with as many records as fit; says where to go on, and whether that was an error.
fn commands(
    stream: &mut BufReader<UnixStream>,
    view: &View,
    id: u64,
    since: u64,
    function: Option<FunctionName>,
) -> Result<Option<u64>, LineError> {
    let mut limit = MAX_RECORDS;
    loop {
        let reply = view.commands(since, function, limit);
        let next = if let Reply::Commands { next, .. } = &reply { Some(*next) } else { None };
        match write_line(stream.get_mut(), &Answer { id, reply }, MAX_ANSWER) {
            Err(LineError::TooLong(_)) if limit > 1 => limit /= 2,
            other => return other.map(|()| next),
        }
    }
}

/// Answers whenever there are new records, until the client hangs up.
fn follow(
    stream: &mut BufReader<UnixStream>,
    view: &View,
    id: u64,
    since: u64,
    function: Option<FunctionName>,
) -> Result<(), LineError> {
    let Some(mut next) = commands(stream, view, id, since, function)? else { return Ok(()) };
    stream.get_ref().set_read_timeout(Some(FOLLOW))?;
    loop {
        // Nothing more is expected of the client: a byte or the end of the stream ends it.
        match stream.read(&mut [0]) {
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        match view.commands(next, function, 1) {
            Reply::Commands { records, next: examined, .. } if records.is_empty() => next = examined,
            Reply::Commands { .. } => match commands(stream, view, id, next, function)? {
                Some(further) => next = further,
                None => return Ok(()),
            },
            _ => return Ok(()),
        }
    }
}
