//! A function's own vport: its NIC context (addresses, MTU, filters), state and counters.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    mac_address_layout, modify_nic_vport_context_in, modify_nic_vport_field_select, modify_vport_state_in,
    nic_vport_context, query_nic_vport_context_in, query_nic_vport_context_out, query_vnic_env_in,
    query_vport_counter_in, query_vport_counter_out, query_vport_state_in, query_vport_state_out, traffic_counter,
};
use mlx5emu_prm::opcode::Status;

use super::{AdminState, ContextChange};
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::ethernet::{LOG_MAX_MC_LIST, LOG_MAX_UC_LIST, LOG_MAX_VLAN_LIST, Traffic};

/// Bytes of an element of an address or VLAN list.
const LIST_ELEMENT: usize = 8;
/// `allowed_list_type`: unicast, multicast, VLAN.
const LIST_TYPES: usize = 3;
const UNICAST: usize = 0;
const MULTICAST: usize = 1;
/// The longest list of each type.
const LIST_LIMITS: [usize; LIST_TYPES] = [1 << LOG_MAX_UC_LIST, 1 << LOG_MAX_MC_LIST, 1 << LOG_MAX_VLAN_LIST];
/// `state` and `admin_state` of a vport (`VPORT_STATE_*`).
const STATE_DOWN: u64 = 0;
const STATE_UP: u64 = 1;
/// op_mod of QUERY_VPORT_STATE and MODIFY_VPORT_STATE: as the function's driver sees it, as the e-switch does
/// (`MLX5_VPORT_STATE_OP_MOD_*`).
const NIC_VPORT: u16 = 0;
const ESW_VPORT: u16 = 1;

/// What a vport counts, by destination: unicast, multicast, broadcast.
#[derive(Debug, Default)]
pub struct VportCounters {
    sent: [Traffic; 3],
    received: [Traffic; 3],
    /// Frames of the function's own that it received.
    pub looped: Traffic,
    /// Frames that no receive queue took: no rule, queue not ready, not an Ethernet frame.
    pub dropped: AtomicU64,
}

/// The index of a frame's counter, by its destination.
fn class(frame: &[u8]) -> usize {
    match frame.first() {
        Some(b) if b & 1 == 0 => 0,
        _ if frame.starts_with(&[0xff; 6]) => 2,
        _ => 1,
    }
}

fn count(counters: &[Traffic; 3], frames: &[&[u8]]) {
    for run in frames.chunk_by(|a, b| class(a) == class(b)) {
        counters[run.first().map_or(0, |frame| class(frame))].count(run);
    }
}

impl VportCounters {
    /// Counts frames that the function sent.
    pub fn sent(&self, frames: &[&[u8]]) {
        count(&self.sent, frames);
    }

    /// Counts frames that the function received.
    pub fn received(&self, frames: &[&[u8]]) {
        count(&self.received, frames);
    }

    /// Packets sent and received.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |t: &[Traffic; 3]| t.iter().map(|c| c.packets.load(Relaxed)).sum();
        (sum(&self.sent), sum(&self.received))
    }
}

/// A vport.
pub struct NicVport {
    context: [u8; nic_vport_context::SIZE],
    lists: [Vec<u8>; LIST_TYPES],
    /// Whether its driver has it up (VFs; a PF's driver has the port).
    pub up: bool,
    /// What it counts.
    pub counters: VportCounters,
}

impl NicVport {
    /// A vport whose permanent address is `mac`.
    pub fn new(mac: [u8; 6], system_image_guid: u64) -> Self {
        let mut context = [0u8; nic_vport_context::SIZE];
        let guid = guid_of(mac);
        nic_vport_context::system_image_guid.set(&mut context, system_image_guid);
        nic_vport_context::port_guid.set(&mut context, guid);
        nic_vport_context::node_guid.set(&mut context, guid);
        nic_vport_context::mtu.set(&mut context, 1500);
        put_mac(nic_vport_context::permanent_address.of_mut(&mut context), mac);
        Self { context, lists: Default::default(), up: false, counters: VportCounters::default() }
    }

    /// Takes over what the PF said of the vport.
    pub(crate) fn administer(&mut self, mac: Option<[u8; 6]>, node_guid: Option<u64>) {
        if let Some(mac) = mac {
            put_mac(nic_vport_context::permanent_address.of_mut(&mut self.context), mac);
            nic_vport_context::port_guid.set(&mut self.context, guid_of(mac));
            nic_vport_context::node_guid.set(&mut self.context, guid_of(mac));
        }
        if let Some(guid) = node_guid {
            nic_vport_context::node_guid.set(&mut self.context, guid);
        }
    }

    /// MODIFY_NIC_VPORT_CONTEXT: changes the fields that `bits` select to those of `new`. Says what of it others may want
    /// to know.
    fn modify(&mut self, bits: &[u8], new: &[u8]) -> Result<ContextChange, Stop> {
        use modify_nic_vport_field_select as select;
        let list = select::addresses_list.is_set(bits).then(|| read_list(new)).transpose()?;
        for (bit, fields) in [
            (select::mtu, &[nic_vport_context::mtu][..]),
            (select::min_inline, &[nic_vport_context::min_wqe_inline_mode]),
            (select::node_guid, &[nic_vport_context::node_guid]),
            (select::port_guid, &[nic_vport_context::port_guid]),
            (select::disable_uc_local_lb, &[nic_vport_context::disable_uc_local_lb]),
            (select::disable_mc_local_lb, &[nic_vport_context::disable_mc_local_lb]),
            (
                select::promisc,
                &[nic_vport_context::promisc_uc, nic_vport_context::promisc_mc, nic_vport_context::promisc_all],
            ),
        ] {
            if bit.is_set(bits) {
                fields.iter().for_each(|f| f.set(&mut self.context, f.get(new)));
            }
        }
        if select::permanent_address.is_set(bits) {
            let area = nic_vport_context::permanent_address;
            area.of_mut(&mut self.context).copy_from_slice(area.of(new));
        }
        let kind = list.as_ref().map(|(kind, _)| *kind);
        if let Some((kind, list)) = list {
            self.lists[kind] = list;
        }
        Ok(ContextChange {
            unicast: kind == Some(UNICAST) || select::permanent_address.is_set(bits),
            multicast: kind == Some(MULTICAST),
            promisc: select::promisc.is_set(bits),
        })
    }

    /// The address.
    pub fn mac(&self) -> [u8; 6] {
        let raw = nic_vport_context::permanent_address.of(&self.context);
        let high = mac_address_layout::mac_addr_47_32.get(raw) as u16;
        let low = mac_address_layout::mac_addr_31_0.get32(raw);
        let mut mac = [0u8; 6];
        mac[..2].copy_from_slice(&high.to_be_bytes());
        mac[2..].copy_from_slice(&low.to_be_bytes());
        mac
    }
}

impl NicVport {
    /// The context.
    pub(crate) fn context(&self) -> &[u8] {
        &self.context
    }

    /// Whether `address` is the vport's own: its permanent one or one of its unicast list.
    pub(crate) fn has_address(&self, address: [u8; 6]) -> bool {
        let permanent = nic_vport_context::permanent_address.of(&self.context);
        permanent.ends_with(&address)
            || self.lists[UNICAST].as_chunks::<LIST_ELEMENT>().0.iter().any(|e| e.ends_with(&address))
    }

    /// Whether the vport gets frames to the group `address`: broadcast, its multicast list, or because it wants all.
    pub(crate) fn listens_to(&self, address: [u8; 6]) -> bool {
        address == [0xff; 6]
            || nic_vport_context::promisc_mc.is_set(&self.context)
            || nic_vport_context::promisc_all.is_set(&self.context)
            || self.lists[MULTICAST].as_chunks::<LIST_ELEMENT>().0.iter().any(|e| e.ends_with(&address))
    }
}

/// EUI-64 from a MAC address: ff:fe in the middle, universal bit turned.
fn guid_of(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn put_mac(raw: &mut [u8], mac: [u8; 6]) {
    mac_address_layout::mac_addr_47_32.set(raw, u64::from(u16::from_be_bytes([mac[0], mac[1]])));
    mac_address_layout::mac_addr_31_0.set(raw, u64::from(u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]])));
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn query_nic_vport_context(&mut self, call: &mut Call) -> Done {
        use query_nic_vport_context_in as cmd;
        let f = self.named_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let vport = &self.functions[f].state.vport;
        let kind = cmd::allowed_list_type.get(call.input) as usize;
        let Some(list) = vport.lists.get(kind) else {
            return bad_param(Syndrome::BadField, format!("allowed_list_type {kind}"));
        };
        let out = query_nic_vport_context_out::nic_vport_context.of_mut(call.output);
        let n = out.len().min(nic_vport_context::SIZE);
        out[..n].copy_from_slice(&vport.context[..n]);
        let room = nic_vport_context::current_uc_mac_address.of_mut(out);
        let bytes = list.len().min(room.len()) / LIST_ELEMENT * LIST_ELEMENT;
        room[..bytes].copy_from_slice(&list[..bytes]);
        nic_vport_context::allowed_list_type.set(out, kind as u64);
        nic_vport_context::allowed_list_size.set(out, (bytes / LIST_ELEMENT) as u64);
        Ok(())
    }

    pub(crate) fn modify_nic_vport_context(&mut self, call: &mut Call) -> Done {
        use modify_nic_vport_context_in as cmd;
        use modify_nic_vport_field_select as select;
        let f = self.named_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let (bits, new) = (cmd::field_select.of(call.input), cmd::nic_vport_context.of(call.input));
        if select::roce_en.is_set(bits) && nic_vport_context::roce_en.is_set(new) {
            return bad_param(Syndrome::BadCapability, "RoCE is not offered");
        }
        let change = self.functions[f].state.vport.modify(bits, new)?;
        if f != call.f || self.functions[f].is_pf() {
            self.administer(f, bits, new);
        }
        self.vport_changed(f, change);
        Ok(())
    }

    /// What a PF says of a vport beyond what its context holds: events to be told of, and addresses that outlive resets.
    fn administer(&mut self, f: FunctionIndex, bits: &[u8], new: &[u8]) {
        use modify_nic_vport_field_select as select;
        let vport = &self.functions[f].state.vport;
        let (mac, guid) = (vport.mac(), nic_vport_context::node_guid.get(&vport.context));
        let admin = self.admin_mut(f);
        if select::permanent_address.is_set(bits) {
            admin.mac = Some(mac);
        }
        if select::node_guid.is_set(bits) {
            admin.node_guid = Some(guid);
        }
        if select::change_event.is_set(bits) {
            let armed = nic_vport_context::arm_change_event.is_set(new);
            admin.armed = ContextChange {
                unicast: armed && nic_vport_context::event_on_uc_address_change.is_set(new),
                multicast: armed && nic_vport_context::event_on_mc_address_change.is_set(new),
                promisc: armed && nic_vport_context::event_on_promisc_change.is_set(new),
            };
        }
    }

    pub(crate) fn query_vport_state(&mut self, call: &mut Call) -> Done {
        use query_vport_state_in as cmd;
        let f = self.named_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let function = &self.functions[f];
        let admin = match call.op_mod() {
            NIC_VPORT if function.is_pf() => {
                let up = self.ports.get(function.port).is_some_and(|p| p.admin_up);
                if up { AdminState::Up } else { AdminState::Down }
            }
            NIC_VPORT if function.state.vport.up => AdminState::Up,
            NIC_VPORT => AdminState::Down,
            ESW_VPORT => self.admin(f).map_or(AdminState::default(), |admin| admin.state),
            other => return refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        };
        call.reply(query_vport_state_out::state, if self.vport_link(f) { STATE_UP } else { STATE_DOWN });
        call.reply(query_vport_state_out::admin_state, admin as u8);
        Ok(())
    }

    pub(crate) fn modify_vport_state(&mut self, call: &mut Call) -> Done {
        use modify_vport_state_in as cmd;
        let f = self.named_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        let state = match cmd::admin_state.get(call.input) {
            0 => AdminState::Down,
            1 => AdminState::Up,
            2 if call.op_mod() == ESW_VPORT => AdminState::Auto,
            other => return bad_param(Syndrome::BadField, format!("admin_state {other}")),
        };
        match call.op_mod() {
            ESW_VPORT if self.functions[call.f].is_pf() => {
                self.connect(call, f)?;
                let before = self.vport_link(f);
                self.admin_mut(f).state = state;
                self.tell_vport_link(f, before);
            }
            ESW_VPORT => return bad_param(Syndrome::WrongVport, "this function manages no e-switch"),
            NIC_VPORT if self.functions[f].is_pf() => {
                let (port, now) = (self.functions[f].port, call.now);
                self.set_port_admin(port, state == AdminState::Up, now);
            }
            NIC_VPORT => self.functions[f].state.vport.up = state == AdminState::Up,
            other => return refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        }
        Ok(())
    }

    pub(crate) fn query_vport_counter(&mut self, call: &mut Call) -> Done {
        use query_vport_counter_in as cmd;
        use query_vport_counter_out as out;
        let f = self.named_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number))?;
        if cmd::clear.is_set(call.input) {
            return refuse(Status::BAD_PARAM, Syndrome::BadField, "vport counters can't be cleared");
        }
        let counters = &self.functions[f].state.vport.counters;
        let [tx_uc, tx_mc, tx_bc] = &counters.sent;
        let [rx_uc, rx_mc, rx_bc] = &counters.received;
        for (area, traffic) in [
            (out::transmitted_eth_unicast, tx_uc),
            (out::transmitted_eth_multicast, tx_mc),
            (out::transmitted_eth_broadcast, tx_bc),
            (out::received_eth_unicast, rx_uc),
            (out::received_eth_multicast, rx_mc),
            (out::received_eth_broadcast, rx_bc),
            (out::local_loopback, &counters.looped),
        ] {
            let (packets, octets) = traffic.read();
            let raw = area.of_mut(call.output);
            traffic_counter::packets.set(raw, packets);
            traffic_counter::octets.set(raw, octets);
        }
        Ok(())
    }

    /// Nothing that these statistics count is kept (no capability of theirs is set): all zero.
    pub(crate) fn query_vnic_env(&mut self, call: &mut Call) -> Done {
        use query_vnic_env_in as cmd;
        self.named_vport(call, cmd::other_vport.is_set(call.input), call.get(cmd::vport_number)).map(drop)
    }
}

fn read_list(new: &[u8]) -> Result<(usize, Vec<u8>), Stop> {
    let kind = nic_vport_context::allowed_list_type.get(new) as usize;
    let count = nic_vport_context::allowed_list_size.get(new) as usize;
    let raw = nic_vport_context::current_uc_mac_address.of(new);
    match LIST_LIMITS.get(kind) {
        None => bad_param(Syndrome::BadField, format!("allowed_list_type {kind}")),
        Some(limit) if count > *limit => {
            bad_param(Syndrome::BadField, format!("a list of {count} entries, {limit} are possible"))
        }
        Some(_) => match raw.get(..count * LIST_ELEMENT) {
            Some(list) => Ok((kind, list.to_vec())),
            None => bad_param(Syndrome::BadField, format!("{count} entries announced, fewer given")),
        },
    }
}
