//! The life of a function as the driver sees it: ENABLE_HCA, ISSI, INIT_HCA, TEARDOWN_HCA, DISABLE_HCA, capabilities.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::capability::CapType;
use mlx5emu_prm::layouts::{
    disable_hca_in, enable_hca_in, query_adapter_out, query_adapter_param_block, query_hca_cap_in, query_hca_cap_out,
    query_issi_out, set_driver_version_in, set_hca_cap_in, set_issi_in,
};
use mlx5emu_prm::opcode::Status;

use super::HcaState;
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::limited;

/// ISSI (interface step sequence id) 0 and 1: bit n of `supported_issi_dw0` is ISSI n.
const SUPPORTED_ISSI: u64 = 0b11;
/// IEEE vendor id of the adapter (OUI 00:02:c9).
const IEEE_VENDOR_ID: u64 = 0x2c9;

impl<M: DmaSpace + 'static> Card<M> {
    /// Only a function itself is named here; functions that manage others come with VFs.
    fn own_function(&self, function_id: u32, embedded_cpu: bool) -> Result<(), Stop> {
        if function_id != 0 || embedded_cpu {
            return bad_param(Syndrome::WrongFunction, format!("function_id {function_id} is not this function"));
        }
        Ok(())
    }

    pub(crate) fn enable_hca(&mut self, call: &mut Call) -> Done {
        use enable_hca_in as cmd;
        self.own_function(call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        let state = &mut self.functions[call.f].state;
        if state.hca != HcaState::Disabled {
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, "the HCA is enabled already");
        }
        state.hca = HcaState::Enabled;
        Ok(())
    }

    pub(crate) fn disable_hca(&mut self, call: &mut Call) -> Done {
        use disable_hca_in as cmd;
        self.own_function(call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        let (port, now) = (self.functions[call.f].port, call.now);
        let fresh = self.functions[call.f].fresh_state(&self.personality);
        let function = &mut self.functions[call.f];
        let old = std::mem::replace(&mut function.state, fresh);
        function.state.parked = old.parked;
        function.state.resumed = old.resumed;
        function.state.holds = old.holds;
        function.front.forget_queues();
        let held = old.pages.held();
        function.page_totals.forgotten += u64::from(held);
        if held > 0 {
            limited!(function.log, warn, "{}: DISABLE_HCA with {held} pages not taken back", function.name);
        }
        self.set_port_admin(port, false, now);
        Ok(())
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
        let needed = self.personality.pages.boot + self.personality.pages.init;
        let state = &mut self.functions[call.f].state;
        if state.hca == HcaState::Initialized {
            return refuse(Status::BAD_SYS_STATE, Syndrome::WrongHcaState, "the HCA is initialized already");
        }
        if state.pages.held() < needed {
            let why = format!("{} pages given, {needed} are needed", state.pages.held());
            return refuse(Status::NO_RESOURCES, Syndrome::PagesMissing, why);
        }
        state.hca = HcaState::Initialized;
        Ok(())
    }

    pub(crate) fn teardown_hca(&mut self, call: &mut Call) -> Done {
        let left = self.functions[call.f].state.live_objects();
        let fresh = self.functions[call.f].fresh_state(&self.personality);
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
        state.vport = fresh.vport;
        state.cq_timers = fresh.cq_timers;
        state.pages.requested_by_event = false;
        function.front.forget_queues();
        let port = function.port;
        self.set_port_admin(port, false, call.now);
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
        if cmd::other_function.is_set(call.input) {
            return bad_param(Syndrome::WrongFunction, "this function manages no other");
        }
        let (kind, mode) = CapType::from_op_mod(call.op_mod());
        let Some(area) = self.functions[call.f].state.caps.area(kind, mode) else {
            return bad_param(Syndrome::BadCapability, format!("capability type {kind} is not offered"));
        };
        let out = query_hca_cap_out::capability.of_mut(call.output);
        let n = area.len().min(out.len());
        out[..n].copy_from_slice(&area[..n]);
        Ok(())
    }

    pub(crate) fn set_hca_cap(&mut self, call: &mut Call) -> Done {
        use set_hca_cap_in as cmd;
        if cmd::other_function.is_set(call.input) {
            return bad_param(Syndrome::WrongFunction, "this function manages no other");
        }
        let (kind, _) = CapType::from_op_mod(call.op_mod());
        self.functions[call.f].state.caps.set(kind, cmd::capability.of(call.input))
    }

    pub(crate) fn nop(&mut self, _: &mut Call) -> Done {
        Ok(())
    }
}
