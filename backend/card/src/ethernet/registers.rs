//! ACCESS_REG: the port's and the device's registers.
//!
//! A register that is not known is refused. One that the driver reads without asking for a capability first answers with
//! what is true, if that is nothing then zeros.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    access_register_in, access_register_out, eth_802_3_cntrs_grp_data_layout, eth_2819_cntrs_grp_data_layout,
    eth_2863_cntrs_grp_data_layout, paos_reg, pddr_monitor_opcode, pddr_reg, pddr_troubleshooting_page, pfcc_reg,
    pmlp_reg, pmtu_reg, ppcnt_reg, ptys_reg,
};
use mlx5emu_prm::opcode::Status;
use mlx5emu_prm::register::{AccessRegMode, PortStatus, PpcntGroup, Register};
use mlx5emu_prm::{Field, Layout};

use super::port::{MAX_MTU, Port};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};

/// `local_port` of a function's only port.
const LOCAL_PORT: u64 = 1;
/// `proto_mask` of PTYS for Ethernet (`MLX5_PTYS_EN`).
const PTYS_EN: u64 = 1 << 2;
/// Smallest MTU that a port takes: the minimum of IPv4 with header, VLAN tag and FCS.
const MIN_MTU: u64 = 68 + 22;
/// `page_select` of PDDR (`MLX5_PDDR_REG_PAGE_SELECT_TROUBLESHOOTING_INFO_PAGE`).
const PDDR_TROUBLESHOOTING: u64 = 1;
/// Monitor opcodes of PDDR, as mlx5e translates them for ethtool: none; autonegotiation found no partner; no cable.
const MONITOR_NO_ISSUE: u64 = 0;
const MONITOR_NO_PARTNER: u64 = 2;
const MONITOR_NO_CABLE: u64 = 1024;
/// Lanes of a port.
const LANES: u64 = 4;

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn access_register(&mut self, call: &mut Call) -> Done {
        let register = Register(call.get(access_register_in::register_id) as u16);
        let write = match AccessRegMode(call.op_mod()) {
            AccessRegMode::WRITE => true,
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
            Register::PFCC => pfcc(write, input, output),
            Register::PMLP => pmlp(write, output),
            Register::PDDR if !write => self.pddr(port, input, output),
            // Nothing non-volatile is kept and there is no device-wide capability register: all zero.
            Register::MNVDA | Register::NIC_CAP | Register::NODE_DESC if !write => {
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

    fn pmtu(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8]) -> Done {
        let p = self.port_of(port, pmtu_reg::local_port.get(input))?;
        if write {
            let mtu = pmtu_reg::admin_mtu.get(input);
            if !(MIN_MTU..=u64::from(MAX_MTU)).contains(&mtu) {
                return bad_param(
                    Syndrome::BadMtu,
                    format!("an MTU of {mtu} bytes, {MIN_MTU} to {MAX_MTU} is possible"),
                );
            }
            p.mtu = mtu as u16;
        }
        pmtu_reg::max_mtu.set(output, u64::from(MAX_MTU));
        pmtu_reg::admin_mtu.set(output, u64::from(p.mtu));
        pmtu_reg::oper_mtu.set(output, u64::from(p.mtu));
        Ok(())
    }

    fn paos(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8], now: u64) -> Done {
        self.port_of(port, paos_reg::local_port.get(input))?;
        // `ase`: the administrative state is to be taken over.
        if write && paos_reg::ase.is_set(input) {
            match PortStatus(paos_reg::admin_status.get(input) as u8) {
                PortStatus::UP => self.set_port_admin(port, true, now),
                PortStatus::DOWN => self.set_port_admin(port, false, now),
                other => return bad_param(Syndrome::BadField, format!("admin_status {other}")),
            }
        }
        let status = |up| u64::from(if up { PortStatus::UP } else { PortStatus::DOWN }.0);
        let p = &self.ports[port];
        paos_reg::admin_status.set(output, status(p.admin_up));
        paos_reg::oper_status.set(output, status(p.link));
        Ok(())
    }

    fn ptys(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8], now: u64) -> Done {
        let p = self.port_of(port, ptys_reg::local_port.get(input))?;
        if ptys_reg::proto_mask.get(input) & PTYS_EN == 0 {
            return bad_param(Syndrome::BadField, "proto_mask names no Ethernet");
        }
        if write {
            let modes = ptys_reg::eth_proto_admin.get32(input);
            if modes & p.modes == 0 {
                return bad_param(Syndrome::BadField, format!("link modes {modes:#x}, possible are {:#x}", p.modes));
            }
            p.admin_modes = modes & p.modes;
            self.update_link(port, now);
        }
        let oper = self.link_mode(port);
        let p = &self.ports[port];
        ptys_reg::eth_proto_capability.set(output, u64::from(p.modes));
        ptys_reg::eth_proto_admin.set(output, u64::from(p.admin_modes));
        ptys_reg::eth_proto_oper.set(output, u64::from(oper));
        let peer = p.peer.and_then(|n| self.ports.get(n)).map_or(0, |p| p.admin_modes);
        ptys_reg::eth_proto_lp_advertise.set(output, u64::from(peer));
        Ok(())
    }

    /// The troubleshooting page: why there is no link.
    fn pddr(&mut self, port: usize, input: &[u8], output: &mut [u8]) -> Done {
        let p = self.port_of(port, pddr_reg::local_port.get(input))?;
        let page = pddr_reg::page_select.get(input);
        if page != PDDR_TROUBLESHOOTING {
            return bad_param(Syndrome::BadField, format!("page_select {page}"));
        }
        let opcode = match (p.link, p.peer) {
            (true, _) => MONITOR_NO_ISSUE,
            (false, None) => MONITOR_NO_CABLE,
            (false, Some(_)) => MONITOR_NO_PARTNER,
        };
        let data = pddr_reg::page_data.of_mut(output);
        data.fill(0);
        let status = pddr_troubleshooting_page::status_opcode.of_mut(data);
        pddr_monitor_opcode::monitor_opcode.set(status, opcode);
        Ok(())
    }

    fn ppcnt(&mut self, port: usize, input: &[u8], output: &mut [u8]) -> Done {
        let c = &self.port_of(port, ppcnt_reg::local_port.get(input))?.counters;
        let (tx, rx) = (c.sent.read(), c.received.read());
        let [tx_mc, rx_mc, tx_bc, rx_bc] = c.groups.each_ref().map(|n| n.load(Relaxed));
        let too_long = c.too_long.load(Relaxed);
        let set = ppcnt_reg::counter_set.of_mut(output);
        set.fill(0);
        match PpcntGroup(ppcnt_reg::grp.get(input) as u8) {
            PpcntGroup::IEEE_802_3_COUNTERS_GROUP => put(
                set,
                &eth_802_3_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("a_frames_transmitted_ok", tx.0),
                    ("a_frames_received_ok", rx.0),
                    ("a_octets_transmitted_ok", tx.1),
                    ("a_octets_received_ok", rx.1),
                    ("a_multicast_frames_xmitted_ok", tx_mc),
                    ("a_broadcast_frames_xmitted_ok", tx_bc),
                    ("a_multicast_frames_received_ok", rx_mc),
                    ("a_broadcast_frames_received_ok", rx_bc),
                    ("a_frame_too_long_errors", too_long),
                ],
            ),
            PpcntGroup::RFC_2863_COUNTERS_GROUP => put(
                set,
                &eth_2863_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("if_in_octets", rx.1),
                    ("if_in_ucast_pkts", rx.0 - (rx_mc + rx_bc).min(rx.0)),
                    ("if_in_errors", too_long),
                    ("if_out_octets", tx.1),
                    ("if_out_ucast_pkts", tx.0 - (tx_mc + tx_bc).min(tx.0)),
                    ("if_out_discards", c.lost.load(Relaxed)),
                    ("if_in_multicast_pkts", rx_mc),
                    ("if_in_broadcast_pkts", rx_bc),
                    ("if_out_multicast_pkts", tx_mc),
                    ("if_out_broadcast_pkts", tx_bc),
                ],
            ),
            PpcntGroup::RFC_2819_COUNTERS_GROUP => put(
                set,
                &eth_2819_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("ether_stats_octets", rx.1),
                    ("ether_stats_pkts", rx.0),
                    ("ether_stats_broadcast_pkts", rx_bc),
                    ("ether_stats_multicast_pkts", rx_mc),
                    ("ether_stats_oversize_pkts", too_long),
                ],
            ),
            // What these groups count does not happen here: symbol and FCS errors, pause, discards by priority.
            _ => {}
        }
        Ok(())
    }
}

/// Stores 64-bit counters that the layout has as `NAME_high` and `NAME_low`.
fn put(set: &mut [u8], layout: &'static Layout, values: &[(&str, u64)]) {
    for (name, value) in values {
        for (suffix, part) in [("_high", value >> 32), ("_low", value & 0xffff_ffff)] {
            let field: Option<&Field> = layout.fields.iter().find(|f| f.name.strip_suffix(suffix) == Some(name));
            debug_assert!(field.is_some(), "{} has no {name}{suffix}", layout.name);
            if let Some(field) = field {
                field.set(set, part);
            }
        }
    }
}

/// Pause is off and can't be switched on: flow control over the wire comes later.
fn pfcc(write: bool, input: &[u8], output: &mut [u8]) -> Done {
    use pfcc_reg as reg;
    if write && [reg::pptx, reg::pprx, reg::pfctx, reg::pfcrx].iter().any(|f| f.is_set(input)) {
        return bad_param(Syndrome::BadCapability, "pause and priority flow control are not offered");
    }
    for field in [reg::pptx, reg::aptx, reg::pfctx, reg::pprx, reg::aprx, reg::pfcrx] {
        field.set(output, 0);
    }
    Ok(())
}

/// One module of four lanes.
fn pmlp(write: bool, output: &mut [u8]) -> Done {
    if write {
        return bad_param(Syndrome::BadField, "the lanes of a port are fixed");
    }
    pmlp_reg::width.set(output, LANES);
    // Lane n of module 0: `lane` in bits [17:16] and up of each mapping.
    for (lane, field) in [
        pmlp_reg::lane0_module_mapping,
        pmlp_reg::lane1_module_mapping,
        pmlp_reg::lane2_module_mapping,
        pmlp_reg::lane3_module_mapping,
    ]
    .into_iter()
    .enumerate()
    {
        field.set(output, (lane as u64) << 16);
    }
    Ok(())
}
