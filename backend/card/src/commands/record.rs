//! What was executed: the log behind `ctl commands`.

use std::collections::VecDeque;
use std::sync::Arc;

use mlx5emu_prm::opcode::{Opcode, Status};
use parking_lot::Mutex;

use crate::card::FunctionIndex;

/// Commands kept.
const KEPT: usize = 4096;
/// Bytes of input kept of each: enough for every fixed part but the capabilities' and the match criteria's tail.
const INPUT_KEPT: usize = 0x400;

/// One executed command.
#[derive(Debug, Clone)]
pub struct Record {
    /// Counts from 1, over all functions.
    pub seq: u64,
    /// The function.
    pub function: FunctionIndex,
    /// The slot it came through.
    pub slot: u8,
    /// Opcode.
    pub opcode: Opcode,
    /// op_mod.
    pub op_mod: u16,
    /// The input, its first KiB.
    pub input: Box<[u8]>,
    /// Total input length, bytes.
    pub input_len: usize,
    /// Outbox status.
    pub status: Status,
    /// Outbox syndrome.
    pub syndrome: u32,
    /// The first 16 bytes of the output.
    pub output: [u8; 16],
    /// The fault rule that had a hand in it.
    pub fault: Option<Arc<str>>,
    /// The card's clock when it was fetched, ns.
    pub started: u64,
    /// From fetch to answer, ns.
    pub took: u64,
}

impl Record {
    /// Cuts `input` to what is kept.
    pub fn keep(input: &[u8]) -> Box<[u8]> {
        input[..input.len().min(INPUT_KEPT)].into()
    }
}

/// The last commands of the card.
#[derive(Default)]
pub struct Recorder {
    ring: Mutex<(u64, VecDeque<Record>)>,
}

impl Recorder {
    /// Adds one; `seq` is filled in.
    pub fn add(&self, mut record: Record) {
        let mut ring = self.ring.lock();
        ring.0 += 1;
        record.seq = ring.0;
        if ring.1.len() == KEPT {
            ring.1.pop_front();
        }
        ring.1.push_back(record);
    }

    /// The commands kept with a sequence number above `since`.
    pub fn since(&self, since: u64) -> Vec<Record> {
        self.ring.lock().1.iter().filter(|r| r.seq > since).cloned().collect()
    }
}
