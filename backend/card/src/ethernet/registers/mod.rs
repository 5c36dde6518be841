//! ACCESS_REG: the registers. Those of the `port` proper and of its `module`, its `counters`, and those of the `device`.
//!
//! A register that is not known is refused. One that the driver reads without asking for a capability first answers with
//! what is true, if that is nothing then zeros.

mod counters;
mod device;
mod module;
mod port;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{access_register_in, access_register_out};
use mlx5emu_prm::opcode::Status;
use mlx5emu_prm::register::{AccessRegMode, Register};

use super::port::Port;
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::function::timeouts::Timeouts;

/// `local_port` of a function's only port.
const LOCAL_PORT: u64 = 1;

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn access_register(&mut self, call: &mut Call) -> Done {
        let register = Register(call.get(access_register_in::register_id) as u16);
        let write = match AccessRegMode(call.op_mod()) {
            // What a VF writes is accepted and has no effect: the port is its PF's.
            AccessRegMode::WRITE => self.functions[call.f].is_pf(),
            AccessRegMode::READ => false,
            other => return refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        };
        let port = self.functions[call.f].port;
        let input = access_register_in::register_data.of(call.input);
        // The answer is the register as it is afterwards; what the driver sent is its start, for fields that select.
        let output = access_register_out::register_data.of_mut(call.output);
        let n = input.len().min(output.len());
        output[..n].copy_from_slice(&input[..n]);
        match register {
            Register::HOST_ENDIANNESS => Ok(()),
            Register::PMTU => self.pmtu(port, write, input, output),
            Register::PAOS => self.paos(port, write, input, output, call.now),
            Register::PTYS => self.ptys(port, write, input, output, call.now),
            Register::PPCNT => self.ppcnt(port, input, output),
            Register::PFCC => self.pfcc(port, write, input, output),
            Register::PMLP => port::pmlp(write, output),
            Register::PDDR if !write => self.pddr(port, input, output),
            Register::PPHCR if !write => self.pphcr(port, input, output),
            Register::PPLM => self.pplm(port, write, input, output, call.now),
            Register::MCIA if !write => self.mcia(port, input, output),
            Register::PCAM if !write => device::pcam(input, output),
            Register::MCAM if !write => device::mcam(input, output),
            Register::MTCAP if !write => device::mtcap(output),
            Register::MTMP => device::mtmp(self.temperature, input, output),
            Register::MCQS if !write => device::mcqs(input, output),
            Register::MCQI if !write => self.mcqi(input, output),
            Register::DTOR if !write => Timeouts::dtor(self.personality.timeouts.as_ref(), output),
            Register::NODE_DESC if !write => device::node_desc(output),
            // Nothing non-volatile is kept, the NIC's registers offer nothing of their own, and no reset of the firmware is
            // for the driver to ask for: all zero.
            Register::MNVDA | Register::NIC_CAP | Register::MFRL if !write => {
                output.fill(0);
                Ok(())
            }
            other => bad_param(Syndrome::UnknownRegister, format!("register {other} is not known")),
        }
    }

    fn port_of(&mut self, port: usize, local_port: u64) -> Result<&mut Port, Stop> {
        match self.ports.get_mut(port) {
            Some(p) if local_port == LOCAL_PORT => Ok(p),
            _ => bad_param(Syndrome::WrongPort, format!("local_port {local_port}")),
        }
    }
}
