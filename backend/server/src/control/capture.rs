//! `capture`: a tap in the card, emptied to a client until one of them has enough.

use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlx5emu_card::capture::{self, Captured, Point, Tap};
use mlx5emu_config::control::{
    Answer, Bytes, CapturedFrame, Direction, ErrorCode, LineError, MAX_ANSWER, MAX_SNAPLEN, Reply, nearest_name,
    write_line,
};

use rustix::net::{RecvFlags, recv};

use super::View;

/// How often the tap is looked at: what passes in this time must fit into it.
const PERIOD: Duration = Duration::from_millis(5);
/// Bytes of frames in an answer: twice as many digits, and what describes the frames, stay below [`MAX_ANSWER`].
const BATCH: usize = 512 << 10;

/// A capture that goes on.
pub(super) struct Capture<'a> {
    view: &'a View,
    tap: Arc<Tap>,
    /// Frames are only given when it ends.
    held: bool,
    /// The wall clock when the card's clock was 0, ns.
    epoch: u64,
}

/// Begins to capture at a port or a function's vport.
///
/// # Errors
/// The answer to a request that cannot be met.
pub(super) fn begin<'a>(
    view: &'a View,
    at: &str,
    snaplen: u32,
    count: Option<u64>,
    last: Option<u32>,
) -> Result<Capture<'a>, Reply> {
    let point = point(view, at).map_err(|message| Reply::error(ErrorCode::NotFound, message))?;
    let snaplen = snaplen.min(MAX_SNAPLEN) as usize;
    let tap =
        view.engine().gate().read().tap(point, snaplen, count, last.map(|last| last as usize)).ok_or_else(|| {
            Reply::error(ErrorCode::TooMuch, format!("{} captures are running: end one of them", capture::MAX_TAPS))
        })?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    Ok(Capture { view, tap, held: last.is_some(), epoch: wall.saturating_sub(view.engine().clock().now()) })
}

/// The place that `at` names, or a sentence about those that there are.
fn point(view: &View, at: &str) -> Result<Point, String> {
    let card = view.card();
    let ports: Vec<String> = (0..card.ports.len()).map(|n| format!("p{n}")).collect();
    let functions: Vec<String> = card.functions().iter().map(ToString::to_string).collect();
    if let Some(n) = ports.iter().position(|name| name == at) {
        return Ok(Point::Port(n));
    }
    if let Some(f) = functions.iter().position(|name| name == at) {
        return Ok(Point::Vport(f));
    }
    let names = || ports.iter().chain(&functions).map(String::as_str);
    let shown: String = at.chars().take(64).collect();
    Err(match nearest_name(at, names()) {
        Some(near) => format!("there is no port or function '{shown}'; did you mean '{near}'?"),
        None => {
            let known = names().take(32).collect::<Vec<_>>().join(", ");
            format!("there is no port or function '{shown}': there are {known}")
        }
    })
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        self.view.engine().gate().read().untap(&self.tap);
    }
}

impl Capture<'_> {
    /// What has passed since the last time, `bytes` of frames at most.
    pub(super) fn take(&self, bytes: usize) -> Reply {
        let taken = self.tap.take(bytes);
        let frames = taken.frames.into_iter().map(|frame| self.shown(frame)).collect();
        Reply::Captured { frames, seen: taken.seen, lost: taken.lost, done: !taken.more }
    }

    /// Nothing that passes from now on is wanted.
    pub(super) fn close(&self) {
        self.tap.close();
    }

    /// Answers call `id` with frames as they come, until as many came as were wanted or the client has enough.
    pub(super) fn follow(self, stream: &mut BufReader<UnixStream>, id: u64) -> Result<(), LineError> {
        let mut first = true;
        if self.held {
            let nothing = Reply::Captured { frames: Vec::new(), seen: 0, lost: 0, done: false };
            write_line(stream.get_mut(), &Answer { id, reply: nothing }, MAX_ANSWER)?;
            first = false;
            // As below: any word of the client's is the end.
            while let Err(error) = stream.read(&mut [0]) {
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error.into());
                }
            }
            self.tap.close();
        }
        stream.get_ref().set_read_timeout(Some(PERIOD))?;
        loop {
            let reply = self.take(BATCH);
            let Reply::Captured { frames, done, .. } = &reply else { return Ok(()) };
            let (waiting, done) = (frames.is_empty(), *done);
            if first || !waiting || done {
                write_line(stream.get_mut(), &Answer { id, reply }, MAX_ANSWER)?;
                if done {
                    return Ok(());
                }
            }
            // Whatever the client sends or does not send any more ends it; what has passed by then, it gets.
            let word = match waiting && !first {
                true => stream.read(&mut [0]),
                false => recv(stream.get_ref(), &mut [0], RecvFlags::DONTWAIT).map(|(n, _)| n).map_err(io::Error::from),
            };
            match word {
                Ok(_) => self.tap.close(),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
            first = false;
        }
    }

    fn shown(&self, frame: Captured) -> CapturedFrame {
        CapturedFrame {
            time_ns: self.epoch.saturating_add(frame.time),
            direction: match frame.direction {
                capture::Direction::Inbound => Direction::Inbound,
                capture::Direction::Outbound => Direction::Outbound,
            },
            len: u32::try_from(frame.len).unwrap_or(u32::MAX),
            data: Bytes(frame.data.into()),
            dropped: frame.reason.map(|reason| reason.to_string()),
            lost: frame.lost,
        }
    }
}
