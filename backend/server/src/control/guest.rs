//! The guests' control socket: QEMU hands it to a guest as a virtio port, and programs in the guest take turns on it.
//!
//! The guest is hostile: its lines are bounded, it can ask only for what [`Request::for_guests`] offers, and only so often.
//! A connection is for the life of the machine, so nothing that comes over it ends it; and the guest may leave an answer
//! unread for as long as it likes, because nobody else waits for this thread.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Call, ErrorCode, LineError, MAX_CALL, Reply, Request};

use super::capture::{self, Capture};
use super::{View, answer, commands};

/// Calls a second that are answered without delay.
const RATE: u32 = 500;
/// Captures at a time.
const MAX_CAPTURES: usize = 4;
/// A capture that has not been asked for so long has lost its program.
const ABANDONED: Duration = Duration::from_secs(10);
/// Bytes of frames in one answer: a turn on the port is short.
const BATCH: usize = 64 << 10;

/// Answers a guest until its machine ends or the server does.
pub(super) fn converse(stream: UnixStream, view: &View) -> Result<(), LineError> {
    // Nobody minds a guest that does not read; one that is silent is woken for, to end captures.
    stream.set_write_timeout(None)?;
    stream.set_read_timeout(Some(ABANDONED))?;
    let mut stream = BufReader::new(stream);
    let mut guest = Guest { view, captures: BTreeMap::new(), last: 0, window: Instant::now(), calls: 0 };
    let mut line = Line::default();
    loop {
        guest.forget_abandoned();
        match line.read(&mut stream) {
            Ok(Some(Text::Whole)) => {
                let (id, request) = understand(&line.text);
                guest.slow_down();
                match request {
                    Ok(Request::Commands { since, follow: false, function }) => {
                        commands(&mut stream, view, id, since, function)?;
                    }
                    Ok(request) => answer(&mut stream, id, guest.reply(request))?,
                    Err(reply) => answer(&mut stream, id, reply)?,
                }
            }
            Ok(Some(Text::TooLong)) => {
                let reply = Reply::error(ErrorCode::BadCall, LineError::TooLong(MAX_CALL).to_string());
                answer(&mut stream, 0, reply)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
    }
}

/// The call in a line, and the number under which it is answered.
fn understand(line: &[u8]) -> (u64, Result<Request, Reply>) {
    let bad = |message: String| Reply::error(ErrorCode::BadCall, message);
    let value: serde_json::Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return (0, Err(bad(LineError::from(error).to_string()))),
    };
    let id = value.get("id").and_then(serde_json::Value::as_u64).unwrap_or(0);
    match serde_json::from_value::<Call>(value) {
        Ok(Call { request, .. }) if request.for_guests() => (id, Ok(request)),
        Ok(_) => (id, Err(bad("this is not offered to a guest: ask on the host, with mlx5emu ctl".into()))),
        Err(error) => (id, Err(bad(LineError::from(error).to_string()))),
    }
}

struct Guest<'a> {
    view: &'a View,
    captures: BTreeMap<u64, (Capture<'a>, Instant)>,
    /// The number of the last capture.
    last: u64,
    /// When the second began in which `calls` came.
    window: Instant,
    calls: u32,
}

impl Guest<'_> {
    fn reply(&mut self, request: Request) -> Reply {
        match request {
            Request::CaptureBegin { at, snaplen, count } => self.begin(&at, snaplen, count),
            Request::CaptureTake { capture, end } => self.take(capture, end),
            request => self.view.answer(request),
        }
    }

    fn begin(&mut self, at: &str, snaplen: u32, count: Option<u64>) -> Reply {
        if self.captures.len() >= MAX_CAPTURES {
            let message = format!("{MAX_CAPTURES} captures are running in this guest: end one of them");
            return Reply::error(ErrorCode::TooMuch, message);
        }
        match capture::begin(self.view, at, snaplen, count, None) {
            Ok(capture) => {
                self.last += 1;
                self.captures.insert(self.last, (capture, Instant::now()));
                Reply::CaptureBegun { capture: self.last }
            }
            Err(reply) => reply,
        }
    }

    fn take(&mut self, number: u64, end: bool) -> Reply {
        let Some((capture, asked)) = self.captures.get_mut(&number) else {
            return Reply::error(ErrorCode::NotFound, format!("there is no capture {number}: it has ended"));
        };
        *asked = Instant::now();
        if end {
            capture.close();
        }
        let reply = capture.take(BATCH);
        if let Reply::Captured { done: true, .. } = reply {
            self.captures.remove(&number);
        }
        reply
    }

    fn forget_abandoned(&mut self) {
        self.captures.retain(|_, (_, asked)| asked.elapsed() < ABANDONED);
    }

    /// Who asks too often waits for the next second.
    fn slow_down(&mut self) {
        self.calls += 1;
        let spent = self.window.elapsed();
        if spent >= Duration::from_secs(1) {
            (self.window, self.calls) = (Instant::now(), 1);
        } else if self.calls > RATE {
            sleep(Duration::from_secs(1).saturating_sub(spent));
        }
    }
}

/// A line as it comes, over as many reads as it takes.
#[derive(Default)]
struct Line {
    text: Vec<u8>,
    /// The text is complete and belongs to the last call.
    done: bool,
    /// The line is too long; the rest of it is skipped.
    skipping: bool,
}

enum Text {
    Whole,
    TooLong,
}

impl Line {
    /// The next line that is not empty; `None` at the end. After an error that says that nothing came, it goes on.
    fn read(&mut self, from: &mut impl BufRead) -> std::io::Result<Option<Text>> {
        if std::mem::take(&mut self.done) {
            self.text.clear();
        }
        loop {
            let bytes = from.fill_buf()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.text.len() + part.len() > MAX_CALL {
                self.skipping = true;
                self.text.clear();
            } else if !self.skipping {
                self.text.extend_from_slice(part);
            }
            let used = end.map_or(bytes.len(), |end| end + 1);
            from.consume(used);
            if end.is_some() {
                if std::mem::take(&mut self.skipping) {
                    return Ok(Some(Text::TooLong));
                }
                if !self.text.is_empty() {
                    self.done = true;
                    return Ok(Some(Text::Whole));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_empty_ones_are_skipped_and_long_ones_do_not_end_it() {
        let long = "x".repeat(3 * MAX_CALL);
        let text = format!("\n\n{{}}\n{long}\nlast\nhalf");
        // A buffer that is smaller than any line.
        let mut from = BufReader::with_capacity(3, text.as_bytes());
        let mut line = Line::default();
        assert!(matches!(line.read(&mut from).unwrap(), Some(Text::Whole)) && line.text == b"{}");
        assert!(matches!(line.read(&mut from).unwrap(), Some(Text::TooLong)));
        assert!(matches!(line.read(&mut from).unwrap(), Some(Text::Whole)) && line.text == b"last");
        assert!(line.read(&mut from).unwrap().is_none());
    }

    #[test]
    fn what_is_not_offered_is_refused_under_the_calls_number() {
        let refused = |text: &str| {
            let (id, request) = understand(text.as_bytes());
            (id, request.is_err())
        };
        assert_eq!(refused(r#"{"id":3,"request":{"verb":"capture","at":"p0"}}"#), (3, true));
        assert_eq!(refused(r#"{"id":4,"request":{"verb":"commands","follow":true}}"#), (4, true));
        assert_eq!(refused(r#"{"id":5,"request":{"verb":"shutdown"}}"#), (5, true));
        assert_eq!(refused("ree\":1}"), (0, true));
        assert_eq!(refused(r#"{"id":6,"request":{"verb":"inspect"}}"#), (6, false));
    }
}
