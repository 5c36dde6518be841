//! QEMU's monitor for programs (QMP): the client's side.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Lines that are read for one answer: events come in between.
const MAX_LINES: usize = 256;
/// Bytes of a line.
const MAX_LINE: u64 = 64 << 10;

/// A connection to a monitor, which serves one at a time.
#[derive(Debug)]
pub struct Qmp {
    lines: BufReader<UnixStream>,
    /// When it has taken too long.
    end: Instant,
}

impl Qmp {
    /// Connects to the monitor at `path`. All that is done with it may take as long as `patience`.
    ///
    /// # Errors
    /// Nobody is there, or does not answer as a monitor does.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        Self::over(UnixStream::connect(path)?, patience)
    }

    /// The same with a connection that is there.
    ///
    /// # Errors
    /// Whoever is there does not answer as a monitor does.
    pub fn over(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_write_timeout(Some(patience))?;
        let mut qmp = Self { lines: BufReader::new(stream), end: Instant::now() + patience };
        qmp.execute("qmp_capabilities", &[])?;
        Ok(qmp)
    }

    /// Executes a command whose arguments are texts; what it returns.
    ///
    /// # Errors
    /// What the monitor says, or that it has said nothing in time.
    pub fn execute(&mut self, command: &str, arguments: &[(&str, &str)]) -> io::Result<Value> {
        let arguments: Map<_, _> = arguments.iter().map(|(name, text)| ((*name).to_string(), (*text).into())).collect();
        let text = json!({ "execute": command, "arguments": arguments });
        self.lines.get_mut().write_all(format!("{text}\n").as_bytes())?;
        for _ in 0..MAX_LINES {
            let mut answer: Value = serde_json::from_str(&self.line()?).map_err(io::Error::other)?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("QEMU's monitor says to {command}: {}", error["desc"])));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
        Err(io::Error::other("QEMU's monitor does not answer"))
    }

    fn line(&mut self) -> io::Result<String> {
        let left = self.end.saturating_duration_since(Instant::now());
        let late = || io::Error::new(ErrorKind::TimedOut, "QEMU's monitor does not answer in time");
        if left.is_zero() {
            return Err(late());
        }
        self.lines.get_ref().set_read_timeout(Some(left))?;
        let mut line = String::new();
        match Read::take(&mut self.lines, MAX_LINE).read_line(&mut line) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(line),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(late()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a monitor is told that greets, and says `answers` line by line, one for each command.
    fn told(answers: &'static [&'static str], talk: impl FnOnce(UnixStream)) -> Vec<String> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = std::thread::spawn(move || {
            (&theirs).write_all(b"{\"QMP\":{}}\n").unwrap();
            let mut seen = Vec::new();
            for (line, answer) in BufReader::new(&theirs).lines().zip(answers) {
                seen.push(line.unwrap());
                (&theirs).write_all(format!("{{\"event\":\"X\"}}\n{answer}\n").as_bytes()).unwrap();
            }
            seen
        });
        talk(ours);
        qemu.join().unwrap()
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_command_has_its_answer_among_events() {
        let seen = told(&[r#"{"return":{}}"#, r#"{"return":"x"}"#], |stream| {
            let mut qmp = Qmp::over(stream, PATIENCE).unwrap();
            assert_eq!(qmp.execute("do", &[("id", "a\"b")]).unwrap(), "x");
        });
        assert_eq!(seen[1], r#"{"arguments":{"id":"a\"b"},"execute":"do"}"#);
    }

    #[test]
    fn what_the_monitor_refuses_is_told_in_its_words() {
        told(&[r#"{"return":{}}"#, r#"{"error":{"desc":"no such thing"}}"#], |stream| {
            let error = Qmp::over(stream, PATIENCE).unwrap().execute("do", &[]).unwrap_err();
            assert!(error.to_string().contains("no such thing"), "{error}");
        });
    }

    #[test]
    fn one_that_says_nothing_is_waited_for_so_long() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(Qmp::over(ours, Duration::from_millis(20)).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
