//! What the guest's init says on the status port. The guest is not trusted: any bytes may come.

use mlx5emu_config::printable;

/// A line longer than this is not init's.
const LONGEST_LINE: usize = 1024;

/// One message of init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The guest is up.
    Ready,
    /// The guest cannot do what was asked, and why.
    Fail(String),
    /// The command or shell has ended with this status.
    Exit(u8),
}

/// Splits the stream into lines and understands them; what it does not understand it drops.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The current line is too long and is being skipped.
    skipping: bool,
}

impl Parser {
    /// The messages that end in `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    if !std::mem::take(&mut self.skipping) {
                        messages.extend(understand(&line));
                    }
                }
                _ if self.line.len() >= LONGEST_LINE => self.skipping = true,
                _ => self.line.push(*byte),
            }
        }
        messages
    }
}

fn understand(line: &[u8]) -> Option<Message> {
    let line = str::from_utf8(line).ok()?.trim_end();
    match line.split_once(' ') {
        None if line == "ready" => Some(Message::Ready),
        Some(("exit", status)) => status.parse().ok().map(Message::Exit),
        Some(("fail", why)) => Some(Message::Fail(printable(why))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_bytes_arrive() {
        let stream = b"ready\nexit 7\nfail no room\n";
        let expected = [Message::Ready, Message::Exit(7), Message::Fail("no room".into())];
        assert_eq!(Parser::default().feed(stream), expected);
        let mut parser = Parser::default();
        let bytewise: Vec<Message> = stream.iter().flat_map(|byte| parser.feed(&[*byte])).collect();
        assert_eq!(bytewise, expected);
    }

    #[test]
    fn statuses_outside_a_byte_and_other_words_are_dropped() {
        assert_eq!(Parser::default().feed(b"exit 256\nexit -1\nexit\nexit x\nhello\n\xff\xfe\n"), []);
        assert_eq!(Parser::default().feed(b"exit 0\nexit 255\n"), [Message::Exit(0), Message::Exit(255)]);
    }

    #[test]
    fn an_endless_line_is_bounded_and_the_next_one_counts() {
        let mut parser = Parser::default();
        for _ in 0..1000 {
            assert_eq!(parser.feed(&[b'x'; 1000]), []);
            assert!(parser.line.len() <= LONGEST_LINE);
        }
        assert_eq!(parser.feed(b"\nexit 3\n"), [Message::Exit(3)]);
    }

    #[test]
    fn a_reason_cannot_drive_the_terminal() {
        assert_eq!(Parser::default().feed(b"fail \x1b[2Jgone\n"), [Message::Fail("\\u{1b}[2Jgone".into())]);
    }

    proptest::proptest! {
        #[test]
        fn no_stream_is_too_odd(chunks in proptest::collection::vec(proptest::collection::vec(0u8.., 0..2000), 0..8)) {
            let mut parser = Parser::default();
            for chunk in chunks {
                parser.feed(&chunk);
                proptest::prop_assert!(parser.line.len() <= LONGEST_LINE);
            }
        }
    }
}
