//! QEMU's monitor, by which the configuration space of VFs is written where no DMA of the card gets there: behind an IOMMU
//! that translates.
//!
//! The monitor (QMP) carries out commands for people (HMP), and `o` writes an I/O port. Configuration space is behind two of
//! them: an address goes to 0xcf8, then data to 0xcfc (PCI Local Bus Specification 3.0, section 3.2.2.3.2). The guest uses them,
//! too, so it stands still meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use mlx5emu_config::qmp::Qmp;
use mlx5emu_vfio_user::Stop;
use serde_json::Value;

use crate::sandbox;

/// How long one order may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the guest may take to go on, whatever became of the order.
const LAST_PATIENCE: Duration = Duration::from_secs(30);
/// How often the thread looks whether the card ends.
const LOOK: Duration = Duration::from_millis(200);
/// The ports of configuration space, and the bit of an address that says that it is one.
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// A write of 32 bits to the first 256 bytes of a function's configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigWrite {
    /// Bus, device and function (the Routing ID).
    pub routing_id: u16,
    /// Offset: a multiple of 4.
    pub offset: u8,
    /// What is written.
    pub value: u32,
}

impl ConfigWrite {
    fn address(self) -> u32 {
        ENABLE | u32::from(self.routing_id) << 8 | u32::from(self.offset & !3)
    }
}

/// Writes for the machine of one PF, and who wants to know how it went.
type Order = (String, Vec<ConfigWrite>, Sender<io::Result<()>>);

/// The way to the monitors of a card's machines.
#[derive(Clone)]
pub struct Monitors(Sender<Order>);

impl Monitors {
    /// Starts the thread that talks to them; `sockets` has the socket of the machine of each PF, by the PF's name. The thread may
    /// connect to unix sockets, which no other may; one thread, so that two orders do not meet at the ports.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn spawn(
        sockets: BTreeMap<String, PathBuf>,
        confined: bool,
        stop: &Stop,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, orders) = channel();
        let stop = stop.clone();
        let join = Builder::new().name("monitor".into()).spawn(move || {
            if confined {
                sandbox::confine_wire(true);
            }
            run(&sockets, &orders, &stop);
        })?;
        Ok((Self(sender), join))
    }

    /// Carries out `writes` in the machine that has `pf`, while its guest stands still.
    ///
    /// # Errors
    /// There is no monitor, or it does not do it.
    pub fn write(&self, pf: &str, writes: Vec<ConfigWrite>) -> io::Result<()> {
        let (answer, answered) = channel();
        self.0.send((pf.to_string(), writes, answer)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        answered.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }
}

fn run(sockets: &BTreeMap<String, PathBuf>, orders: &Receiver<Order>, stop: &Stop) {
    while !stop.is_stopped() {
        match orders.recv_timeout(LOOK) {
            Ok((pf, writes, answer)) => {
                let path = sockets.get(&pf).ok_or_else(|| io::ErrorKind::NotFound.into());
                // Whoever asked may have gone.
                let _ = answer.send(path.and_then(|path| carry_out(path, &writes)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// Has the guest stand still, unless its user has had it do so, and go on afterwards, whatever happens in between.
fn carry_out(path: &Path, writes: &[ConfigWrite]) -> io::Result<()> {
    let mut session = Session::begin(path, PATIENCE)?;
    if session.execute("query-status")?["running"] != true {
        return session.write_all(writes);
    }
    let done = session.execute("stop").and_then(|_| session.write_all(writes));
    let goes_on = session.execute("cont");
    // A monitor that has not answered may still do what it was told, and takes the next connection when it has.
    let goes_on = goes_on.or_else(|_| Session::begin(path, LAST_PATIENCE)?.execute("cont"));
    goes_on.map_err(|error| {
        io::Error::other(format!("the guest stands still until its monitor is told 'cont': {error}"))
    })?;
    done
}

/// One connection to a monitor.
struct Session(Qmp);

impl Session {
    fn begin(path: &Path, patience: Duration) -> io::Result<Self> {
        Qmp::connect(path, patience).map(Self)
    }

    fn execute(&mut self, command: &str) -> io::Result<Value> {
        self.0.execute(command, &[])
    }

    /// A command for people; what it prints.
    fn ask(&mut self, line: &str) -> io::Result<String> {
        let said = self.0.execute("human-monitor-command", &[("command-line", line)])?;
        Ok(said.as_str().unwrap_or_default().trim().to_string())
    }

    fn put(&mut self, port: u16, value: u32) -> io::Result<()> {
        match self.ask(&format!("o /w {port:#x} {value:#x}"))? {
            said if said.is_empty() => Ok(()),
            said => Err(io::Error::other(format!("QEMU's monitor says to a write to port {port:#x}: {said}"))),
        }
    }

    fn get(&mut self, port: u16) -> io::Result<u32> {
        // `portl[0x0cf8] = 0x80000000`
        let said = self.ask(&format!("i /w {port:#x}"))?;
        let value = said.rsplit_once("0x").and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok());
        value.ok_or_else(|| io::Error::other(format!("QEMU's monitor says to a read of port {port:#x}: {said}")))
    }

    fn write_all(&mut self, writes: &[ConfigWrite]) -> io::Result<()> {
        let before = self.get(ADDRESS)?;
        let done = writes.iter().try_for_each(|write| {
            self.put(ADDRESS, write.address())?;
            self.put(DATA, write.value)
        });
        self.put(ADDRESS, before)?;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::{Arc, Mutex};

    /// A monitor that notes down what it is told; it knows no port above 0xcfc.
    fn monitor(path: &std::path::Path, running: bool) -> Arc<Mutex<Vec<String>>> {
        let listener = UnixListener::bind(path).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                (&stream).write_all(b"{\"QMP\": {\"version\": {}}}\n").unwrap();
                for line in BufReader::new(&stream).lines() {
                    let Ok(line) = line else { break };
                    let command: Value = serde_json::from_str(&line).unwrap();
                    let name = command["execute"].as_str().unwrap();
                    let text = command["arguments"]["command-line"].as_str().unwrap_or(name).to_string();
                    let answer = match text.as_str() {
                        "query-status" => json!({"return": {"running": running}}),
                        "i /w 0xcf8" => json!({"return": "portl[0x0cf8] = 0x80001234\r\n"}),
                        text if text.starts_with("o ") => json!({"return": ""}),
                        _ => json!({"return": {}}),
                    };
                    notes.lock().unwrap().push(text);
                    (&stream).write_all(format!("{{\"event\": \"X\"}}\n{answer}\n").as_bytes()).unwrap();
                }
            }
        });
        told
    }

    fn told_by(running: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pf0.monitor");
        let told = monitor(&path, running);
        let stop = Stop::new().unwrap();
        let (monitors, join) = Monitors::spawn([("pf0".to_string(), path)].into(), true, &stop).unwrap();
        let write = ConfigWrite { routing_id: 0x0102, offset: 0x10, value: 0xfe00_0000 };
        monitors.write("pf0", vec![write]).unwrap();
        assert!(monitors.write("pf1", vec![write]).is_err(), "it has no monitor");
        stop.stop();
        join.join().unwrap();
        let told = told.lock().unwrap();
        told.clone()
    }

    #[test]
    fn the_guest_stands_still_while_its_ports_are_used_and_finds_them_as_they_were() {
        let told = told_by(true);
        assert_eq!(
            told,
            [
                "qmp_capabilities",
                "query-status",
                "stop",
                "i /w 0xcf8",
                "o /w 0xcf8 0x80010210",
                "o /w 0xcfc 0xfe000000",
                "o /w 0xcf8 0x80001234",
                "cont"
            ]
        );
    }

    #[test]
    fn a_guest_that_stands_still_already_is_not_started() {
        let told = told_by(false);
        assert!(!told.iter().any(|command| command == "stop" || command == "cont"), "{told:?}");
    }
}
