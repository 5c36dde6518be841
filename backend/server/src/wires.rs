//! The wires to the outside: bound before the card is confined, each on a thread of its own, confined a little less.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use mlx5emu_card::{Card as Device, FunctionIndex, Uplink};
use mlx5emu_config::Card;
use mlx5emu_vfio_user::{FunctionMemory, Stop};
use mlx5emu_wire::{Line, Notify, Plug, PlugError};
use serde_json::{Value, json};

use crate::sandbox;
use crate::threads::Threads;

/// Binds the wires to the outside that `card` has, each with its port. Relative paths are in `dir`.
///
/// # Errors
/// A socket cannot be had.
pub(crate) fn bind(card: &Card, dir: &Path) -> Result<Vec<(usize, Plug)>, PlugError> {
    let ports = card.ports.iter().enumerate();
    let plugs = ports.filter_map(|(n, port)| Some(Plug::bind(n, &port.wire, dir).transpose()?.map(|plug| (n, plug))));
    plugs.collect()
}

/// A wire whose thread waits for the card.
pub(crate) struct Waiting {
    port: usize,
    line: Arc<Line>,
    engine: Sender<Arc<Threads<FunctionMemory>>>,
}

/// Starts a wire's thread, which first confines itself (to less than the threads of the card, which may not connect) and
/// then waits for the card.
pub(crate) fn spawn(port: usize, plug: Plug, confined: bool, stop: &Stop) -> io::Result<(Waiting, JoinHandle<()>)> {
    let (engine, given) = channel();
    let (line, stop) = (plug.line(), stop.clone());
    let join = Builder::new().name(format!("p{port}-wire")).spawn(move || {
        if confined {
            sandbox::confine_wire(plug.connects());
        }
        run(port, &plug, &given, &stop);
    })?;
    Ok((Waiting { port, line, engine }, join))
}

fn run(port: usize, plug: &Plug, engine: &Receiver<Arc<Threads<FunctionMemory>>>, stop: &Stop) {
    // The card did not come to be.
    let Ok(engine) = engine.recv() else { return };
    let functions: Vec<_> = engine.gate().read().functions_on(port).collect();
    let Some(porter) = engine.gate().read().porter(port) else { return };
    plug.run(stop, &Hook { engine, port, porter, functions });
}

impl Waiting {
    /// Plugs the wire into `device`, which does not run yet.
    pub(crate) fn plug_into(&self, device: &mut Device<FunctionMemory>) {
        device.plug(self.port, Arc::new(External(Arc::clone(&self.line))));
    }

    /// The card runs: the wire looks for its other end.
    pub(crate) fn begin(self, engine: &Arc<Threads<FunctionMemory>>) {
        // A thread that is gone has panicked, and its end is looked at.
        let _ = self.engine.send(Arc::clone(engine));
    }
}

/// What a wire's thread tells the card.
struct Hook {
    engine: Arc<Threads<FunctionMemory>>,
    port: usize,
    porter: FunctionIndex,
    /// Those that send over the wire.
    functions: Vec<FunctionIndex>,
}

impl Notify for Hook {
    fn arrived(&self) {
        // As with doorbells: to wake a worker takes as long as to deliver what came.
        self.engine.rung(self.porter);
    }

    fn link(&self, up: bool) {
        let now = self.engine.clock().now();
        self.engine.change(self.porter, |card| card.set_carrier(self.port, up, now));
    }

    fn room(&self) {
        self.functions.iter().for_each(|f| self.engine.wake(*f));
    }
}

/// A wire, as the card sees it.
struct External(Arc<Line>);

impl Uplink for External {
    fn send(&self, frame: &[u8]) {
        self.0.send(frame);
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    fn flush(&self) -> bool {
        self.0.flush()
    }

    fn receive(&self, deliver: &mut dyn FnMut(&[&[u8]])) {
        self.0.receive(deliver);
    }

    fn inspect(&self) -> Value {
        let counters = &self.0.counters;
        json!({
            "kind": self.0.name(),
            "other_end": if self.0.is_up() { "there" } else { "gone" },
            "sent": counters.sent.load(Relaxed),
            "received": counters.received.load(Relaxed),
            "dropped": counters.dropped.load(Relaxed),
            "waiting": self.0.waiting(),
            "connections": counters.connections.load(Relaxed),
            "violations": counters.violations.load(Relaxed),
        })
    }
}
