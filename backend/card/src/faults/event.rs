//! Rules for events: entries of event queues that are lost, late, held or written twice.

use std::sync::atomic::{AtomicBool, Ordering::*};

use mlx5emu_config::fault::FaultKind;
use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::Field;
use mlx5emu_prm::event::Event;
use parking_lot::Mutex;

use super::command::Pause;
use super::{Rule, What};
use crate::function::Function;
use crate::limited;

/// Events of a function that wait, at most; further ones are written at once.
const MAX_WAITING: usize = 256;
/// Bytes of an event's data (`union ev_data` in device.h).
const DATA: usize = 28;

/// What a rule looks for in an event.
#[derive(Debug, Default)]
pub(crate) struct EventMatch {
    pub(super) event: Option<Event>,
    pub(super) sub_type: Option<u8>,
    pub(super) eqn: Option<u32>,
    /// Fields of the data with their values.
    pub(super) fields: Vec<(Field, u64)>,
}

/// What a rule does with an event.
#[derive(Debug, Default)]
pub(crate) struct EventAct {
    pub(super) lost: bool,
    pub(super) twice: bool,
    pub(super) pause: Option<Pause>,
}

/// An event on its way to a queue.
#[derive(Debug, Clone, Copy)]
struct Entry {
    eqn: u32,
    event: Event,
    sub_type: u8,
    data: [u8; DATA],
}

#[derive(Debug)]
struct Waiting {
    rule: u32,
    entry: Entry,
    times: u8,
    pause: Pause,
    /// By the card's clock, as soon as anybody has looked at it.
    since: Option<u64>,
}

impl Waiting {
    fn due(&self) -> Option<u64> {
        match (self.pause, self.since) {
            // Whoever posts an event does not know the time: the next look does.
            (_, None) => Some(0),
            (Pause::Hold, Some(_)) => None,
            (Pause::Delay(ns), Some(since)) => Some(since.saturating_add(ns)),
        }
    }
}

/// Events of a function that wait because of rules.
#[derive(Debug, Default)]
pub(crate) struct WaitingEvents {
    any: AtomicBool,
    list: Mutex<Vec<Waiting>>,
}

impl WaitingEvents {
    /// When there is something to do about them.
    pub(crate) fn deadline(&self) -> Option<u64> {
        if !self.any.load(Acquire) {
            return None;
        }
        self.list.lock().iter().filter_map(Waiting::due).min()
    }

    /// Those of queue `eqn` are gone with it.
    pub(crate) fn forget(&mut self, eqn: u32) {
        self.list.get_mut().retain(|waiting| waiting.entry.eqn != eqn);
    }

    /// What rule `rule` holds, with the time since when.
    pub(super) fn held(&self, rule: u32) -> Vec<(String, u64)> {
        let list = self.list.lock();
        let held = list.iter().filter(|waiting| waiting.rule == rule && waiting.pause == Pause::Hold);
        let shown = |w: &Waiting| (format!("{} for EQ {:#x}", w.entry.event, w.entry.eqn), w.since.unwrap_or(0));
        held.map(shown).collect()
    }
}

impl EventMatch {
    fn fits(&self, entry: &Entry) -> bool {
        self.event.is_none_or(|event| event == entry.event)
            && self.sub_type.is_none_or(|sub_type| sub_type == entry.sub_type)
            && self.eqn.is_none_or(|eqn| eqn == entry.eqn)
            && self.fields.iter().all(|(field, value)| field.get(&entry.data) == *value)
    }
}

fn act_of(rule: &Rule) -> Option<&EventAct> {
    if let What::Event(_, act) = &rule.what { Some(act) } else { None }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Whether a rule took an event that was to be written to EQ `eqn`. If not, it is written as always.
    pub(crate) fn event_by_rule(&self, eqn: u32, event: Event, sub_type: u8, data: &[u8]) -> bool {
        if !self.faults.armed(FaultKind::Event) {
            return false;
        }
        let mut entry = Entry { eqn, event, sub_type, data: [0; DATA] };
        let len = data.len().min(DATA);
        entry.data[..len].copy_from_slice(&data[..len]);
        let fits = |what: &What| if let What::Event(wanted, _) = what { wanted.fits(&entry) } else { false };
        let Some(rule) = self.faults.ask(FaultKind::Event, self.index, fits) else { return false };
        let Some(act) = act_of(&rule) else { return false };
        if act.lost {
            return true;
        }
        let times = if act.twice { 2 } else { 1 };
        if let Some(pause) = act.pause {
            let mut list = self.state.waiting_events.list.lock();
            if list.len() < MAX_WAITING {
                list.push(Waiting { rule: rule.id, entry, times, pause, since: None });
                self.state.waiting_events.any.store(true, Release);
                return true;
            }
            limited!(rule.log, warn, "{}: {MAX_WAITING} events wait: {event} does not", self.name);
        }
        (0..times).for_each(|_| self.write_entry(&entry));
        true
    }

    fn write_entry(&self, entry: &Entry) {
        // The queue may be another one by now, which did not ask for this.
        if let Some(eq) = self.state.queues.eqs.find(entry.eqn).filter(|eq| eq.takes(entry.event)) {
            self.write_eqe(entry.eqn, eq, entry.event, entry.sub_type, &entry.data);
        }
    }

    /// Writes the events whose delay is over at `now`.
    pub(crate) fn run_waiting_events(&self, now: u64) {
        if self.state.waiting_events.any.load(Acquire) {
            self.take_waiting(|waiting| {
                waiting.since.get_or_insert(now);
                waiting.due().is_some_and(|due| due <= now)
            });
        }
    }

    /// Writes the events that rule `rule` holds. Says how many.
    pub(super) fn release_events(&self, rule: u32) -> usize {
        self.take_waiting(|waiting| waiting.rule == rule)
    }

    fn take_waiting(&self, mut over: impl FnMut(&mut Waiting) -> bool) -> usize {
        let waiting = &self.state.waiting_events;
        let mut list = waiting.list.lock();
        let (go, stay): (Vec<_>, Vec<_>) = list.drain(..).map(|mut w| (over(&mut w), w)).partition(|(over, _)| *over);
        list.extend(stay.into_iter().map(|(_, waiting)| waiting));
        waiting.any.store(!list.is_empty(), Release);
        drop(list);
        for (_, waiting) in &go {
            (0..waiting.times).for_each(|_| self.write_entry(&waiting.entry));
        }
        go.len()
    }
}
