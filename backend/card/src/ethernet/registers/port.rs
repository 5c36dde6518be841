//! Registers of the port proper: MTU, state, speeds, pause, lanes, why there is no link.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::Field;
use mlx5emu_prm::layouts::{
    bin_range_layout, paos_reg, pddr_monitor_opcode, pddr_reg, pddr_troubleshooting_page, pfcc_reg, pmlp_reg, pmtu_reg,
    pphcr_reg, pplm_reg, ptys_reg,
};
use mlx5emu_prm::register::PortStatus;

use super::super::fec::{self, Fec};
use super::super::port::MAX_MTU;
use crate::card::Card;
use crate::error::{Done, Syndrome, bad_param};

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
/// `an_status` of PTYS (`MLX5_AN_*`).
const AN_UNAVAILABLE: u64 = 0;
const AN_COMPLETE: u64 = 1;
/// `connector_type` of PTYS (`MLX5E_PORT_*`): nothing plugged in; direct-attached copper.
const CONNECTOR_NONE: u64 = 1;
const CONNECTOR_DA: u64 = 7;
/// `active_hist_type` of PPHCR for Reed-Solomon (528, 514) (`MLX5E_HISTOGRAM_FEC_RS_528_514`, en_stats.c).
const HISTOGRAM_RS_528_514: u64 = 3;
/// The fields of PPLM for each of [`fec::SPEEDS`]: what is possible, and what is asked for.
const PPLM_FIELDS: [(Field, Field); fec::SPEEDS.len()] = [
    (pplm_reg::fec_override_cap_100g, pplm_reg::fec_override_admin_100g),
    (pplm_reg::fec_override_cap_50g, pplm_reg::fec_override_admin_50g),
    (pplm_reg::fec_override_cap_25g, pplm_reg::fec_override_admin_25g),
    (pplm_reg::fec_override_cap_10g_40g, pplm_reg::fec_override_admin_10g_40g),
];
/// Lanes of a port.
const LANES: u64 = 4;

impl<M: DmaSpace + 'static> Card<M> {
    pub(super) fn pmtu(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8]) -> Done {
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

    pub(super) fn paos(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8], now: u64) -> Done {
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

    pub(super) fn ptys(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8], now: u64) -> Done {
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
            p.an_disable = ptys_reg::an_disable_admin.is_set(input);
            self.update_link(port, now);
        }
        let oper = self.link_mode(port);
        let p = &self.ports[port];
        ptys_reg::an_disable_cap.set(output, 1);
        ptys_reg::an_disable_admin.set(output, u64::from(p.an_disable));
        ptys_reg::an_status.set(output, if p.link && !p.an_disable { AN_COMPLETE } else { AN_UNAVAILABLE });
        ptys_reg::eth_proto_capability.set(output, u64::from(p.modes));
        ptys_reg::eth_proto_admin.set(output, u64::from(p.admin_modes));
        ptys_reg::eth_proto_oper.set(output, u64::from(oper));
        let peer = p.peer.and_then(|n| self.ports.get(n)).map_or(0, |p| p.admin_modes);
        ptys_reg::eth_proto_lp_advertise.set(output, u64::from(peer));
        let plugged = self.ports[port].has_cable();
        ptys_reg::connector_type.set(output, if plugged { CONNECTOR_DA } else { CONNECTOR_NONE });
        Ok(())
    }

    /// Forward error correction: asked for by speed, in effect by what both ends ask for.
    pub(super) fn pplm(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8], now: u64) -> Done {
        let p = self.port_of(port, pplm_reg::local_port.get(input))?;
        if write {
            let mut admin = [Fec::AUTO; fec::SPEEDS.len()];
            for ((admin, (_, field)), speed) in admin.iter_mut().zip(PPLM_FIELDS).zip(fec::SPEEDS) {
                *admin = Fec(field.get(input) as u8);
                if !speed.possible.has(*admin) {
                    let why = format!("{} {:#x}, possible are {:#x}", field.name, admin.0, speed.possible.0);
                    return bad_param(Syndrome::BadField, why);
                }
            }
            p.fec = admin;
            self.update_link(port, now);
        }
        let active = self.fec(port);
        let p = &self.ports[port];
        output.get_mut(4..).into_iter().for_each(|rest| rest.fill(0));
        for (((cap, field), speed), admin) in PPLM_FIELDS.into_iter().zip(fec::SPEEDS).zip(p.fec) {
            cap.set(output, u64::from(speed.possible.0));
            field.set(output, u64::from(admin.0));
        }
        pplm_reg::fec_mode_active.set(output, u64::from(active.0));
        Ok(())
    }

    /// The histogram of corrected symbols has an entry for each number of them, if the code is one that counts symbols.
    pub(super) fn pphcr(&mut self, port: usize, input: &[u8], output: &mut [u8]) -> Done {
        self.port_of(port, pphcr_reg::local_port.get(input))?;
        output.get_mut(4..).into_iter().for_each(|rest| rest.fill(0));
        let counts = self.fec(port) == Fec::RS;
        pphcr_reg::active_hist_type.set(output, if counts { HISTOGRAM_RS_528_514 } else { 0 });
        pphcr_reg::num_of_bins.set(output, if counts { fec::CORRECTABLE as u64 + 1 } else { 0 });
        for n in (0..=fec::CORRECTABLE).filter(|_| counts) {
            let range = pphcr_reg::bin_range.at_mut(output, n);
            bin_range_layout::low_val.set(range, n as u64);
            bin_range_layout::high_val.set(range, n as u64);
        }
        Ok(())
    }

    /// Pause by what is asked for: ends do not negotiate it. Priority flow control is not offered.
    pub(super) fn pfcc(&mut self, port: usize, write: bool, input: &[u8], output: &mut [u8]) -> Done {
        use pfcc_reg as reg;
        let p = self.port_of(port, reg::local_port.get(input))?;
        if write {
            if reg::pfctx.is_set(input) || reg::pfcrx.is_set(input) {
                return bad_param(Syndrome::BadCapability, "priority flow control is not offered");
            }
            if !reg::pptx_mask_n.is_set(input) {
                p.pause.tx = reg::pptx.is_set(input);
            }
            if !reg::pprx_mask_n.is_set(input) {
                p.pause.rx = reg::pprx.is_set(input);
            }
        }
        let (tx, rx) = (u64::from(p.pause.tx), u64::from(p.pause.rx));
        let active = u64::from(p.link);
        for (field, value) in [
            (reg::pptx, tx),
            (reg::aptx, tx & active),
            (reg::pfctx, 0),
            (reg::pprx, rx),
            (reg::aprx, rx & active),
            (reg::pfcrx, 0),
        ] {
            field.set(output, value);
        }
        Ok(())
    }

    /// The troubleshooting page: why there is no link.
    pub(super) fn pddr(&mut self, port: usize, input: &[u8], output: &mut [u8]) -> Done {
        let p = self.port_of(port, pddr_reg::local_port.get(input))?;
        let page = pddr_reg::page_select.get(input);
        if page != PDDR_TROUBLESHOOTING {
            return bad_param(Syndrome::BadField, format!("page_select {page}"));
        }
        let opcode = match (p.link, p.has_cable()) {
            (true, _) => MONITOR_NO_ISSUE,
            (false, false) => MONITOR_NO_CABLE,
            (false, true) => MONITOR_NO_PARTNER,
        };
        let data = pddr_reg::page_data.of_mut(output);
        data.fill(0);
        let status = pddr_troubleshooting_page::status_opcode.of_mut(data);
        pddr_monitor_opcode::monitor_opcode.set(status, opcode);
        Ok(())
    }
}

/// One module of four lanes.
pub(super) fn pmlp(write: bool, output: &mut [u8]) -> Done {
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
