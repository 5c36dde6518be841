//! Frames that wait: bounded, one after the other in one piece of memory.

/// The longest frame that a wire takes: the longest that QEMU's socket netdevs send (`NET_BUFSIZE`, net/net.h).
pub const MAX_FRAME: usize = 4096 + 65536;
/// Bytes before each frame that waits to be sent: its length, big-endian.
pub(crate) const PREFIX: usize = 4;
/// Bytes that may wait to be sent.
const MAX_OUT: usize = 1 << 20;
/// Bytes that may wait to be delivered, at least one frame.
const MAX_IN: usize = 256 << 10;
/// Frames that may wait to be delivered.
const MAX_IN_FRAMES: usize = 256;

/// Frames to be sent, each after its length: what a stream carries, byte for byte.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
}

impl Outgoing {
    /// Takes a frame. False: there is no room for it.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        if self.waiting().len() + PREFIX + frame.len() > MAX_OUT || frame.len() > MAX_FRAME {
            return false;
        }
        self.bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(frame);
        true
    }

    /// Everything that waits.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The oldest frame.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        let (prefix, rest) = self.waiting().split_first_chunk::<PREFIX>()?;
        rest.get(..u32::from_be_bytes(*prefix) as usize)
    }

    /// The first `n` bytes are sent.
    pub(crate) fn sent(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear();
        } else if self.start >= MAX_OUT {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }
}

/// Frames that came.
#[derive(Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Incoming {
    /// Takes a frame. False: there is no room for it now.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        let full = self.bytes.len() + frame.len() > MAX_IN || self.ends.len() >= MAX_IN_FRAMES;
        if full && !self.ends.is_empty() {
            return false;
        }
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_sent_is_what_a_stream_carries_and_is_bounded() {
        let mut queue = Outgoing::default();
        assert!(queue.push(b"abc") && queue.push(b"de"));
        assert_eq!(queue.waiting(), b"\0\0\0\x03abc\0\0\0\x02de");
        assert_eq!(queue.first(), Some(&b"abc"[..]));
        queue.sent(7);
        assert_eq!(queue.first(), Some(&b"de"[..]));
        queue.sent(6);
        assert!(queue.waiting().is_empty() && queue.first().is_none());
        assert!(!queue.push(&[0; MAX_FRAME + 1]));
        let taken = (0..10_000).take_while(|_| queue.push(&[0; 1000])).count();
        assert_eq!(taken, MAX_OUT / 1004);
        queue.sent(1004);
        assert!(queue.push(&[0; 1000]) && !queue.push(&[0; 1000]));
        // Sent and refilled for ever, it does not grow.
        for _ in 0..5000 {
            queue.sent(1004);
            assert!(queue.push(&[0; 1000]));
        }
        assert!(queue.bytes.len() <= 2 * MAX_OUT);
    }

    #[test]
    fn what_came_is_bounded_in_frames_and_bytes() {
        let mut queue = Incoming::default();
        assert!(queue.push(&[1; MAX_FRAME]));
        assert!((0..10).filter(|_| queue.push(&[2; MAX_FRAME])).count() < 4);
        queue.clear();
        assert_eq!((0..1000u16).filter(|n| queue.push(&n.to_be_bytes())).count(), MAX_IN_FRAMES);
        assert_eq!(queue.frames().nth(3), Some(&[0, 3][..]));
        assert_eq!((queue.len(), queue.is_empty()), (MAX_IN_FRAMES, false));
    }
}
