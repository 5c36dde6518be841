//! The life of a function as the driver sees it: ENABLE_HCA, ISSI, INIT_HCA, TEARDOWN_HCA, DISABLE_HCA, capabilities.

use std::collections::BTreeMap;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::layouts::{
    cmd_hca_cap, disable_hca_in, enable_hca_in, query_adapter_out, query_adapter_param_block, query_hca_cap_in,
    query_hca_cap_out, query_issi_out, set_driver_version_in, set_hca_cap_in, set_issi_in, teardown_hca_in,
};
use mlx5emu_prm::opcode::Status;

use super::HcaState;
use super::pages::Pages;
use crate::card::{Card, FunctionIndex, ResetKind};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::eswitch::ContextChange;
use crate::limited;

/// ISSI (interface step sequence id) 0 and 1: bit n of `supported_issi_dw0` is ISSI n.
const SUPPORTED_ISSI: u64 = 0b11;
/// IEEE vendor id of the adapter (OUI 00:02:c9).
const IEEE_VENDOR_ID: u64 = 0x2c9;
/// `profile` of TEARDOWN_HCA (`MLX5_TEARDOWN_HCA_IN_PROFILE_*` in mlx5_ifc.h).
const PROFILE_GRACEFUL: u32 = 0;
const PROFILE_FORCE: u32 = 1;
const PROFILE_PREPARE_FAST: u32 = 2;

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn enable_hca(&mut self, call: &mut Call) -> Done {
        use enable_hca_in as cmd;
        let f = self.named_function(call, call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        if f != call.f {
            return self.enable_managed(f);
        }
        if !self.functions[f].is_pf() && !self.is_enabled(f) {
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, "the PF has not enabled this function");
        }
        let state = &mut self.functions[f].state;
        if state.hca != HcaState::Disabled {
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, "the HCA is enabled already");
        }
        state.hca = HcaState::Enabled;
        self.vhca_state_changed(f);
        Ok(())
    }

    /// A PF lets a VF or SF begin: its driver waits for `initializing` to go.
    fn enable_managed(&mut self, f: FunctionIndex) -> Done {
        self.not_adjacent(f)?;
        let admin = self.admin_mut(f);
        if admin.enabled || admin.vhca.leaving {
            let again = if admin.enabled { "is enabled already" } else { "is still in use" };
            let why = format!("{} {again}", self.function_name(f));
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, why);
        }
        self.admit(f);
        Ok(())
    }

    fn not_adjacent(&self, f: FunctionIndex) -> Done {
        if !self.functions[f].setup.is_adjacent() {
            return Ok(());
        }
        bad_param(Syndrome::WrongFunction, format!("{} is enabled by its own PF", self.function_name(f)))
    }

    /// One that is managed may begin.
    pub(crate) fn admit(&mut self, f: FunctionIndex) {
        self.admin_mut(f).enabled = true;
        self.functions[f].front.set_initializing(false);
        self.request_vf_pages(f);
        self.vhca_state_changed(f);
    }

    pub(crate) fn disable_hca(&mut self, call: &mut Call) -> Done {
        use disable_hca_in as cmd;
        let f = self.named_function(call, call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        if f != call.f {
            return self.disable_managed(f, call.now);
        }
        let fresh = self.fresh_state(f);
        let function = &mut self.functions[f];
        let old = std::mem::replace(&mut function.state, fresh);
        function.state.parked = old.parked;
        function.state.resumed = old.resumed;
        function.front.forget_queues();
        let held = old.pages.held_by_all();
        if held > 0 {
            limited!(function.log, warn, "{}: DISABLE_HCA with {held} pages not taken back", function.name);
        }
        if self.functions[f].is_pf() {
            let sfs = self.managed(f).iter().copied().filter(|f| self.functions[*f].setup.is_sf());
            for sf in sfs.collect::<Vec<_>>() {
                drop(self.reset(sf, ResetKind::Disabled, call.now));
            }
        } else if self.has_left(f) {
            self.functions[f].front.set_initializing(true);
        }
        self.lost_everything(f, &old.pages, call.now);
        self.vhca_state_changed(f);
        Ok(())
    }

    /// A PF ends a VF, whatever its driver is at: as a reset, and the pages that were given for it go back. An SF whose driver
    /// has it is asked to leave.
    fn disable_managed(&mut self, f: FunctionIndex, now: u64) -> Done {
        self.not_adjacent(f)?;
        if !self.admin_mut(f).enabled {
            let why = format!("{} is not enabled", self.function_name(f));
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, why);
        }
        let function = &self.functions[f];
        // One that has failed could never leave.
        let used = function.setup.is_sf() && function.state.hca != HcaState::Disabled && !function.front.is_dead();
        if used {
            let admin = self.admin_mut(f);
            (admin.enabled, admin.vhca.leaving) = (false, true);
            self.vhca_state_changed(f);
        } else {
            self.dismiss(f, now);
        }
        Ok(())
    }

    /// One that is managed is no more what it was; with a host's PF its VFs go, too.
    pub(crate) fn dismiss(&mut self, f: FunctionIndex, now: u64) {
        for vf in self.vfs_of_host_pf(f) {
            self.dismiss(vf, now);
        }
        self.admin_mut(f).enabled = false;
        drop(self.reset(f, ResetKind::Disabled, now));
    }

    /// The state of `f` was replaced by a fresh one: what hangs on it follows. `pages` is what its driver had given.
    pub(crate) fn lost_everything(&mut self, f: FunctionIndex, pages: &Pages, now: u64) {
        let (port, is_pf) = (self.functions[f].port, self.functions[f].is_pf());
        self.forget_pages(f, pages);
        if is_pf {
            self.set_port_admin(port, false, now);
        } else {
            self.vport_changed(f, ContextChange::ALL);
            self.settle_vf_pages(f);
        }
    }

    pub(crate) fn query_issi(&mut self, call: &mut Call) -> Done {
        call.reply(query_issi_out::current_issi, self.functions[call.f].state.issi);
        call.reply(query_issi_out::supported_issi_dw0, SUPPORTED_ISSI);
        Ok(())
    }

    pub(crate) fn set_issi(&mut self, call: &mut Call) -> Done {
        let issi = call.get(set_issi_in::current_issi);
        if issi >= 32 || SUPPORTED_ISSI >> issi & 1 == 0 {
            return bad_param(Syndrome::BadField, format!("ISSI {issi} is not supported"));
        }
        self.functions[call.f].state.issi = issi as u16;
        Ok(())
    }

    pub(crate) fn init_hca(&mut self, call: &mut Call) -> Done {
        if self.functions[call.f].state.hca == HcaState::Initialized {
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, "the HCA is initialized already");
        }
        self.check_pages(call.f, call.now)?;
        self.functions[call.f].state.hca = HcaState::Initialized;
        Ok(())
    }

    pub(crate) fn teardown_hca(&mut self, call: &mut Call) -> Done {
        // `state` in the answer stays 0, which says that it worked.
        let force = match call.get(teardown_hca_in::profile) {
            PROFILE_GRACEFUL => false,
            PROFILE_FORCE => true,
            // The driver then switches the interface off, and that is the teardown.
            PROFILE_PREPARE_FAST => return Ok(()),
            other => return bad_param(Syndrome::BadField, format!("teardown profile {other}")),
        };
        let left = if force { BTreeMap::new() } else { self.functions[call.f].state.live_objects() };
        let fresh = self.fresh_state(call.f);
        let function = &mut self.functions[call.f];
        if !left.is_empty() {
            limited!(function.log, warn, "{}: TEARDOWN_HCA with objects left: {left:?}", function.name);
        }
        function.left_at_teardown = left;
        // Objects go; the pages stay until they are taken back, capabilities until DISABLE_HCA.
        let state = &mut function.state;
        state.hca = HcaState::Enabled;
        state.queues = fresh.queues;
        state.memory = fresh.memory;
        state.ethernet = fresh.ethernet;
        state.rdma = fresh.rdma;
        state.eswitch.scheduling = fresh.eswitch.scheduling;
        state.vport = fresh.vport;
        state.cq_timers = fresh.cq_timers;
        state.waiting_events = fresh.waiting_events;
        function.front.forget_queues();
        if function.is_pf() {
            let port = function.port;
            call.canaries = self.check_at_teardown(call.f);
            self.end_page_events(call.f);
            self.set_port_admin(port, false, call.now);
        } else {
            self.vport_changed(call.f, ContextChange::ALL);
            self.settle_vf_pages(call.f);
        }
        Ok(())
    }

    pub(crate) fn query_adapter(&mut self, call: &mut Call) -> Done {
        let adapter = query_adapter_out::query_adapter_struct.of_mut(call.output);
        query_adapter_param_block::ieee_vendor_id.set(adapter, IEEE_VENDOR_ID);
        let psid = query_adapter_param_block::vsd_contd_psid.of_mut(adapter);
        for (to, from) in psid.iter_mut().zip(self.personality.psid.bytes()) {
            *to = from;
        }
        Ok(())
    }

    pub(crate) fn set_driver_version(&mut self, call: &mut Call) -> Done {
        let raw = set_driver_version_in::driver_version.of(call.input);
        let text: String =
            raw.iter().take_while(|b| **b != 0).map(|b| if b.is_ascii_graphic() { *b as char } else { '.' }).collect();
        self.functions[call.f].state.driver_version = text;
        Ok(())
    }

    pub(crate) fn query_hca_cap(&mut self, call: &mut Call) -> Done {
        use query_hca_cap_in as cmd;
        let f = self.capable_function(call, cmd::other_function.is_set(call.input), call.get(cmd::function_id))?;
        let (kind, mode) = CapType::from_op_mod(call.op_mod());
        let Some(area) = self.functions[f].state.caps.area(kind, mode) else {
            return bad_param(Syndrome::BadCapability, format!("capability type {kind} is not offered"));
        };
        let out = query_hca_cap_out::capability.of_mut(call.output);
        let n = area.len().min(out.len());
        out[..n].copy_from_slice(&area[..n]);
        Ok(())
    }

    pub(crate) fn set_hca_cap(&mut self, call: &mut Call) -> Done {
        use set_hca_cap_in as cmd;
        let f = self.capable_function(call, cmd::other_function.is_set(call.input), call.get(cmd::function_id))?;
        let (kind, _) = CapType::from_op_mod(call.op_mod());
        let new = cmd::capability.of(call.input);
        let state = &mut self.functions[f].state;
        if f == call.f && kind == CapType::GENERAL && state.hca == HcaState::Initialized {
            let page_ids = cmd_hca_cap::icm_mng_function_id_mode;
            let now = state.caps.area(kind, CapMode::CUR).map_or(0, |cur| page_ids.get(cur));
            if page_ids.get(new) != now {
                let why = "icm_mng_function_id_mode is chosen before INIT_HCA";
                return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, why);
            }
        }
        let caps = &mut state.caps;
        if f == call.f { caps.set(kind, new) } else { caps.set_by_manager(kind, new) }
    }

    /// The function whose capabilities a command is about: without `other_function` the one that asks.
    fn capable_function(&self, call: &Call, other: bool, id: u32) -> Result<FunctionIndex, Stop> {
        match (other, id) {
            (false, _) => Ok(call.f),
            (true, 0) if !self.functions[call.f].setup.is_embedded_cpu() => {
                bad_param(Syndrome::WrongFunction, "function 0 is the one that asks, not another")
            }
            (true, id) => self.named_function(call, id, false),
        }
    }

    pub(crate) fn nop(&mut self, _: &mut Call) -> Done {
        Ok(())
    }
}
