//! Lines of JSON of a bounded length.

use std::io::{self, BufRead, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is longer than allowed. The rest of it is still unread: the connection must end.
    #[error("a line of more than {0} bytes")]
    TooLong(usize),
    /// The line is not what was expected. It has been read whole: the connection can go on.
    #[error("not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The stream failed, or ended inside a line.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one line of at most `max` bytes, line break included; `None` at the end of the stream.
///
/// # Errors
/// The line is too long or not a `T`, or the stream failed or ended before the line break.
pub fn read_line<T: DeserializeOwned>(from: &mut impl BufRead, max: usize) -> Result<Option<T>, LineError> {
    let mut line = Vec::new();
    from.take(max as u64).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) if line.len() >= max => Err(LineError::TooLong(max)),
        Some(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// Writes `value` as one line with one write, and flushes.
///
/// # Errors
/// The line would be longer than `max` bytes (nothing is written), or the stream failed.
pub fn write_line<T: Serialize>(to: &mut impl Write, value: &T, max: usize) -> Result<(), LineError> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    if line.len() > max {
        return Err(LineError::TooLong(max));
    }
    to.write_all(&line)?;
    Ok(to.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_whole() {
        let mut ok = &b"1\n[2]\n3"[..];
        assert_eq!(read_line::<u32>(&mut ok, 8).unwrap(), Some(1));
        assert!(matches!(read_line::<u32>(&mut ok, 8), Err(LineError::Json(_))));
        assert!(matches!(read_line::<u32>(&mut ok, 8), Err(LineError::Io(_))));
        assert_eq!(read_line::<u32>(&mut &b""[..], 8).unwrap(), None);
        assert_eq!(read_line::<u32>(&mut &b"1234567\n"[..], 8).unwrap(), Some(1_234_567));
        assert!(matches!(read_line::<u32>(&mut &b"12345678\n"[..], 8), Err(LineError::TooLong(8))));
    }

    #[test]
    fn an_answer_too_long_is_not_begun() {
        let mut out = Vec::new();
        write_line(&mut out, &"1234", 7).unwrap();
        assert!(matches!(write_line(&mut out, &"12345", 7), Err(LineError::TooLong(7))));
        assert_eq!(out, b"\"1234\"\n");
    }
}
