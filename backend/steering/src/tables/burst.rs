//! Packets that go through tables together.
//!
//! Nothing changes in the tables meanwhile, so packets after one another that agree in all that the tables on the way of the
//! first look at take the same way ([`Steering::same_way`]): it is walked once and counted for all. And where a table has
//! more entries than the processor's caches hold, the walks stop and look it up side by side: memory is waited for once, not
//! once a packet. A packet whose headers are those of the one before, byte by byte, is not even parsed.

use std::hint::black_box;

use super::Steering;
use super::packet::PacketContext;
use super::table::{Lookup, Table};
use super::types::Namespace;
use super::verdict::{Budget, Outcome, Verdicts};
use super::walk::Walk;
use crate::key::{MatchParam, Metadata};
use crate::packet::Headers;

/// Packets of a burst: what the first level of a processor's cache has room for, and more than the lines of memory that it
/// can wait for at a time.
pub const MAX_BURST: usize = 16;
/// From so many entries on, a table is looked up for several packets side by side.
const LARGE: usize = 4096;

/// The longest headers that are compared byte by byte.
const MAX_HEAD: usize = 128;
/// Bytes behind the transport header that the key has fields of.
const KEY_PAYLOAD: usize = 8;

/// A packet and its walk.
#[derive(Debug)]
struct Traveller {
    /// The packet whose headers this one's are, byte by byte: itself, or one before it. Only of itself is the rest true.
    same_as: usize,
    packet: PacketContext,
    meta: Metadata,
    /// All bytes that headers and key were made of; none if they are too many.
    head: [u8; MAX_HEAD],
    head_len: usize,
    walk: Walk,
    lookup: Lookup,
    /// Who walked its way: itself, or one before it.
    leader: usize,
}

/// Up to [`MAX_BURST`] packets, in order. To be kept and used again: what it has allocated stays.
#[derive(Debug, Default)]
pub struct Packets {
    all: Vec<Traveller>,
    len: usize,
    /// Those whose walk waits at a large table.
    waiting: Vec<usize>,
}

impl Packets {
    /// None.
    pub const fn new() -> Self {
        Self { all: Vec::new(), len: 0, waiting: Vec::new() }
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.len == MAX_BURST
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds a packet, if there is room and `frame`, which is without FCS, has an Ethernet header. Says whether it was added.
    pub fn push(&mut self, frame: &[u8], meta: &Metadata) -> bool {
        if self.is_full() {
            return false;
        }
        let before = self.len.checked_sub(1).and_then(|n| self.get(n)).map(|traveller| traveller.same_as);
        let same_as = before.filter(|n| self.get(*n).is_some_and(|first| first.is_same(frame, meta)));
        match (self.all.get_mut(self.len), same_as) {
            (Some(traveller), Some(first)) => traveller.same_as = first,
            (Some(traveller), None) => {
                if !traveller.packet.become_packet(frame, meta) {
                    return false;
                }
                (traveller.same_as, traveller.meta) = (self.len, *meta);
                traveller.keep_head(frame);
            }
            (None, _) => {
                let Some(headers) = Headers::parse(frame) else { return false };
                let mut traveller = Traveller {
                    same_as: self.len,
                    packet: PacketContext::new(frame, &headers, meta),
                    meta: *meta,
                    head: [0; MAX_HEAD],
                    head_len: 0,
                    walk: Walk::default(),
                    lookup: Lookup::default(),
                    leader: 0,
                };
                traveller.keep_head(frame);
                self.all.push(traveller);
            }
        }
        self.len += 1;
        true
    }

    /// The headers of packet `n`, as it came.
    pub fn headers(&self, n: usize) -> Option<&Headers> {
        self.get(self.get(n)?.same_as).map(|traveller| &traveller.packet.headers)
    }

    /// The key of packet `n`, as it came.
    pub fn key(&self, n: usize) -> Option<&MatchParam> {
        self.get(self.get(n)?.same_as).map(|traveller| traveller.packet.key())
    }

    /// What [`Steering::evaluate_burst`] decided about packet `n`: its copies, and what else happened.
    pub fn decision(&self, n: usize) -> Option<(&Verdicts, &Outcome)> {
        let leader = self.get(self.get(n)?.leader)?;
        Some((&leader.walk.verdicts, &leader.walk.outcome))
    }

    /// The end of the packets from `n` on about which the same was decided at once; `None` behind the last packet.
    pub fn alike(&self, n: usize) -> Option<usize> {
        let leader = self.get(n)?.leader;
        Some((n..self.len).take_while(|other| self.get(*other).is_some_and(|t| t.leader == leader)).count() + n)
    }

    fn get(&self, n: usize) -> Option<&Traveller> {
        self.all.get(..self.len)?.get(n)
    }
}

impl Traveller {
    /// Keeps what headers and key were made of. Headers that are cut short may have been looked for anywhere.
    fn keep_head(&mut self, frame: &[u8]) {
        let headers = &self.packet.headers;
        let len = frame.len().min(headers.payload_offset + KEY_PAYLOAD);
        self.head_len = 0;
        if !headers.truncated
            && let (Some(to), Some(from)) = (self.head.get_mut(..len), frame.get(..len))
        {
            to.copy_from_slice(from);
            self.head_len = len;
        }
    }

    /// Whether `frame` has the same headers and the same key. Their lengths are compared, too: headers say where the
    /// frame ends.
    fn is_same(&self, frame: &[u8], meta: &Metadata) -> bool {
        self.head_len > 0
            && frame.len() == self.packet.len
            && frame.get(..self.head_len) == self.head.get(..self.head_len)
            && *meta == self.meta
    }
}

impl Steering {
    /// Decides about `packets` as [`Steering::evaluate`] does about each of them, with a budget of its own. Nothing is counted:
    /// that is [`Steering::count_burst`]'s part.
    pub fn evaluate_burst(&self, namespace: Namespace, packets: &mut Packets, budget: Budget) {
        let Packets { all, len, waiting } = packets;
        let all = all.get_mut(..*len).unwrap_or(&mut []);
        waiting.clear();
        let Some(root) = self.root(namespace) else {
            for (n, traveller) in all.iter_mut().enumerate() {
                traveller.leader = n;
                traveller.walk.end_without_root();
            }
            return;
        };
        // The last packet whose walk is over, for the next ones to follow.
        let mut leader: Option<usize> = None;
        for n in 0..all.len() {
            let Some((before, [traveller, ..])) = all.split_at_mut_checked(n) else { break };
            if let Some(first) = before.get(traveller.same_as) {
                traveller.leader = first.leader;
                continue;
            }
            if let Some(first) = leader.and_then(|first| before.get(first))
                && self.same_way(&first.walk, &first.packet, &traveller.packet)
            {
                traveller.leader = first.leader;
                continue;
            }
            traveller.leader = n;
            traveller.walk.start(root, budget);
            if self.advance(&mut traveller.packet, &mut traveller.walk, is_large) {
                waiting.push(n);
                leader = None;
            } else {
                traveller.packet.restore();
                leader = Some(n);
            }
        }
        while !waiting.is_empty() {
            self.step_side_by_side(all, waiting);
        }
    }

    /// Counts the first `count` of `packets` in the tables, the entries and their counters, as [`Steering::evaluate`] does.
    pub fn count_burst(&self, packets: &Packets, count: usize) {
        let mut n = 0;
        while let Some(end) = packets.alike(n).map(|end| end.min(count)).filter(|end| *end > n) {
            let run = packets.all.get(n..end).unwrap_or(&[]);
            if let Some(leader) = run.first().and_then(|first| packets.get(first.leader)) {
                let lens =
                    run.iter().filter_map(|traveller| packets.get(traveller.same_as)).map(|t| t.packet.len as u64);
                let octets = lens.sum();
                self.count(&leader.walk, run.len() as u64, octets);
            }
            n = end;
        }
    }

    /// All walks that wait visit their tables and go on until they are over or come to a large table again.
    ///
    /// What a lookup reads is read before, for all of them: first the places of the index, then the entries. Loads that do
    /// not depend on each other are under way at the same time, if few instructions are between them: so hashes are
    /// computed and places are compared in rounds of their own.
    fn step_side_by_side(&self, all: &mut [Traveller], waiting: &mut Vec<usize>) {
        self.for_each_waiting(all, waiting, |table, packet, lookup| table.begin_lookup(self.hash, &packet.key, lookup));
        let mut read = 0;
        self.for_each_waiting(all, waiting, |table, _, lookup| read ^= table.read_places(lookup));
        black_box(read);
        self.for_each_waiting(all, waiting, |table, _, lookup| table.find_likely(lookup));
        self.for_each_waiting(all, waiting, |_, _, lookup| read ^= lookup.read_entries(&self.entries));
        black_box(read);
        waiting.retain(|n| {
            let Some(Traveller { packet, walk, lookup, .. }) = all.get_mut(*n) else { return false };
            self.visit(packet, walk, lookup.hashes());
            let goes_on = self.advance(packet, walk, is_large);
            if !goes_on {
                packet.restore();
            }
            goes_on
        });
    }
}

impl Steering {
    /// Does something about the next table of each walk that waits.
    #[inline]
    fn for_each_waiting(
        &self,
        all: &mut [Traveller],
        waiting: &[usize],
        mut each: impl FnMut(&Table, &PacketContext, &mut Lookup),
    ) {
        for n in waiting {
            if let Some(Traveller { packet, walk, lookup, .. }) = all.get_mut(*n)
                && let Some(table) = walk.next().and_then(|id| self.tables.get(id.number()))
            {
                each(table, packet, lookup);
            }
        }
    }
}

fn is_large(table: &Table) -> bool {
    table.entries.len() >= LARGE
}
