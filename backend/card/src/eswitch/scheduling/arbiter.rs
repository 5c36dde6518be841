//! Which of several vports may send, and when: a tree of arbiters (TSARs) whose leaves are vports.
//!
//! An element with a maximum rate is busy as long as what passed it takes at that rate. Below it, siblings that have something to
//! send share what passes in the proportion of their `bw_share` (start-time fair queueing: the one whose share of the time began
//! first). Where nothing above has a maximum, vports do not compete, for the card has no rate of its own.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use crate::error::{Stop, Syndrome, bad_param};
use crate::table::Table;

/// What is saved up while nobody sends, ns at the rate.
const CREDIT: u64 = 4_000_000;
/// What goes in one burst, ns at the rate.
const QUANTUM: u64 = 1_000_000;
/// The shortest burst: a frame of the usual size.
const MIN_BURST: u64 = 1514;
/// How long a vport waits at most until it asks again, ns: the rate may have changed.
const MAX_WAIT: u64 = 10_000_000;
/// How long it waits for a sibling whose turn it is, ns.
const RETRY: u64 = 200_000;
/// How long after the time that it was told a vport may come, before its siblings go on without it, ns: no longer than what
/// they make good, so that one who does not come costs them nothing.
const GRACE: u64 = CREDIT;
/// How long a byte takes at 1 Mbit/s, ns.
const BYTE_NS_AT_1_MBPS: u64 = 8000;
/// Virtual time of a byte at the share 1.
const BYTE_TIME: u128 = 1 << 16;

/// Most elements of an e-switch. The number is this firmware's own: enough for a leaf of each vport, and as many arbiters.
pub(crate) const MAX_ELEMENTS: u32 = 1 << 12;

/// A leaf or an arbiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An arbiter that shares in proportion (DWRR).
    Tsar,
    /// This vport.
    Vport(u16),
}

/// What a driver says of an element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    /// The arbiter above it.
    pub(crate) parent: Option<u32>,
    /// Its part among its siblings; 0 is as 1.
    pub(crate) share: u32,
    /// What may pass it, Mbit/s; 0 is everything.
    pub(crate) max_mbps: u32,
}

struct Node {
    element: Element,
    children: Vec<u32>,
    /// Until when what passed takes, ns of the card's clock.
    busy_until: u64,
    /// Of a leaf: until when its siblings let it go first, if it is its turn, ns of the card's clock.
    expected_until: u64,
    /// Where its share of its parent's time ends.
    finish: u128,
    /// Where the share began that its parent's last one had: what begins now begins here.
    time: u128,
    /// Bytes.
    passed: u64,
}

/// What a vport may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Send as much as it likes.
    Free,
    /// Send so many bytes.
    Some(u64),
    /// Ask again at this time, ns of the card's clock.
    Wait(u64),
}

/// From a leaf up to the topmost element with a maximum rate.
type Path = SmallVec<[u32; 8]>;

/// The elements of an e-switch.
pub(crate) struct Scheduling {
    nodes: Mutex<Table<Node>>,
    leaves: BTreeMap<u16, u32>,
    /// Whether there is a maximum rate anywhere.
    bounded: bool,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            nodes: Mutex::new(Table::new("scheduling element", 1, MAX_ELEMENTS)),
            leaves: BTreeMap::new(),
            bounded: false,
        }
    }
}

impl Scheduling {
    pub(crate) fn len(&self) -> u32 {
        self.nodes.lock().len()
    }

    /// How many elements are above one, itself included.
    pub(crate) fn depth(&self, number: Option<u32>) -> usize {
        let nodes = self.nodes.lock();
        std::iter::successors(number, |n| nodes.find(*n)?.element.parent).count()
    }

    /// Adds an element.
    pub(crate) fn create(&mut self, element: Element) -> Result<u32, Stop> {
        let nodes = self.nodes.get_mut();
        let parent = element.parent.map(|n| nodes.get(n).map(|node| node.element.kind)).transpose()?;
        if matches!(parent, Some(Kind::Vport(_))) {
            return bad_param(Syndrome::BadField, "the parent is a vport's element, and has none below it");
        }
        if let Kind::Vport(vport) = element.kind
            && let Some(leaf) = self.leaves.get(&vport)
        {
            return bad_param(Syndrome::BadField, format!("vport {vport:#x} has scheduling element {leaf:#x} already"));
        }
        let time = element.parent.and_then(|n| nodes.find(n)).map_or(0, |parent| parent.time);
        let node =
            Node { element, children: Vec::new(), busy_until: 0, expected_until: 0, finish: time, time: 0, passed: 0 };
        let number = nodes.insert(node)?;
        if let Some(above) = element.parent {
            nodes.hold(above)?;
            nodes.get_mut(above)?.children.push(number);
        }
        if let Kind::Vport(vport) = element.kind {
            self.leaves.insert(vport, number);
        }
        self.look_for_bounds();
        Ok(number)
    }

    /// Changes the share and the maximum rate of an element, or leaves them.
    pub(crate) fn modify(&mut self, number: u32, share: Option<u32>, max_mbps: Option<u32>) -> Result<(), Stop> {
        let node = self.nodes.get_mut().get_mut(number)?;
        node.element.share = share.unwrap_or(node.element.share);
        if let Some(max) = max_mbps.filter(|max| *max != node.element.max_mbps) {
            node.element.max_mbps = max;
            // What passed at the old rate is not held against it: that may have been slow.
            node.busy_until = 0;
        }
        self.look_for_bounds();
        Ok(())
    }

    /// Takes an element out that has none below it.
    pub(crate) fn destroy(&mut self, number: u32) -> Result<(), Stop> {
        let nodes = self.nodes.get_mut();
        let Node { element, .. } = nodes.remove(number)?;
        if let Some(above) = element.parent {
            nodes.release(above);
            nodes.get_mut(above)?.children.retain(|child| *child != number);
        }
        if let Kind::Vport(vport) = element.kind {
            self.leaves.remove(&vport);
        }
        self.look_for_bounds();
        Ok(())
    }

    fn look_for_bounds(&mut self) {
        self.bounded = self.nodes.get_mut().iter().any(|(_, node, _)| node.element.max_mbps > 0);
    }

    /// Each element: its number, what it is, and the bytes that passed it while a maximum rate stood above it.
    pub(crate) fn inspect(&self) -> Vec<(u32, Element, u64)> {
        self.nodes.lock().iter().map(|(number, node, _)| (number, node.element, node.passed)).collect()
    }

    /// The way up from `vport`, if something bounds it.
    fn way(&self, vport: u16) -> Option<(MutexGuard<'_, Table<Node>>, Path)> {
        if !self.bounded {
            return None;
        }
        let leaf = self.leaves.get(&vport)?;
        let nodes = self.nodes.lock();
        let mut path: Path = std::iter::successors(Some(*leaf), |n| nodes.find(*n)?.element.parent).collect();
        let top = path.iter().rposition(|n| nodes.find(*n).is_some_and(|node| node.element.max_mbps > 0))?;
        path.truncate(top + 1);
        Some((nodes, path))
    }

    /// Whether `vport`, which has something to send, may do so at `now`.
    pub(crate) fn ask(&self, vport: u16, now: u64) -> Turn {
        let Some((mut nodes, path)) = self.way(vport) else { return Turn::Free };
        let elements = || path.iter().filter_map(|n| nodes.find(*n));
        let busy_until = elements().map(|node| node.busy_until).max().unwrap_or(0);
        let slowest = elements().map(|node| node.element.max_mbps).filter(|max| *max > 0).min().unwrap_or(0);
        let again = if busy_until > now {
            Some(busy_until.min(now + MAX_WAIT))
        } else {
            let first = path.windows(2).all(|pair| is_first(&nodes, pair[0], pair[1], now));
            (!first).then_some(now + RETRY)
        };
        if let Some(leaf) = path.first().and_then(|n| nodes.find_mut(*n)) {
            leaf.expected_until = again.map_or(0, |at| at + GRACE);
        }
        match again {
            Some(at) => Turn::Wait(at),
            None => Turn::Some((u64::from(slowest) * QUANTUM / BYTE_NS_AT_1_MBPS).max(MIN_BURST)),
        }
    }

    /// `vport` has sent `bytes`.
    pub(crate) fn sent(&self, vport: u16, bytes: u64, now: u64) {
        let Some((mut nodes, path)) = self.way(vport) else { return };
        for (n, number) in path.iter().enumerate() {
            let begin = path.get(n + 1).and_then(|above| nodes.find_mut(*above)).map(|parent| parent.time);
            let Some(node) = nodes.find_mut(*number) else { return };
            node.passed += bytes;
            if node.element.max_mbps > 0 {
                let took = bytes * BYTE_NS_AT_1_MBPS / u64::from(node.element.max_mbps);
                node.busy_until = node.busy_until.max(now.saturating_sub(CREDIT)) + took;
            }
            let Some(time) = begin else { continue };
            let begin = node.finish.max(time);
            node.finish = begin + u128::from(bytes) * BYTE_TIME / u128::from(node.element.share.max(1));
            if let Some(parent) = path.get(n + 1).and_then(|above| nodes.find_mut(*above)) {
                parent.time = begin;
            }
        }
    }
}

/// Whether no sibling of `child` that is expected to send has its turn before it.
fn is_first(nodes: &Table<Node>, child: u32, parent: u32, now: u64) -> bool {
    let Some(parent) = nodes.find(parent) else { return true };
    let begin = |n: u32| nodes.find(n).map_or(u128::MAX, |node| node.finish.max(parent.time));
    let mine = begin(child);
    !parent.children.iter().any(|other| *other != child && begin(*other) < mine && is_expected(nodes, *other, now))
}

/// Whether a vport below `number` was told to come again and may still come. One that its own rate holds back does not compete.
fn is_expected(nodes: &Table<Node>, number: u32, now: u64) -> bool {
    nodes.find(number).filter(|node| node.busy_until <= now).is_some_and(|node| {
        node.expected_until > now || node.children.iter().any(|child| is_expected(nodes, *child, now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn tsar(parent: Option<u32>, share: u32, max_mbps: u32) -> Element {
        Element { kind: Kind::Tsar, parent, share, max_mbps }
    }

    fn leaf(vport: u16, parent: u32, share: u32, max_mbps: u32) -> Element {
        Element { kind: Kind::Vport(vport), parent: Some(parent), share, max_mbps }
    }

    /// What each of `vports`, which always have something to send, sends from second `start` on, in a second: frames of 1500
    /// bytes. They come as late as threads do.
    fn run(scheduling: &Scheduling, vports: &[u16], start: u64) -> Vec<u64> {
        let mut sent = vec![0u64; vports.len()];
        let mut due = vec![0u64; vports.len()];
        let mut now = start * 1000 * MS;
        while now < (start + 1) * 1000 * MS {
            for (n, vport) in vports.iter().enumerate() {
                if due[n] > now {
                    continue;
                }
                match scheduling.ask(*vport, now) {
                    Turn::Free => panic!("vport {vport} is not bounded"),
                    Turn::Wait(at) => due[n] = at + 60_000 + 7_000 * n as u64,
                    Turn::Some(bytes) => {
                        let bytes = bytes.next_multiple_of(1500);
                        scheduling.sent(*vport, bytes, now);
                        sent[n] += bytes;
                    }
                }
            }
            now += 10_000;
        }
        sent
    }

    fn mbps(sent: u64) -> f64 {
        sent as f64 * 8.0 / 1e6
    }

    fn about(is: f64, should: f64) {
        assert!((is / should - 1.0).abs() < 0.1, "{is} Mbit/s, not {should}");
    }

    #[test]
    fn a_rate_is_kept() {
        for max in [10, 100, 1000, 20_000] {
            let mut scheduling = Scheduling::default();
            let root = scheduling.create(tsar(None, 0, 0)).unwrap();
            assert_eq!(scheduling.ask(1, 0), Turn::Free);
            scheduling.create(leaf(1, root, 0, max)).unwrap();
            assert_eq!(scheduling.ask(2, 0), Turn::Free);
            about(mbps(run(&scheduling, &[1], 0)[0]), max.into());
        }
    }

    #[test]
    fn shares_are_kept_where_vports_compete() {
        for (shares, parts) in
            [([1, 1, 1], [1.0, 1.0, 1.0]), ([1, 4, 0], [1.0, 4.0, 1.0]), ([50, 25, 100], [2.0, 1.0, 4.0])]
        {
            let mut scheduling = Scheduling::default();
            let root = scheduling.create(tsar(None, 0, 200)).unwrap();
            for (vport, share) in (1..).zip(shares) {
                scheduling.create(leaf(vport, root, share, 0)).unwrap();
            }
            let sent = run(&scheduling, &[1, 2, 3], 0);
            about(sent.iter().map(|sent| mbps(*sent)).sum(), 200.0);
            let unit = 200.0 / parts.iter().sum::<f64>();
            sent.iter().zip(parts).for_each(|(sent, part)| about(mbps(*sent), unit * part));
        }
    }

    #[test]
    fn what_one_leaves_others_have() {
        let mut scheduling = Scheduling::default();
        let root = scheduling.create(tsar(None, 0, 100)).unwrap();
        scheduling.create(leaf(1, root, 100, 10)).unwrap();
        scheduling.create(leaf(2, root, 1, 0)).unwrap();
        let sent = run(&scheduling, &[1, 2], 0);
        about(mbps(sent[0]), 10.0);
        about(mbps(sent[1]), 90.0);
        about(mbps(run(&scheduling, &[2], 1)[0]), 100.0);
    }

    #[test]
    fn shares_hold_between_arbiters_and_below_them() {
        let mut scheduling = Scheduling::default();
        let root = scheduling.create(tsar(None, 0, 120)).unwrap();
        let [a, b] = [1, 2].map(|share| scheduling.create(tsar(Some(root), share, 0)).unwrap());
        for (vport, above, share) in [(1, a, 1), (2, a, 3), (3, b, 1)] {
            scheduling.create(leaf(vport, above, share, 0)).unwrap();
        }
        let sent = run(&scheduling, &[1, 2, 3], 0);
        for (sent, should) in sent.iter().zip([10.0, 30.0, 80.0]) {
            about(mbps(*sent), should);
        }
    }

    #[test]
    fn a_rate_that_is_lifted_bounds_no_more() {
        let mut scheduling = Scheduling::default();
        let root = scheduling.create(tsar(None, 0, 0)).unwrap();
        let number = scheduling.create(leaf(1, root, 0, 1)).unwrap();
        scheduling.sent(1, 1 << 20, 0);
        assert_eq!(scheduling.ask(1, 0), Turn::Wait(MAX_WAIT));
        scheduling.modify(number, Some(7), None).unwrap();
        assert!(matches!(scheduling.ask(1, 0), Turn::Wait(_)));
        scheduling.modify(number, None, Some(5)).unwrap();
        assert!(matches!(scheduling.ask(1, 0), Turn::Some(_)));
        scheduling.modify(number, None, Some(0)).unwrap();
        assert_eq!(scheduling.ask(1, 0), Turn::Free);
    }

    #[test]
    fn what_has_something_below_it_stays() {
        let mut scheduling = Scheduling::default();
        let root = scheduling.create(tsar(None, 0, 0)).unwrap();
        let number = scheduling.create(leaf(1, root, 0, 0)).unwrap();
        assert!(scheduling.destroy(root).is_err());
        assert!(scheduling.create(leaf(1, root, 0, 0)).is_err(), "one vport twice");
        assert!(scheduling.create(leaf(2, number, 0, 0)).is_err(), "below a vport");
        assert!(scheduling.create(leaf(2, 99, 0, 0)).is_err(), "below nothing");
        assert_eq!((scheduling.depth(Some(number)), scheduling.depth(None)), (2, 0));
        scheduling.destroy(number).unwrap();
        scheduling.destroy(root).unwrap();
        assert_eq!(scheduling.len(), 0);
    }
}
