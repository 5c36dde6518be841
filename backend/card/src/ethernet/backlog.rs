//! Frames whose delivery waits for memory that only messages reach, in order.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::Mutex;

use super::loopback::Origin;

/// Frames of a function that wait at most.
const MAX_FRAMES: usize = 256;

/// Frames of a function that wait, each with where it came from.
#[derive(Default)]
pub(crate) struct Backlog {
    frames: Mutex<VecDeque<(Origin, Box<[u8]>)>>,
    /// How many, to be looked at without the lock.
    count: AtomicUsize,
}

impl Backlog {
    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Acquire) == 0
    }

    /// Adds a frame. False: there is no room.
    pub(super) fn push(&self, origin: Origin, frame: &[u8]) -> bool {
        let mut frames = self.frames.lock();
        let room = frames.len() < MAX_FRAMES;
        if room {
            frames.push_back((origin, frame.into()));
            self.count.store(frames.len(), Release);
        }
        room
    }

    /// The oldest frame.
    pub(super) fn first(&self) -> Option<(Origin, Box<[u8]>)> {
        if self.is_empty() { None } else { self.frames.lock().front().cloned() }
    }

    /// Takes the oldest frame out.
    pub(super) fn pop(&self) {
        let mut frames = self.frames.lock();
        frames.pop_front();
        self.count.store(frames.len(), Release);
    }
}
