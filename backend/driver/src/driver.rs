//! The driver of one function: probe, the wait loop, remove.

use mlx5emu_prm::capability::CapType;
use mlx5emu_prm::event::{Event, PortChange};
use mlx5emu_prm::layouts::{
    access_register_in, access_register_out, cmd_hca_cap, disable_hca_out, enable_hca_in, enable_hca_out,
    flow_table_nic_cap, flow_table_prop_layout, init_hca_in, init_hca_out, manage_pages_in, mlx5_eqe_cmd,
    mlx5_eqe_comp, mlx5_eqe_port_state, mlx5_init_seg, query_adapter_in, query_adapter_out, query_issi_in,
    query_issi_out, query_pages_in, query_pages_out, set_issi_in, set_issi_out, teardown_hca_in, teardown_hca_out,
};
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::register::{AccessRegMode, Register};
use mlx5emu_prm::states::QueryPagesMode;
use mlx5emu_prm::steering::TableType;

use crate::caps::Caps;
use crate::command::{Commands, Mode, Output, Ticket, dword, input};
use crate::error::{Error, Result, misbehaves};
use crate::event::{Eq, Eqe};
use crate::host::Host;
use crate::net::Net;
use crate::pages::{self, Job, Pages};

/// Events of the asynchronous EQ: those that the kernel always asks for, and that of states.
const ASYNC_EVENTS: [Event; 18] = [
    Event::ESW_FUNCTIONS_CHANGED,
    Event::PATH_MIG,
    Event::COMM_EST,
    Event::SQ_DRAINED,
    Event::CQ_ERROR,
    Event::WQ_CATAS_ERROR,
    Event::PATH_MIG_FAILED,
    Event::PORT_CHANGE,
    Event::WQ_INVAL_REQ_ERROR,
    Event::WQ_ACCESS_ERROR,
    Event::SRQ_CATAS_ERROR,
    Event::SRQ_LAST_WQE,
    Event::SRQ_RQ_LIMIT,
    Event::NIC_VPORT_CHANGE,
    Event::VHCA_STATE_CHANGE,
    Event::GENERAL_EVENT,
    Event::PORT_MODULE_EVENT,
    Event::TEMP_WARN_EVENT,
];

/// How to bring the function up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Command completions by event once there is an EQ; else by polling for ever.
    pub events: bool,
    /// An EQ for page requests.
    pub page_requests: bool,
    /// Answer page requests that come by event with "cannot give", as a machine without memory does.
    pub starve: bool,
    /// Name pages by VHCA id when the device can (`icm_mng_function_id_mode`).
    pub vhca_id_pages: bool,
    /// log2 of the entries of the command and pages EQs.
    pub log_cmd_eq: u32,
    /// log2 of the entries of the asynchronous EQ.
    pub log_async_eq: u32,
    /// Bytes between the first page of an EQ and its first entry: a multiple of 64.
    pub eq_page_offset: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            events: true,
            page_requests: true,
            starve: false,
            vhca_id_pages: true,
            log_cmd_eq: 8,
            log_async_eq: 8,
            eq_page_offset: 0,
        }
    }
}

/// What was counted when the driver left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Pages given to the device since the probe.
    pub pages_given: u64,
    /// Pages that came back.
    pub pages_returned: u64,
    /// Page request events.
    pub page_requests: u64,
    /// Commands executed.
    pub commands: u64,
}

/// The driver of one function.
pub struct Driver<H: Host> {
    /// The machine.
    pub host: H,
    /// How it was brought up.
    pub config: Config,
    /// Capabilities.
    pub caps: Caps,
    /// Firmware pages.
    pub pages: Pages,
    /// Asynchronous events that the driver does not act on, oldest first.
    pub events: Vec<Eqe>,
    /// Sub-types of the PORT_CHANGE events, oldest first.
    pub port_changes: Vec<PortChange>,
    pub(crate) commands: Commands,
    pub(crate) func_id: u16,
    /// The function is an embedded CPU's, and says so wherever it names itself by function id.
    embedded_cpu: bool,
    pub(crate) uar: u32,
    pub(crate) eqs: Vec<Eq>,
    pub(crate) anchor: u32,
    pub(crate) net: Option<Box<Net>>,
    interrupts_seen: Vec<u64>,
    /// Index in `eqs` is below this for asynchronous EQs: command, asynchronous, pages.
    async_eqs: usize,
}

impl<H: Host> Driver<H> {
    /// Brings the function up, as `mlx5_init_one` does.
    ///
    /// # Errors
    /// A command failed; the device lacks something, misbehaves, or does not answer. Memory that it may still use is not
    /// given back then.
    pub fn probe(mut host: H, config: Config) -> Result<Self> {
        wait_fw_init(&mut host)?;
        let embedded_cpu = host.bar_read32(dword(&mlx5_init_seg::initializing)) >> ECPU_BIT & 1 == 1;
        let commands = Commands::enable(&mut host)?;
        let interrupts_seen = (0..host.vectors()).map(|v| host.interrupts(v)).collect();
        let starve = config.starve;
        let mut driver = Self {
            host,
            config,
            caps: Caps::default(),
            pages: Pages::new(starve),
            events: Vec::new(),
            port_changes: Vec::new(),
            commands,
            func_id: 0,
            embedded_cpu,
            uar: 0,
            eqs: Vec::new(),
            anchor: 0,
            net: None,
            interrupts_seen,
            async_eqs: 0,
        };
        driver.function_setup()?;
        driver.load()?;
        Ok(driver)
    }

    /// `mlx5_function_setup`: up to INIT_HCA and what is read right after it.
    fn function_setup(&mut self) -> Result<()> {
        self.command(&self.about_itself(Opcode::ENABLE_HCA), enable_hca_out::SIZE)?;
        self.set_issi()?;
        self.satisfy_startup_pages(QueryPagesMode::BOOT_PAGES)?;
        self.access_register(Register::HOST_ENDIANNESS, AccessRegMode::WRITE, 0, &[0; 16])?;
        self.set_general_caps()?;
        self.satisfy_startup_pages(QueryPagesMode::INIT_PAGES)?;
        self.command(&input(Opcode::INIT_HCA, init_hca_in::SIZE), init_hca_out::SIZE)?;
        self.query_caps()?;
        self.command(&input(Opcode::QUERY_ADAPTER, query_adapter_in::SIZE), query_adapter_out::SIZE)?;
        Ok(())
    }

    /// `mlx5_load`: UAR, event queues, the first flow table.
    fn load(&mut self) -> Result<()> {
        self.uar = self.alloc_uar()?;
        let (log_cmd, log_async) = (self.config.log_cmd_eq, self.config.log_async_eq);
        if self.config.events {
            self.add_eq(log_cmd, 0, &[Event::CMD])?;
            self.commands.set_mode(Mode::Events);
        }
        self.add_eq(log_async, 0, &ASYNC_EVENTS)?;
        if self.config.page_requests && self.caps.general(&cmd_hca_cap::page_request_disable) == 0 {
            self.add_eq(log_cmd, 0, &[Event::PAGE_REQUEST])?;
        }
        self.async_eqs = self.eqs.len();
        let receive = flow_table_nic_cap::flow_table_properties_nic_receive;
        let levels = self.caps.flow_table(&receive, &flow_table_prop_layout::max_ft_level);
        self.anchor = self.create_flow_table(TableType::NIC_RX, levels - 1, 0, None)?;
        self.set_flow_table_root(TableType::NIC_RX, self.anchor)?;
        self.settle_pages()
    }

    /// The driver lets the function go: everything in reverse, all pages back.
    ///
    /// # Errors
    /// As [`Driver::probe`]; also pages that do not come back.
    pub fn remove(mut self) -> Result<(H, Farewell)> {
        self.close()?;
        self.settle_pages()?;
        self.destroy_flow_table(TableType::NIC_RX, self.anchor)?;
        // The command EQ is the first: while it goes, commands are polled for.
        while self.eqs.len() > 1 {
            self.drop_eq()?;
        }
        self.commands.set_mode(Mode::Polling);
        self.drop_eq()?;
        self.dealloc_uar(self.uar)?;
        self.command(&input(Opcode::TEARDOWN_HCA, teardown_hca_in::SIZE), teardown_hca_out::SIZE)?;
        while let Some(id) = self.pages.some_id() {
            let held = self.pages.held_for(id);
            if self.manage(pages::take_job(id, held))? == 0 {
                return Err(pages::stuck(held));
            }
        }
        self.command(&self.about_itself(Opcode::DISABLE_HCA), disable_hca_out::SIZE)?;
        let farewell = Farewell {
            pages_given: self.pages.given,
            pages_returned: self.pages.returned,
            page_requests: self.pages.requests,
            commands: self.commands.completed(),
        };
        self.commands.disable(&mut self.host);
        Ok((self.host, farewell))
    }

    /// Gives all memory back without a word to the device: for use after a reset of the function.
    pub fn abandon(mut self) -> H {
        if let Some(net) = self.net.take() {
            net.free(&mut self.host);
        }
        for eq in std::mem::take(&mut self.eqs) {
            eq.free(&mut self.host);
        }
        self.pages.abandon(&mut self.host);
        self.commands.disable(&mut self.host);
        self.host
    }

    fn set_issi(&mut self) -> Result<()> {
        let out = self.command(&input(Opcode::QUERY_ISSI, query_issi_in::SIZE), query_issi_out::SIZE)?;
        if query_issi_out::supported_issi_dw0.get32(&out) & 2 == 0 {
            return Err(Error::Unsupported("ISSI 1".into()));
        }
        let mut cmd = input(Opcode::SET_ISSI, set_issi_in::SIZE);
        set_issi_in::current_issi.set(&mut cmd, 1);
        self.command(&cmd, set_issi_out::SIZE)?;
        Ok(())
    }

    /// ENABLE_HCA or DISABLE_HCA.
    fn about_itself(&self, opcode: Opcode) -> Vec<u8> {
        let mut cmd = input(opcode, enable_hca_in::SIZE);
        enable_hca_in::embedded_cpu_function.set(&mut cmd, u64::from(self.embedded_cpu));
        cmd
    }

    fn satisfy_startup_pages(&mut self, mode: QueryPagesMode) -> Result<()> {
        let mut cmd = input(Opcode::QUERY_PAGES, query_pages_in::SIZE);
        query_pages_in::op_mod.set(&mut cmd, mode.0.into());
        query_pages_in::function_id.set(&mut cmd, self.func_id.into());
        // Before it names itself by VHCA id.
        let embedded_cpu = self.embedded_cpu && self.func_id == 0;
        query_pages_in::embedded_cpu_function.set(&mut cmd, u64::from(embedded_cpu));
        let out = self.command(&cmd, query_pages_out::SIZE)?;
        let count = query_pages_out::num_pages.get32(&out) as i32;
        let func_id = query_pages_out::function_id.get(&out) as u16;
        if func_id != self.func_id {
            return Err(misbehaves!("QUERY_PAGES answers for function {func_id:#x}, not {:#x}", self.func_id));
        }
        if count > 0 {
            let mut job = pages::give_job(&mut self.host, func_id, count as usize)?;
            manage_pages_in::embedded_cpu_function.set(&mut job.input, u64::from(embedded_cpu));
            self.manage(job)?;
        }
        Ok(())
    }

    fn manage(&mut self, job: Job) -> Result<usize> {
        let ticket = self.commands.submit(&mut self.host, &job.input, job.out_len)?;
        let output = self.wait(ticket)?;
        self.pages.finish(&mut self.host, job, output)
    }

    /// The id by which the driver names its own pages now.
    pub fn page_id(&self) -> u16 {
        self.func_id
    }

    /// Waits until all page requests that came are served.
    ///
    /// # Errors
    /// They are not; see [`Driver::wait`].
    pub fn settle_pages(&mut self) -> Result<()> {
        self.wait_until("page requests", |driver| !driver.pages.busy())
    }

    fn add_eq(&mut self, log_size: u32, vector: u16, mask: &[Event]) -> Result<u32> {
        let mut eq = Eq::new(&mut self.host, log_size, self.uar, vector, self.config.eq_page_offset)?;
        eq.number = self.create_eq(&eq.create_input(mask))?;
        eq.update(&mut self.host, true);
        let number = eq.number;
        self.eqs.push(eq);
        Ok(number)
    }

    fn drop_eq(&mut self) -> Result<()> {
        let Some(eq) = self.eqs.last() else { return Ok(()) };
        self.destroy_eq(eq.number)?;
        if let Some(eq) = self.eqs.pop() {
            eq.free(&mut self.host);
        }
        Ok(())
    }

    /// The completion EQ of a vector, created when it is first asked for.
    pub(crate) fn completion_eq(&mut self, vector: u16, log_size: u32) -> Result<u32> {
        match self.eqs.iter().skip(self.async_eqs).find(|eq| eq.vector == vector) {
            Some(eq) => Ok(eq.number),
            None => self.add_eq(log_size, vector, &[]),
        }
    }

    /// Destroys the completion EQs.
    pub(crate) fn drop_completion_eqs(&mut self) -> Result<()> {
        while self.eqs.len() > self.async_eqs {
            self.drop_eq()?;
        }
        Ok(())
    }

    /// ACCESS_REG: the register's new content.
    ///
    /// # Errors
    /// The command failed.
    pub fn access_register(
        &mut self,
        register: Register,
        mode: AccessRegMode,
        argument: u32,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let mut cmd = input(Opcode::ACCESS_REG, access_register_in::SIZE + data.len());
        access_register_in::op_mod.set(&mut cmd, mode.0.into());
        access_register_in::register_id.set(&mut cmd, register.0.into());
        access_register_in::argument.set(&mut cmd, argument.into());
        access_register_in::register_data.of_mut(&mut cmd).copy_from_slice(data);
        let out = self.command(&cmd, access_register_out::SIZE + data.len())?;
        Ok(access_register_out::register_data.of(&out).to_vec())
    }

    /// Sends a command and waits: its output.
    ///
    /// # Errors
    /// Delivery or outbox status is not OK; the device does not answer.
    pub fn command(&mut self, input: &[u8], out_len: usize) -> Result<Vec<u8>> {
        self.execute(input, out_len)?.ok()
    }

    /// As [`Driver::command`], whatever the status.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn execute(&mut self, input: &[u8], out_len: usize) -> Result<Output> {
        let ticket = self.submit(input, out_len)?;
        self.wait(ticket)
    }

    /// Sends a command and does not wait.
    ///
    /// # Errors
    /// No free slot, no memory.
    pub fn submit(&mut self, input: &[u8], out_len: usize) -> Result<Ticket> {
        self.commands.submit(&mut self.host, input, out_len)
    }

    /// Sends several commands with one doorbell write.
    ///
    /// # Errors
    /// Not enough free slots, no memory.
    pub fn submit_all(&mut self, inputs: &[(Vec<u8>, usize)]) -> Result<Vec<Ticket>> {
        let (mut tickets, mut bits) = (Vec::new(), 0);
        for (input, out_len) in inputs {
            let (ticket, bit) = self.commands.prepare(&mut self.host, input, *out_len)?;
            tickets.push(ticket);
            bits |= bit;
        }
        self.host.bar_write32(dword(&mlx5_init_seg::cmd_dbell), bits);
        Ok(tickets)
    }

    /// Puts an entry into a free slot as it is: see [`Commands::submit_entry`].
    ///
    /// # Errors
    /// No free slot.
    pub fn submit_entry(&mut self, raw: &[u8; 64]) -> Result<Ticket> {
        self.commands.submit_entry(&mut self.host, raw)
    }

    /// The command queue.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// The empty table of the highest level, to which receive tables miss; the root while the interface is not open.
    pub fn anchor(&self) -> u32 {
        self.anchor
    }

    /// The network part, when it is open.
    pub fn net(&self) -> Option<&Net> {
        self.net.as_deref()
    }

    /// Waits for a command.
    ///
    /// # Errors
    /// The device does not answer or misbehaves.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Output> {
        let mut waited = 0;
        loop {
            self.service()?;
            if let Some(output) = self.commands.take(&self.host, ticket)? {
                return Ok(output);
            }
            if !self.host.relax(waited) {
                return Err(Error::Timeout(format!("the command in slot {}", ticket.slot())));
            }
            waited += 1;
        }
    }

    /// Waits until `ready`.
    ///
    /// # Errors
    /// It does not come about; `what` says what was waited for.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let mut waited = 0;
        loop {
            self.service()?;
            if ready(self) {
                return Ok(());
            }
            if !self.host.relax(waited) {
                return Err(Error::Timeout(what.into()));
            }
            waited += 1;
        }
    }

    /// Looks at what interrupts announced: events, finished page commands, send completions.
    ///
    /// # Errors
    /// The device misbehaves.
    pub fn service(&mut self) -> Result<()> {
        for vector in 0..self.interrupts_seen.len() {
            let count = self.host.interrupts(vector as u16);
            if count != self.interrupts_seen[vector] {
                self.interrupts_seen[vector] = count;
                self.serve_vector(vector as u16)?;
            }
        }
        self.serve_pages()?;
        self.poll_sends()
    }

    fn serve_vector(&mut self, vector: u16) -> Result<()> {
        for n in 0..self.eqs.len() {
            if self.eqs[n].vector != vector {
                continue;
            }
            while let Some(eqe) = self.eqs[n].next(&self.host) {
                self.event(eqe)?;
            }
            self.eqs[n].update(&mut self.host, true);
        }
        Ok(())
    }

    fn event(&mut self, eqe: Eqe) -> Result<()> {
        match eqe.event {
            Event::COMP => {
                let cqn = mlx5_eqe_comp::cqn.get32(&eqe.data) & 0xff_ffff;
                match self.net.as_mut().and_then(|net| net.cq_mut(cqn)) {
                    Some(cq) => cq.on_event(),
                    // A queue that was destroyed a moment ago may still have an event on its way.
                    None => return Ok(()),
                }
            }
            Event::CMD => self.commands.on_event(&self.host, mlx5_eqe_cmd::vector.get32(&eqe.data))?,
            Event::PAGE_REQUEST => self.pages.on_event(&eqe.data),
            Event::PORT_CHANGE => {
                if mlx5_eqe_port_state::port_num.get(&eqe.data) != 1 {
                    return Err(misbehaves!("PORT_CHANGE for another port than 1"));
                }
                self.port_changes.push(PortChange(eqe.sub_type));
            }
            _ => self.events.push(eqe),
        }
        Ok(())
    }

    fn serve_pages(&mut self) -> Result<()> {
        loop {
            if let Some(ticket) = self.pages.ticket() {
                let Some(output) = self.commands.take(&self.host, ticket)? else { return Ok(()) };
                self.pages.finish_active(&mut self.host, output)?;
            }
            let Some(job) = self.pages.next_request(&mut self.host)? else { return Ok(()) };
            let ticket = self.commands.submit(&mut self.host, &job.input, job.out_len)?;
            self.pages.started(ticket, job);
        }
    }

    /// Whether a command is refused, and how: for tests.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn refusal(&mut self, input: &[u8], out_len: usize) -> Result<(Status, u32)> {
        let output = self.execute(input, out_len)?;
        Ok((output.status(), output.syndrome()))
    }

    /// Raw capabilities of a group, maximum: for tests.
    ///
    /// # Errors
    /// The command failed.
    pub fn max_caps(&mut self, group: CapType) -> Result<Vec<u8>> {
        self.query_hca_cap(group, mlx5emu_prm::capability::CapMode::MAX)
    }
}

/// Bit of the dword `initializing` (`MLX5_ECPU_BIT_NUM`).
const ECPU_BIT: u32 = 23;

/// Waits for the end of the initialization that the device does by itself.
fn wait_fw_init<H: Host>(host: &mut H) -> Result<()> {
    let mut waited = 0;
    while host.bar_read32(dword(&mlx5_init_seg::initializing)) >> 31 == 1 {
        if !host.relax(waited) {
            return Err(Error::Timeout("the firmware's initialization".into()));
        }
        waited += 1;
    }
    Ok(())
}
