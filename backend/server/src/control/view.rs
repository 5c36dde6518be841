//! What can be asked of a running card.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_card::FunctionIndex;
use mlx5emu_config::control::{ErrorCode, MAX_RECORDS, Reply, Request, nearest_name, select};
use mlx5emu_config::{Card, FunctionName};
use mlx5emu_vfio_user::FunctionMemory;
use parking_lot::Mutex;
use rustix::fs::Dir;
use serde_json::{Map, Value, json};

use super::decode::decode;
use crate::function::PciFunction;
use crate::function::shadow::Shadow;
use crate::threads::Threads;

/// A running card, to be looked at.
pub struct View {
    card: Card,
    engine: Arc<Threads<FunctionMemory>>,
    functions: Vec<Arc<PciFunction>>,
    shadows: Vec<Arc<Shadow>>,
    /// The files that this process has open: a directory that lists them, opened while that was allowed.
    descriptors: Option<Mutex<Dir>>,
    /// One inspection at a time: each holds the gate shared for as long as it takes to write everything down.
    looking: Mutex<()>,
}

impl View {
    /// A view of `card`, which `engine` runs behind `functions`.
    pub fn new(
        card: Card,
        engine: Arc<Threads<FunctionMemory>>,
        functions: Vec<Arc<PciFunction>>,
        shadows: Vec<Arc<Shadow>>,
        descriptors: Option<Dir>,
    ) -> Self {
        Self { card, engine, functions, shadows, descriptors: descriptors.map(Mutex::new), looking: Mutex::default() }
    }

    /// What runs the card.
    pub(super) fn engine(&self) -> &Threads<FunctionMemory> {
        &self.engine
    }

    /// The card's functions, in order.
    pub(super) fn functions(&self) -> &[Arc<PciFunction>] {
        &self.functions
    }

    /// The card's description.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Answers what has one answer.
    pub(super) fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Ping {} => Reply::Pong {},
            Request::Inspect { path } => self.inspect(&path),
            Request::Inject { event, args } => self.inject(&event, &args),
            Request::FaultAdd { rules } => self.add_faults(&rules),
            Request::FaultList { name } => self.faults(name.as_deref()),
            Request::FaultClear { name } => self.clear_faults(name.as_deref()),
            Request::Release { name } => self.release(&name),
            Request::Commands { since, function, .. } => self.commands(since, function, MAX_RECORDS),
            Request::Capture { .. } | Request::CaptureBegin { .. } | Request::CaptureTake { .. } => {
                Reply::error(ErrorCode::BadCall, "this is not offered on this socket")
            }
        }
    }

    /// The state below `path`.
    pub fn inspect(&self, path: &str) -> Reply {
        let tree = self.tree();
        // A function's name is short for its place in the tree.
        let found = select(&tree, path).or_else(|| select(tree.get("functions")?, path));
        match found {
            Some(part) => Reply::Inspect { tree: part.clone() },
            None => Reply::error(ErrorCode::NotFound, missing(&tree, path)),
        }
    }

    fn tree(&self) -> Value {
        let _one = self.looking.lock();
        let mut tree = match self.engine.gate().read().inspect() {
            Value::Object(tree) => tree,
            other => Map::from_iter([("card".to_string(), other)]),
        };
        if let Value::Object(functions) = tree.entry("functions").or_insert_with(|| json!({})) {
            for function in &self.functions {
                if let Value::Object(entry) = functions.entry(function.name()).or_insert_with(|| json!({})) {
                    entry.insert("connection".into(), self.connection(function));
                }
            }
            for shadow in &self.shadows {
                let name = self.card.functions().get(shadow.index()).map_or_else(String::new, ToString::to_string);
                if let Value::Object(entry) = functions.entry(name).or_insert_with(|| json!({})) {
                    entry.insert("shadow".into(), json!({ "connected": shadow.is_connected() }));
                }
            }
            for (f, name) in self.card.functions().iter().enumerate().filter(|(_, name)| !self.card.is_pci(**name)) {
                if let Value::Object(entry) = functions.entry(name.to_string()).or_insert_with(|| json!({})) {
                    entry.insert("connection".into(), self.serving(f));
                }
            }
        }
        tree.insert("server".into(), self.server());
        Value::Object(tree)
    }

    fn connection(&self, function: &PciFunction) -> Value {
        let f = function.index();
        let (bus_master, memory_decode) = function.command_bits();
        let traffic = &function.traffic;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let mut shown = self.serving(f);
        let own = json!({
            "connected": function.is_connected(),
            "on_bus": function.is_on_bus(),
            "gateway_locked": function.gateway_locked(),
            "bus_master": bus_master,
            "memory_decode": memory_decode,
            "connections": count(&traffic.connections),
            "bar_reads": count(&traffic.bar_reads),
            "bar_writes": count(&traffic.bar_writes),
            "config_reads": count(&traffic.config_reads),
            "config_writes": count(&traffic.config_writes),
            "dma_maps": count(&traffic.maps),
            "dma_unmaps": count(&traffic.unmaps),
            "flrs": count(&traffic.flrs),
            "sw_resets": count(&traffic.sw_resets),
            "device_resets": count(&traffic.resets),
        });
        if let (Value::Object(shown), Value::Object(own)) = (&mut shown, own) {
            shown.extend(own);
        }
        shown
    }

    /// How a function is served, whoever's connection it is reached by.
    fn serving(&self, f: FunctionIndex) -> Value {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let mut shown = json!({
            "guest_memory": self.engine.sharing(f).name(),
            "stopped": self.engine.stopped(f).name(),
            "worker": self.engine.home(f),
            "ranges": self.engine.gate().read().space(f).map_or(0, FunctionMemory::ranges),
        });
        if let Some(load) = self.engine.load(f) {
            shown["load"] = json!({
                "turns": count(&load.turns),
                "helped": count(&load.helped),
                "commands": count(&load.commands),
                "bursts": count(&load.bursts),
                "fetches_by_message": count(&load.fetches),
                "flushes_by_message": count(&load.flushes),
                "panics": count(&load.panics),
            });
        }
        shown
    }

    fn server(&self) -> Value {
        let now = self.engine.clock().now();
        let workers = self.engine.workers().map(|worker| {
            json!({
                "rounds": worker.rounds.load(Relaxed),
                "sleeps": worker.sleeps.load(Relaxed),
                "busy_ns": worker.busy_ns.load(Relaxed),
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "card": self.card.name,
            "uptime_ns": now,
            "workers": workers.collect::<Vec<_>>(),
            "descriptors": self.descriptors.as_ref().map(|dir| count(&mut dir.lock())),
        })
    }

    /// Recorded commands from `since` on, `limit` of them at most.
    pub fn commands(&self, since: u64, function: Option<FunctionName>, limit: usize) -> Reply {
        let names = self.card.functions();
        if let Some(wanted) = function.filter(|f| !names.contains(f)) {
            let known: Vec<_> = names.iter().map(FunctionName::to_string).collect();
            let message = format!("this card has no function {wanted}: it has {}", known.join(", "));
            return Reply::error(ErrorCode::NotFound, message);
        }
        let since = since.max(1);
        // Copied under the gate's shared side, given names outside.
        let kept = self.engine.gate().read().recorder().since(since - 1);
        let lost = kept.first().map_or(0, |first| first.seq.saturating_sub(since));
        let mut next = since;
        let mut records = Vec::new();
        let mut rest = kept.iter();
        for record in rest.by_ref() {
            let name = names.get(record.function).copied();
            if let Some(name) = name.filter(|name| function.is_none_or(|wanted| wanted == *name)) {
                if records.len() == limit.min(MAX_RECORDS) {
                    return Reply::Commands { records, next, lost, more: true };
                }
                records.push(decode(record, name));
            }
            next = record.seq + 1;
        }
        Reply::Commands { records, next, lost, more: false }
    }
}

/// Entries of a directory, anew each time.
fn count(dir: &mut Dir) -> usize {
    dir.rewind();
    dir.filter(|entry| entry.as_ref().is_ok_and(|entry| !entry.file_name().to_bytes().starts_with(b"."))).count()
}

/// Why `path` leads nowhere, with the names that there are.
fn missing(tree: &Value, path: &str) -> String {
    let mut at = tree;
    let mut walked = Vec::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let below = select(at, name).or_else(|| select(at.get("functions")?, name).filter(|_| walked.is_empty()));
        let Some(below) = below else {
            let shown: String = name.chars().take(64).collect();
            let place = if walked.is_empty() { "the card".to_string() } else { walked.join("/") };
            return match at {
                Value::Object(map) => match nearest_name(name, map.keys().map(String::as_str)) {
                    Some(near) => format!("{place} has no '{shown}'; did you mean '{near}'?"),
                    None => {
                        let names: Vec<_> = map.keys().take(32).map(String::as_str).collect();
                        format!("{place} has no '{shown}': it has {}", names.join(", "))
                    }
                },
                Value::Array(items) => format!("{place} is a list of {}, and '{shown}' is not in it", items.len()),
                _ => format!("{place} is a value, there is nothing below it"),
            };
        };
        walked.push(name);
        at = below;
    }
    "there is nothing there".to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_path_is_answered_with_the_names_that_there_are() {
        let tree = json!({"functions": {"pf0": {"pages": {"given": 1}, "eqs": [1, 2]}}, "server": {}});
        assert!(missing(&tree, "pf0/page").contains("did you mean 'pages'"));
        assert!(missing(&tree, "xyzzy").contains("it has functions, server"));
        assert!(missing(&tree, "pf0/eqs/7").contains("a list of 2"));
        assert!(missing(&tree, "pf0/pages/given/more").contains("nothing below"));
        assert!(missing(&tree, &"é".repeat(1000)).chars().count() < 200);
    }
}
