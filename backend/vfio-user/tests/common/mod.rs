//! A function to test with: two register regions, memory behind a gate, and a record of what it was told.
#![allow(dead_code, missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests: a failure is the test's // each test program uses a part of it

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_vfio_user::client::{ClientError, Options, QemuClient};
use mlx5emu_vfio_user::{Client, Device, DeviceInfo, FunctionMemory, Irqs, MapError, Mapping, RegionInfo, Stop, serve};
use parking_lot::{Condvar, Mutex, RwLock};

pub const BAR0_SIZE: u64 = 2 << 20;
pub const VECTORS: u16 = 64;
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Connected,
    Disconnected,
    Reset,
    Map(u64, u64),
    Unmap(u64, u64),
    Write(u32, u64, Vec<u8>),
}

type ReadHook = Box<dyn Fn() + Send>;

pub struct TestDevice {
    pub gate: RwLock<FunctionMemory>,
    pub irqs: Arc<Irqs>,
    pub client: Mutex<Option<Client>>,
    pub bar0: Mutex<Vec<u8>>,
    pub config: Mutex<Vec<u8>>,
    pub events: Mutex<Vec<Event>>,
    pub changed: Condvar,
    pub writes: AtomicU64,
    /// Called inside every read of BAR 0, on the I/O thread.
    pub on_read: Mutex<Option<ReadHook>>,
}

impl TestDevice {
    pub fn new() -> Arc<Self> {
        let irqs = Arc::new(Irqs::new(VECTORS));
        let mut config = vec![0; 4096];
        config[..4].copy_from_slice(&[0xb3, 0x15, 0x1d, 0x10]);
        Arc::new(Self {
            gate: RwLock::new(FunctionMemory::new(Arc::clone(&irqs))),
            irqs,
            client: Mutex::default(),
            bar0: Mutex::new(vec![0; BAR0_SIZE as usize]),
            config: Mutex::new(config),
            events: Mutex::default(),
            changed: Condvar::new(),
            writes: AtomicU64::new(0),
            on_read: Mutex::default(),
        })
    }

    fn note(&self, event: Event) {
        self.events.lock().push(event);
        self.changed.notify_all();
    }

    /// Waits until the device has been told `event`.
    pub fn wait_for(&self, event: &Event) {
        let deadline = Instant::now() + PATIENCE;
        let mut events = self.events.lock();
        while !events.contains(event) {
            let late = self.changed.wait_until(&mut events, deadline).timed_out();
            assert!(!late, "the device was never told {event:?}, only {events:?}");
        }
    }

    pub fn client(&self) -> Client {
        self.client.lock().clone().expect("a client is connected")
    }

    pub fn enable(&self) {
        self.gate.write().set_bus_master(true);
    }

    /// What an executor does: run, fetch what is missing outside the gate, run again; then send what waits.
    pub fn burst<T>(&self, mut work: impl FnMut(&FunctionMemory) -> Result<T, DmaError>) -> Result<T, DmaError> {
        let messages = self.gate.read().messages();
        let mut session = messages.session();
        let result = loop {
            let attempt = work(&self.gate.read());
            match attempt {
                Err(DmaError::Fetch { addr, len }) => {
                    session.stage(addr, len).map_err(|_| DmaError::Unmapped { addr })?;
                }
                done => break done,
            }
        };
        session.finish().expect("the client takes the writes");
        result
    }

    pub fn read(&self, addr: u64, len: usize) -> Result<Vec<u8>, DmaError> {
        let mut buf = vec![0; len];
        self.burst(|m| m.read(Attrs::PLAIN, addr, &mut buf))?;
        Ok(buf)
    }

    pub fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaError> {
        self.burst(|m| m.write(Attrs::PLAIN, addr, data))
    }
}

impl Device for TestDevice {
    fn info(&self) -> DeviceInfo {
        let mut regions = [RegionInfo::default(); 9];
        regions[0] = RegionInfo::read_write(BAR0_SIZE);
        regions[2] = RegionInfo { size: 0x1000, read: true, write: false };
        regions[7] = RegionInfo::read_write(4096);
        DeviceInfo { name: "test".into(), regions }
    }

    fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    fn region_read(&self, region: u32, offset: u64, buf: &mut [u8]) {
        let at = offset as usize;
        match region {
            0 => {
                if let Some(hook) = &*self.on_read.lock() {
                    hook();
                }
                buf.copy_from_slice(&self.bar0.lock()[at..at + buf.len()]);
            }
            7 => buf.copy_from_slice(&self.config.lock()[at..at + buf.len()]),
            _ => buf.fill(0x22),
        }
    }

    fn region_write(&self, region: u32, offset: u64, data: &[u8]) {
        let at = offset as usize;
        match region {
            0 => self.bar0.lock()[at..at + data.len()].copy_from_slice(data),
            7 => {
                self.config.lock()[at..at + data.len()].copy_from_slice(data);
                if offset == 4 {
                    self.gate.write().set_bus_master(data[0] & 4 != 0);
                }
            }
            _ => panic!("region {region} is read-only"),
        }
        self.writes.fetch_add(1, Ordering::AcqRel);
        if region == 7 || offset < 0x1000 {
            self.note(Event::Write(region, offset, data.to_vec()));
        }
    }

    fn dma_map(&self, mapping: Mapping) -> Result<(), MapError> {
        let (first, last) = (mapping.first, mapping.last);
        self.gate.write().map(mapping)?;
        self.note(Event::Map(first, last));
        Ok(())
    }

    fn dma_unmap(&self, first: u64, last: u64) -> u64 {
        let bytes = self.gate.write().unmap(first, last);
        self.note(Event::Unmap(first, last));
        bytes
    }

    fn reset(&self) {
        let mut gate = self.gate.write();
        gate.refuse_dma(true);
        gate.set_bus_master(false);
        gate.refuse_dma(false);
        drop(gate);
        self.note(Event::Reset);
    }

    fn connected(&self, client: Client) {
        self.gate.write().attach(client.clone());
        *self.client.lock() = Some(client);
        self.note(Event::Connected);
    }

    fn disconnected(&self) {
        self.gate.write().detach();
        *self.client.lock() = None;
        self.note(Event::Disconnected);
    }
}

/// A served function.
pub struct Server {
    pub device: Arc<TestDevice>,
    pub path: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pf0.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let device = TestDevice::new();
        let stop = Stop::new().unwrap();
        let (served, stopped) = (Arc::clone(&device) as Arc<dyn Device>, stop.clone());
        let thread = std::thread::spawn(move || serve(listener, &served, &stopped).unwrap());
        Self { device, path, stop, thread: Some(thread), _dir: dir }
    }

    pub fn connect(&self) -> QemuClient {
        self.connect_with(Options::default())
    }

    pub fn connect_with(&self, options: Options) -> QemuClient {
        let client = QemuClient::connect(&self.path, options).unwrap();
        self.device.wait_for(&Event::Connected);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            result.unwrap().expect("the I/O thread must not panic");
        }
    }
}

/// The errno that the server refused with.
pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> i32 {
    let error = result.expect_err("the server should have refused");
    error.errno().unwrap_or_else(|| panic!("not a refusal: {error}"))
}

/// Bytes that differ everywhere, so that a shift shows.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

/// Waits until `done` says so; for what leaves no event.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
