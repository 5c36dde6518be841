//! Adding rules, looking at them, releasing what they hold, taking them away.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_config::control::{FaultState, Held, MAX_HELD, nearest_name};
use mlx5emu_config::fault::{Action, FaultRule, MAX_RULES};
use mlx5emu_pci_model::DmaSpace;

use super::{Faults, Rule, bit};
use crate::card::{Card, Personality};
use crate::error::Wait;

/// Whether a card of this personality can have these rules from its beginning.
///
/// # Errors
/// One sentence: the rule and what is wrong with it.
pub fn check(personality: &Personality, rules: &[FaultRule]) -> Result<(), String> {
    Faults::new(personality).add(rules).map(|_| ())
}

impl Faults {
    /// All of them, or none.
    pub(super) fn add(&self, specs: &[FaultRule]) -> Result<Vec<String>, String> {
        let mut rules = self.rules.write();
        if rules.len() + specs.len() > MAX_RULES {
            return Err(format!("a card has {MAX_RULES} fault rules at most: clear some"));
        }
        let mut fresh: Vec<Arc<Rule>> = Vec::new();
        let mut last_id = self.last_id.lock();
        for spec in specs {
            *last_id += 1;
            let taken = |name: &str| rules.iter().chain(&fresh).any(|rule| &*rule.name == name);
            let name = match &spec.name {
                Some(name) if taken(name) => {
                    return Err(format!("there is a rule '{name}' already: clear it first, or take another name"));
                }
                Some(name) => name.clone(),
                None => (*last_id..).map(|n| format!("rule{n}")).find(|name| !taken(name)).unwrap_or_default(),
            };
            let rule = self.compile(spec, *last_id, &name).map_err(|why| format!("{why} (in the rule '{spec}')"))?;
            fresh.push(Arc::new(rule));
        }
        let names = fresh.iter().map(|rule| rule.name.to_string()).collect();
        rules.append(&mut fresh);
        self.arm(&rules);
        Ok(names)
    }

    fn arm(&self, rules: &[Arc<Rule>]) {
        self.armed.store(rules.iter().fold(0, |armed, rule| armed | bit(rule.spec.kind)), Relaxed);
    }

    /// The rule called `name`, or all.
    fn find(&self, name: Option<&str>) -> Result<Vec<Arc<Rule>>, String> {
        let rules = self.rules.read();
        let Some(name) = name else { return Ok(rules.clone()) };
        if let Some(rule) = rules.iter().find(|rule| &*rule.name == name) {
            return Ok(vec![Arc::clone(rule)]);
        }
        let shown: String = name.chars().take(64).collect();
        let names = || rules.iter().map(|rule| &*rule.name);
        Err(match nearest_name(name, names()) {
            Some(near) => format!("there is no fault rule '{shown}'; did you mean '{near}'?"),
            None if rules.is_empty() => format!("there is no fault rule '{shown}', nor any other"),
            None => format!("there is no fault rule '{shown}': there are {}", names().collect::<Vec<_>>().join(", ")),
        })
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Adds fault rules, all of them or none. Says what they are called.
    ///
    /// # Errors
    /// One sentence: the rule and what is wrong with it.
    pub fn add_faults(&mut self, rules: &[FaultRule]) -> Result<Vec<String>, String> {
        self.faults.add(rules)
    }

    /// Takes the rule called `name` away, or all of them; what they hold goes on. Says how many there were and how much
    /// goes on.
    ///
    /// # Errors
    /// There is no such rule.
    pub fn clear_faults(&mut self, name: Option<&str>) -> Result<(usize, usize), String> {
        let gone = self.faults.find(name)?;
        let mut rules = self.faults.rules.write();
        rules.retain(|rule| !gone.iter().any(|g| g.id == rule.id));
        self.faults.arm(&rules);
        drop(rules);
        let released = gone.iter().map(|rule| self.release_rule(rule.id)).sum();
        Ok((gone.len(), released))
    }

    /// What the rule called `name` holds goes on. Says how much that is.
    ///
    /// # Errors
    /// There is no such rule, or it holds nothing ever.
    pub fn release_fault(&mut self, name: &str) -> Result<usize, String> {
        let found = self.faults.find(Some(name))?;
        let Some(rule) = found.first() else { return Ok(0) };
        if !holds(rule) {
            return Err(format!("the rule '{name}' does not hold anything: its action is no 'hold'"));
        }
        Ok(self.release_rule(rule.id))
    }

    fn release_rule(&mut self, rule: u32) -> usize {
        let functions = || self.functions.iter();
        let events: usize = functions().map(|function| function.release_events(rule)).sum();
        let queues: usize = functions().map(|function| function.release_queues(rule)).sum();
        self.release_commands(rule) + events + queues
    }

    /// The rule called `name`, or all of them, with what they did.
    ///
    /// # Errors
    /// There is no such rule.
    pub fn fault_states(&self, name: Option<&str>) -> Result<Vec<FaultState>, String> {
        Ok(self.faults.find(name)?.iter().map(|rule| self.fault_state(rule)).collect())
    }

    fn fault_state(&self, rule: &Rule) -> FaultState {
        let mut held: Vec<Held> = self.held_commands(rule.id);
        for function in &self.functions {
            let events = function.state.waiting_events.held(rule.id);
            let things = events.into_iter().chain(function.queues_held(rule.id));
            let shown = |(what, since_ns)| Held { function: function.name.clone(), what, since_ns };
            held.extend(things.map(shown));
        }
        held.sort_by_key(|held| held.since_ns);
        let held_count = held.len() as u64;
        held.truncate(MAX_HELD);
        let counts = rule.counts.lock();
        FaultState {
            name: rule.name.to_string(),
            rule: rule.spec.text.clone(),
            matched: counts.iter().map(|count| count.matched).sum(),
            acted: counts.iter().map(|count| count.acted).sum(),
            holds: holds(rule),
            held_count,
            held,
        }
    }

    fn held_commands(&self, rule: u32) -> Vec<Held> {
        let parked = self.functions.iter().flat_map(|f| f.state.parked.iter().map(|parked| (f.name.clone(), parked)));
        let held = parked.filter(|(_, parked)| parked.wait == Wait::Hold(rule));
        held.map(|(function, parked)| {
            let what = format!("{} in slot {}", parked.command.opcode(), parked.command.slot);
            Held { function, what, since_ns: parked.since }
        })
        .collect()
    }
}

fn holds(rule: &Rule) -> bool {
    rule.spec.actions.contains(&Action::Hold)
}
