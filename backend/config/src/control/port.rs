//! A guest's side of its card's control port: a virtio port, which one program at a time can have open.
//!
//! Each call is a turn of its own: open, ask, read the answer, close. A program that is killed in its turn leaves half a line
//! behind, or an answer that nobody reads; the next one ends that line, and skips whatever is not the answer to its own call.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ClientError, LineError, MAX_ANSWER, MAX_CALL, Reply, Request};
use crate::function::FunctionName;

/// How long others may have the port before this one gives up, and how long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a port that is open elsewhere is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// How often what is followed is asked for.
const FOLLOW: Duration = Duration::from_millis(100);

/// The port, between turns.
#[derive(Debug)]
pub(super) struct Port {
    path: PathBuf,
    followed: Followed,
    /// An answer that has come and not been taken.
    waiting: Option<Reply>,
}

/// What goes on being asked for.
#[derive(Debug)]
enum Followed {
    Nothing,
    Commands { next: u64, function: Option<FunctionName> },
    Capture { capture: u64, end: bool },
}

impl Port {
    pub(super) fn new(path: &Path) -> Port {
        Port { path: path.to_owned(), followed: Followed::Nothing, waiting: None }
    }

    /// Asks; what is to be followed begins.
    pub(super) fn call(&mut self, request: Request) -> Result<Reply, ClientError> {
        match request {
            Request::Commands { since, follow: true, function } => {
                self.followed = Followed::Commands { next: since, function };
                self.again()
            }
            Request::Capture { at, snaplen, count, .. } => {
                match self.turn(Request::CaptureBegin { at, snaplen, count })? {
                    Reply::CaptureBegun { capture } => {
                        self.followed = Followed::Capture { capture, end: false };
                        self.again()
                    }
                    other => Ok(other),
                }
            }
            request => self.turn(request),
        }
    }

    /// Waits for something new of what is followed.
    pub(super) fn follow(&mut self) -> Result<Reply, ClientError> {
        while self.waiting.is_none() {
            self.comes(FOLLOW)?;
        }
        self.waiting.take().ok_or(ClientError::Gone)
    }

    /// Whether something new of what is followed came within `limit`.
    pub(super) fn comes(&mut self, limit: Duration) -> Result<bool, ClientError> {
        if self.waiting.is_none() {
            sleep(limit.min(FOLLOW));
            self.waiting = match self.again()? {
                Reply::Commands { records, .. } if records.is_empty() => None,
                Reply::Captured { frames, done: false, .. } if frames.is_empty() => None,
                news => Some(news),
            };
        }
        Ok(self.waiting.is_some())
    }

    /// Nothing that happens from now on is wanted.
    pub(super) fn finish(&mut self) {
        if let Followed::Capture { end, .. } = &mut self.followed {
            *end = true;
        }
    }

    fn again(&mut self) -> Result<Reply, ClientError> {
        match self.followed {
            Followed::Nothing => Err(ClientError::Gone),
            Followed::Commands { next: since, function } => {
                let reply = self.turn(Request::Commands { since, follow: false, function })?;
                if let (Reply::Commands { next: further, .. }, Followed::Commands { next, .. }) =
                    (&reply, &mut self.followed)
                {
                    *next = *further;
                }
                Ok(reply)
            }
            Followed::Capture { capture, end } => self.turn(Request::CaptureTake { capture, end }),
        }
    }

    /// One call with the port open.
    fn turn(&self, request: Request) -> Result<Reply, ClientError> {
        match turn(&self.path, &request)? {
            Reply::Error { code, message } => Err(ClientError::Refused { code, message }),
            reply => Ok(reply),
        }
    }
}

/// A call as it is written.
#[derive(Serialize)]
struct Asked<'a, Q> {
    id: u64,
    request: &'a Q,
}

/// An answer as it is read.
#[derive(Deserialize)]
struct Answered<R> {
    id: u64,
    reply: R,
}

/// One call on the port at `path` whose host side is no card: a line `{"id": N, "request": …}`, answered with a line
/// `{"id": N, "reply": …}`. It waits for its turn.
///
/// # Errors
/// There is no such port, it stays taken, or the connection failed.
pub fn turn<Q: Serialize, R: DeserializeOwned>(path: &Path, request: &Q) -> Result<R, ClientError> {
    let mut port = Open { file: open(path)?, deadline: Instant::now() + PATIENCE };
    // No other program's, nor an earlier one's.
    let id = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, &Asked { id, request }).map_err(LineError::from)?;
    line.push(b'\n');
    if line.len() > MAX_CALL {
        return Err(LineError::TooLong(MAX_CALL).into());
    }
    port.write_all(&line).map_err(LineError::from)?;
    answer_to(id, &mut BufReader::new(port))
}

fn open(path: &Path) -> Result<File, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => sleep(RETRY),
            Err(source) => return Err(ClientError::NoPort { path: path.to_owned(), source }),
        }
    }
}

/// The answer to call `id`; whatever else comes is of no concern.
fn answer_to<R: DeserializeOwned>(id: u64, from: &mut impl BufRead) -> Result<R, ClientError> {
    loop {
        let mut line = Vec::new();
        from.take(MAX_ANSWER as u64).read_until(b'\n', &mut line).map_err(LineError::from)?;
        if line.is_empty() {
            return Err(ClientError::Gone);
        }
        if line.last() != Some(&b'\n') && line.len() >= MAX_ANSWER {
            return Err(LineError::TooLong(MAX_ANSWER).into());
        }
        match serde_json::from_slice::<Answered<R>>(&line) {
            Ok(answer) if answer.id == id => return Ok(answer.reply),
            _ => {}
        }
    }
}

/// An open port that does not block, made to wait until a deadline.
struct Open {
    file: File,
    deadline: Instant,
}

impl Open {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.file, flags)];
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            // The host's end is closed.
            Ok(_) if fds[0].revents().contains(PollFlags::HUP) && !fds[0].revents().contains(PollFlags::IN) => {
                Err(ErrorKind::BrokenPipe.into())
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.file).read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                other => return other,
            }
        }
    }
}

impl Write for Open {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match (&self.file).write(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_predecessor_left_is_skipped() {
        let pong = r#"{"id":7,"reply":{"kind":"pong"}}"#;
        let left = format!("ree\":[1,2]}}}}\n{{\"id\":6,\"reply\":{{\"kind\":\"pong\"}}}}\n\n{pong}\n");
        assert_eq!(answer_to::<Reply>(7, &mut left.as_bytes()).unwrap(), Reply::Pong {});
        assert!(matches!(answer_to::<Reply>(8, &mut left.as_bytes()), Err(ClientError::Gone)));
    }

    #[test]
    fn a_port_that_is_not_there_is_named() {
        let error = Port::new(Path::new("/nonexistent/port")).call(Request::Ping {}).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/port"), "{error}");
    }
}
