//! The thread of a function that waits for its client, so that no worker has to.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::{Condvar, Mutex};

/// Something that may wait for a client.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait in line: one of the function's own and one of each other function that sends to it, at most.
const MAX_JOBS: usize = 256;

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    stop: bool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    line: Mutex<Line>,
    arrived: Condvar,
}

/// Runs jobs one after the other on a thread of its own, which starts with the first job: a function whose memory is all
/// shared has hardly any.
pub(super) struct Messenger {
    name: String,
    shared: Arc<Shared>,
}

impl Messenger {
    pub(super) fn new(function: &str) -> Self {
        Self { name: format!("{function}-messages"), shared: Arc::default() }
    }

    /// Puts `job` into the line.
    ///
    /// # Errors
    /// The thread could not be started, or the line is full; the job is lost.
    pub(super) fn submit(&self, job: Job) -> io::Result<()> {
        let mut line = self.shared.line.lock();
        if line.jobs.len() >= MAX_JOBS || line.stop {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if line.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            line.thread = Some(Builder::new().name(self.name.clone()).spawn(move || work(&shared))?);
        }
        line.jobs.push_back(job);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Ends the thread after the job that it is at; the others are dropped.
    pub(super) fn stop(&self) {
        let thread = {
            let mut line = self.shared.line.lock();
            line.stop = true;
            line.jobs.clear();
            self.shared.arrived.notify_one();
            line.thread.take()
        };
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("{}: the thread ended with a panic", self.name);
        }
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut line = shared.line.lock();
            loop {
                if line.stop {
                    return;
                }
                match line.jobs.pop_front() {
                    Some(job) => break job,
                    None => shared.arrived.wait(&mut line),
                }
            }
        };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            log::error!("a job that waited for a client ended with a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_run_in_order_and_no_thread_starts_before_the_first() {
        let messenger = Messenger::new("pf0");
        assert!(messenger.shared.line.lock().thread.is_none());
        let (tell, told) = mpsc::channel();
        for n in 0..20 {
            let tell = tell.clone();
            messenger.submit(Box::new(move || tell.send(n).unwrap())).unwrap();
        }
        let order: Vec<_> = (0..20).map(|_| told.recv().unwrap()).collect();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
        messenger.stop();
        assert!(messenger.submit(Box::new(|| ())).is_err());
    }

    #[test]
    fn the_line_is_bounded() {
        let messenger = Messenger::new("pf0");
        let (release, blocked) = mpsc::channel::<()>();
        messenger.submit(Box::new(move || blocked.recv().unwrap_or(()))).unwrap();
        let taken = (0..MAX_JOBS + 10).filter(|_| messenger.submit(Box::new(|| ())).is_ok()).count();
        // One more if the thread has taken the first by now.
        assert!((MAX_JOBS - 1..=MAX_JOBS).contains(&taken), "{taken}");
        drop(release);
        messenger.stop();
    }
}
