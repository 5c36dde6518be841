//! Fault rules: what this card's firmware and hardware do wrong on demand (`ctl fault`, `faults` in `CARD.toml`).
//!
//! Every place where something can go wrong asks the rules of its kind, in the order in which they came; the first one
//! whose turn it is acts. Without a rule of a kind the place pays one relaxed load. Whose turn it is depends on the counts
//! of each rule and function alone, and for shares on a hash of the seed, the function's name, the rule and the count:
//! there is no clock and no generator.
//!
//! Names are looked up when a rule is added (`compile`); what acts on a command is in [`command`].

pub mod command;
mod compile;
mod dma;
mod event;
mod health;
mod manage;
pub(crate) mod packet;
pub mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use mlx5emu_config::fault::{FaultKind, FaultRule};
use parking_lot::{Mutex, RwLock};

use crate::card::{FunctionIndex, Personality};
use crate::limited;
use crate::limiter::Limiter;

pub(crate) use dma::Watched;
pub(crate) use event::WaitingEvents;
pub(crate) use health::{Health, HealthWatch};
pub use manage::check;

/// How often something matched a rule at one function or port, and how often the rule acted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    matched: u64,
    acted: u64,
}

/// What a rule looks for and what it does, with every name looked up.
#[derive(Debug)]
enum What {
    Command(command::CommandMatch, command::CommandAct),
    Event(event::EventMatch, event::EventAct),
    Wqe(queue::WqeMatch, queue::WqeAct),
    Dma(dma::DmaMatch, dma::DmaAct),
    Health(health::HealthAct),
    Packet(packet::PacketMatch, packet::PacketAct),
}

/// A rule that is in force.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Different from that of every other rule since the card began.
    pub(crate) id: u32,
    name: Arc<str>,
    spec: FaultRule,
    /// The function, or the port behind the functions, that it is about.
    place: Option<usize>,
    what: What,
    /// By function, then by port.
    counts: Mutex<Vec<Counts>>,
    log: Limiter,
}

impl Rule {
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// What it does with a command.
    pub(crate) fn on_command(&self) -> Option<&command::CommandAct> {
        if let What::Command(_, act) = &self.what { Some(act) } else { None }
    }
}

/// The rules of a card.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Kinds that there are rules of, a bit each.
    armed: AtomicU8,
    rules: RwLock<Vec<Arc<Rule>>>,
    seed: u64,
    functions: Vec<String>,
    ports: usize,
    last_id: Mutex<u32>,
}

fn bit(kind: FaultKind) -> u8 {
    1 << kind as u8
}

impl Faults {
    pub(crate) fn new(personality: &Personality) -> Self {
        Self {
            armed: AtomicU8::new(0),
            rules: RwLock::default(),
            seed: personality.seed,
            functions: personality.functions.iter().map(|f| f.name.clone()).collect(),
            ports: personality.ports.len(),
            last_id: Mutex::new(0),
        }
    }

    /// Whether there is a rule of this kind.
    #[inline]
    fn armed(&self, kind: FaultKind) -> bool {
        self.armed.load(Relaxed) & bit(kind) != 0
    }

    /// The rule of `kind` that acts now at place `f` (a function, or a port behind the functions), of those that `matches`. Every rule that matches counts it.
    fn ask(&self, kind: FaultKind, f: FunctionIndex, matches: impl Fn(&What) -> bool) -> Option<Arc<Rule>> {
        let mut acts = None;
        for rule in self.rules.read().iter() {
            let meant = rule.spec.kind == kind && rule.place.is_none_or(|only| only == f) && matches(&rule.what);
            if meant && self.due(rule, f, acts.is_none()) {
                acts = Some(Arc::clone(rule));
            }
        }
        if let Some(rule) = &acts {
            let place = self.name_of(f);
            limited!(rule.log, info, "{place}: fault rule '{}' acts: {}", rule.name, rule.spec.text);
        }
        acts
    }

    /// Counts an occasion of `rule`. Says whether it acts, which it cannot if another rule does.
    fn due(&self, rule: &Rule, f: FunctionIndex, free: bool) -> bool {
        let mut counts = rule.counts.lock();
        let Some(count) = counts.get_mut(f) else { return false };
        count.matched += 1;
        let (n, occasions) = (count.matched, rule.spec.occasions);
        let turn = n >= occasions.nth && (n - occasions.nth).is_multiple_of(occasions.every);
        let act = free
            && turn
            && occasions.times.is_none_or(|times| count.acted < times)
            && occasions.chance.is_none_or(|(a, b)| self.draw(rule, f, n) % u64::from(b) < u64::from(a));
        count.acted += u64::from(act);
        act
    }

    fn name_of(&self, place: usize) -> String {
        self.functions.get(place).cloned().unwrap_or_else(|| format!("p{}", place - self.functions.len()))
    }

    /// A number that hangs on the seed, the function, the rule and the count alone.
    fn draw(&self, rule: &Rule, f: FunctionIndex, n: u64) -> u64 {
        let name = self.name_of(f);
        let bytes = self.seed.to_le_bytes().into_iter().chain(name.bytes()).chain([0]).chain(rule.spec.text.bytes());
        // FNV-1a, then the finalizer of SplitMix64.
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut x = hash.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests;
