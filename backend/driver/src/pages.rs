//! Firmware pages: what the driver gave and gets back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mlx5emu_prm::layouts::{be64, manage_pages_in, manage_pages_out, mlx5_eqe_page_req};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::states::ManagePagesMode;

use crate::command::{Output, Ticket, input};
use crate::error::{Error, Result, misbehaves};
use crate::host::Host;

/// Most pages in one command that gives.
const GIVE_AT_ONCE: usize = 4096;
/// Most pages in one command that takes: what fits in 12 mailboxes, as in the kernel.
const TAKE_AT_ONCE: usize = 768;
/// A page request event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Function id or VHCA id.
    pub func_id: u16,
    /// Pages to give, or (negative) to take back.
    pub pages: i32,
    /// All pages of the function are the driver's again.
    pub release_all: bool,
}

/// A MANAGE_PAGES command.
#[derive(Debug)]
pub struct Job {
    /// The command's input.
    pub input: Vec<u8>,
    /// Output length.
    pub out_len: usize,
    func_id: u16,
    pages: Vec<u64>,
    takes: bool,
}

/// Pages of a function.
#[derive(Debug, Default)]
pub struct Pages {
    held: BTreeMap<u16, BTreeSet<u64>>,
    /// Pages given so far.
    pub given: u64,
    /// Pages returned so far.
    pub returned: u64,
    /// Page request events so far.
    pub requests: u64,
    starve: bool,
    queue: VecDeque<Request>,
    active: Option<(Ticket, Job)>,
}

impl Pages {
    /// Nothing given yet. With `starve`, requests that come by event are answered with "cannot give".
    pub fn new(starve: bool) -> Self {
        Self { starve, ..Self::default() }
    }

    /// Pages that the device has.
    pub fn held(&self) -> usize {
        self.held.values().map(BTreeSet::len).sum()
    }

    /// Pages that the device has for an id.
    pub fn held_for(&self, func_id: u16) -> usize {
        self.held.get(&func_id).map_or(0, BTreeSet::len)
    }

    /// The addresses of the pages that the device has for an id.
    pub fn list(&self, func_id: u16) -> Vec<u64> {
        self.held.get(&func_id).into_iter().flatten().copied().collect()
    }

    /// An id for which the device has pages.
    pub fn some_id(&self) -> Option<u16> {
        self.held.iter().find(|(_, pages)| !pages.is_empty()).map(|(id, _)| *id)
    }

    /// What was given for id `old` belongs to `new` from now on.
    pub(crate) fn rekey(&mut self, old: u16, new: u16) {
        if let Some(pages) = self.held.remove(&old) {
            self.held.entry(new).or_default().extend(pages);
        }
    }

    /// Whether an event's request is not yet served.
    pub fn busy(&self) -> bool {
        self.active.is_some() || !self.queue.is_empty()
    }

    /// A page request event.
    pub fn on_event(&mut self, data: &[u8; 28]) {
        self.requests += 1;
        self.queue.push_back(Request {
            func_id: mlx5_eqe_page_req::func_id.get(data) as u16,
            pages: mlx5_eqe_page_req::num_pages.get32(data) as i32,
            release_all: mlx5_eqe_page_req::release_all_pages.is_set(data),
        });
    }

    /// The next request to serve, when none is being served.
    pub fn next_request<H: Host>(&mut self, host: &mut H) -> Result<Option<Job>> {
        if self.active.is_some() {
            return Ok(None);
        }
        let Some(request) = self.queue.pop_front() else { return Ok(None) };
        if request.release_all {
            let pages = self.held.remove(&request.func_id).unwrap_or_default();
            self.returned += pages.len() as u64;
            pages.into_iter().for_each(|page| host.dma_free(page));
            return self.next_request(host);
        }
        if request.pages == 0 {
            return self.next_request(host);
        }
        let count = request.pages.unsigned_abs() as usize;
        if request.pages < 0 {
            let now = count.min(TAKE_AT_ONCE);
            self.rest(request, -((count - now) as i32));
            return Ok(Some(take_job(request.func_id, now)));
        }
        if self.starve {
            return Ok(Some(cant_give_job(request.func_id)));
        }
        let now = count.min(GIVE_AT_ONCE);
        self.rest(request, (count - now) as i32);
        give_job(host, request.func_id, now).map(Some)
    }

    fn rest(&mut self, request: Request, pages: i32) {
        if pages != 0 {
            self.queue.push_front(Request { pages, ..request });
        }
    }

    /// The job that an event caused was submitted.
    pub fn started(&mut self, ticket: Ticket, job: Job) {
        self.active = Some((ticket, job));
    }

    /// The ticket of the job being served.
    pub fn ticket(&self) -> Option<Ticket> {
        self.active.as_ref().map(|(ticket, _)| *ticket)
    }

    /// The job being served is done.
    ///
    /// # Errors
    /// See [`Pages::finish`].
    pub fn finish_active<H: Host>(&mut self, host: &mut H, output: Output) -> Result<usize> {
        match self.active.take() {
            Some((_, job)) => self.finish(host, job, output),
            None => Ok(0),
        }
    }

    /// Books a finished job. Says how many pages it moved.
    ///
    /// # Errors
    /// The command failed; a page came back that the device never had.
    pub fn finish<H: Host>(&mut self, host: &mut H, job: Job, output: Output) -> Result<usize> {
        let bytes = match output.ok() {
            Ok(bytes) => bytes,
            Err(error) => {
                job.pages.iter().for_each(|page| host.dma_free(*page));
                return Err(error);
            }
        };
        if !job.takes {
            self.given += job.pages.len() as u64;
            let count = job.pages.len();
            self.held.entry(job.func_id).or_default().extend(job.pages);
            return Ok(count);
        }
        let count = manage_pages_out::output_num_entries.get(&bytes) as usize;
        let asked = manage_pages_in::input_num_entries.get(&job.input) as usize;
        if count > asked {
            return Err(misbehaves!("{count} pages came back, {asked} were asked"));
        }
        for n in 0..count {
            let page = be64::value.get(manage_pages_out::pas.at(&bytes, n));
            if !self.held.get_mut(&job.func_id).is_some_and(|held| held.remove(&page)) {
                return Err(misbehaves!("page {page:#x} came back, which the device did not have"));
            }
            host.dma_free(page);
        }
        self.returned += count as u64;
        Ok(count)
    }

    /// Frees what the device never returned.
    pub fn abandon<H: Host>(&mut self, host: &mut H) {
        std::mem::take(&mut self.held).into_values().flatten().for_each(|page| host.dma_free(page));
    }
}

fn manage_input(mode: ManagePagesMode, func_id: u16, count: usize, list: usize) -> Vec<u8> {
    let mut cmd = input(Opcode::MANAGE_PAGES, manage_pages_in::SIZE + 8 * list);
    manage_pages_in::op_mod.set(&mut cmd, mode.0.into());
    manage_pages_in::function_id.set(&mut cmd, func_id.into());
    manage_pages_in::input_num_entries.set(&mut cmd, count as u64);
    cmd
}

/// Gives `count` new pages.
///
/// # Errors
/// No memory.
pub fn give_job<H: Host>(host: &mut H, func_id: u16, count: usize) -> Result<Job> {
    let mut pages = Vec::with_capacity(count);
    for _ in 0..count {
        match host.dma_alloc(4096, 4096) {
            Ok(page) => pages.push(page),
            Err(error) => {
                pages.iter().for_each(|page| host.dma_free(*page));
                return Err(error);
            }
        }
    }
    let mut cmd = manage_input(ManagePagesMode::ALLOCATION_SUCCESS, func_id, count, count);
    for (n, page) in pages.iter().enumerate() {
        be64::value.set(manage_pages_in::pas.at_mut(&mut cmd, n), *page);
    }
    Ok(Job { input: cmd, out_len: manage_pages_out::SIZE, func_id, pages, takes: false })
}

/// Takes up to `count` pages back.
pub fn take_job(func_id: u16, count: usize) -> Job {
    let count = count.min(TAKE_AT_ONCE);
    let out_len = manage_pages_out::SIZE + 8 * count;
    Job {
        input: manage_input(ManagePagesMode::HCA_RETURN_PAGES, func_id, count, 0),
        out_len,
        func_id,
        pages: Vec::new(),
        takes: true,
    }
}

/// Tells the device that there is no memory.
pub fn cant_give_job(func_id: u16) -> Job {
    Job {
        input: manage_input(ManagePagesMode::ALLOCATION_FAIL, func_id, 0, 0),
        out_len: manage_pages_out::SIZE,
        func_id,
        pages: Vec::new(),
        takes: false,
    }
}

/// What a function that was torn down still has must come back, or the driver gives up.
pub(crate) fn stuck(held: usize) -> Error {
    misbehaves!("the device keeps {held} pages after the teardown")
}
