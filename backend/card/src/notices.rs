//! What the firmware tells of by itself when somebody has it happen (`ctl inject`): warm chips, cables in cages, vports,
//! events without a cause, event queues that overrun.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{mlx5_eqe_cmd, mlx5_eqe_port_module, mlx5_eqe_temp_warning, mlx5_eqe_vport_change};

use crate::card::{Card, FunctionIndex};

/// Temperatures are in 1/8 degree Celsius (MTMP).
const DEGREE: u64 = 8;
/// What the chip has when nobody says otherwise: 45 °C.
pub(crate) const USUAL_TEMPERATURE: u64 = 45 * DEGREE;
/// Where the chip gets too warm: 105 °C.
pub(crate) const CRITICAL_TEMPERATURE: u64 = 105 * DEGREE;
/// The chip's sensor: bit 0 of the sensors that warn.
const CHIP_SENSOR: u64 = 1;

/// What is in the cage of a port: `module_status` of a port module event (`PORT_MODULE_EVENT_*`; the driver has the numbers
/// in its `lib/events.h`, `MLX5_MODULE_STATUS_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Module {
    /// A cable.
    #[default]
    Plugged,
    /// Nothing.
    Unplugged,
    /// A cable that the firmware does not accept, with `error_type`.
    Error(u8),
    /// A cable that is switched off.
    Disabled,
}

impl Module {
    fn status(self) -> u64 {
        match self {
            Self::Plugged => 1,
            Self::Unplugged => 2,
            Self::Error(_) => 3,
            Self::Disabled => 4,
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The chip is that warm, in degrees Celsius. If that is too warm, every function that listens is warned.
    pub fn inject_temperature(&mut self, degrees: u8) {
        self.temperature = u64::from(degrees) * DEGREE;
        if self.temperature >= CRITICAL_TEMPERATURE {
            let mut data = [0u8; mlx5_eqe_temp_warning::SIZE];
            mlx5_eqe_temp_warning::sensor_warning_lsb.set(&mut data, CHIP_SENSOR);
            for function in &self.functions {
                function.post_event(Event::TEMP_WARN_EVENT, 0, &data);
            }
        }
    }

    /// A cable is plugged in, pulled out or refused: the link follows, and the port's PF is told. False: there is no such
    /// port.
    pub fn inject_module(&mut self, port: usize, module: Module, now: u64) -> bool {
        let Some(found) = self.ports.get_mut(port) else { return false };
        found.module = module;
        let mut data = [0u8; mlx5_eqe_port_module::SIZE];
        mlx5_eqe_port_module::module_status.set(&mut data, module.status());
        if let Module::Error(error) = module {
            mlx5_eqe_port_module::error_type.set(&mut data, u64::from(error));
        }
        if let Some(pf) = self.pf_of_port(port) {
            self.post_event(pf, Event::PORT_MODULE_EVENT, 0, &data);
        }
        self.update_link(port, now);
        true
    }

    /// The e-switch manager of `f` is told that the context of its vport changed, whether it asked for that or not.
    pub fn inject_vport_change(&mut self, f: FunctionIndex) {
        let Some(function) = self.functions.get(f) else { return };
        let mut data = [0u8; mlx5_eqe_vport_change::SIZE];
        mlx5_eqe_vport_change::vport_num.set(&mut data, u64::from(function.setup.vport));
        self.post_event(self.manager_of(f), Event::NIC_VPORT_CHANGE, 0, &data);
    }

    /// A command event names `slot`, whatever is in it.
    pub fn inject_command_event(&mut self, f: FunctionIndex, slot: u8) {
        let mut data = [0u8; mlx5_eqe_cmd::SIZE];
        mlx5_eqe_cmd::vector.set(&mut data, 1u64.checked_shl(slot.into()).unwrap_or(0));
        self.post_event(f, Event::CMD, 0, &data);
    }

    /// Event queue `eqn` overruns.
    ///
    /// # Errors
    /// There is no such queue; the sentence names those that there are.
    pub fn inject_eq_overrun(&mut self, f: FunctionIndex, eqn: u32) -> Result<(), String> {
        let Some(function) = self.functions.get(f) else { return Ok(()) };
        let eqs = &function.state.queues.eqs;
        let Some(eq) = eqs.find(eqn) else {
            let known: Vec<String> = eqs.iter().map(|(number, ..)| number.to_string()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(format!("{} has no event queue {eqn}: it has {known}", function.name));
        };
        eq.state.lock().overrun = true;
        Ok(())
    }
}
