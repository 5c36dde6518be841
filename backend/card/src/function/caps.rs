//! Capabilities: what QUERY_HCA_CAP answers and what SET_HCA_CAP may change.
//!
//! A bit is set when its behaviour exists. Limits are the ones that the tables of the rooms enforce, taken from them.

use std::collections::BTreeMap;
use std::iter;

use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::{
    be32, cmd_hca_cap, cmd_hca_cap_2, e_switch_cap, flow_table_eswitch_cap, flow_table_fields_supported,
    flow_table_nic_cap, flow_table_prop_layout, per_protocol_networking_offload_caps, shampo_cap,
};

use crate::card::{FunctionSetup, Personality};
use crate::error::{Done, Syndrome, bad_param};
use crate::eswitch::context::FDB_TO_VPORT_REG_C;
use crate::eswitch::sub_functions::EVENT_SWITCHES;
use crate::eswitch::{SF_BASE_ID, l2, scheduling};
use crate::function::front::UAR_PAGE;
use crate::function::pages::PageIds;
use crate::{ethernet, memory, queues, rdma};

/// Bytes of a capability group.
pub const AREA: usize = 0x1000;

/// The card's clock in kHz (`device_frequency_khz`): the internal timer counts nanoseconds.
const FREQUENCY_KHZ: u64 = 1_000_000;
/// log2 of the size of a BlueFlame register.
const LOG_BF_REG_SIZE: u64 = 9;
/// `port_type` Ethernet.
const PORT_TYPE_ETH: u64 = 1;
/// `wqe_inline_mode`: nothing need be inlined (`MLX5_CAP_INLINE_MODE_NOT_REQUIRED`).
const INLINE_MODE_NOT_REQUIRED: u64 = 2;

/// What a driver switches on by SET_HCA_CAP: its maximum is 1, it begins as 0.
fn switches() -> impl Iterator<Item = Field> {
    let of_pages = [cmd_hca_cap::icm_mng_function_id_mode, cmd_hca_cap::release_all_pages];
    of_pages.into_iter().chain(state_switches())
}

/// Those of events about the states of functions.
fn state_switches() -> impl Iterator<Item = Field> {
    iter::once(cmd_hca_cap::vhca_state).chain(EVENT_SWITCHES.map(|(_, switch)| switch))
}

struct Group {
    max: Box<[u8]>,
    cur: Box<[u8]>,
}

/// The capabilities of one function.
pub struct Capabilities {
    groups: BTreeMap<u16, Group>,
    /// A mistake of the firmware: `icm_mng_function_id_mode` is offered, but stays as it is.
    page_ids_stay: bool,
}

impl Capabilities {
    /// What a function offers.
    pub fn new(setup: &FunctionSetup, personality: &Personality) -> Self {
        let general = general(setup, personality.page_manner.ids);
        let mut here = personality.functions.iter().filter(|f| f.port == setup.port);
        let sfs = here.clone().filter(|f| f.is_sf());
        let adjacent = here.clone().filter(|f| f.is_adjacent()).count();
        let manager = setup.is_pf() && here.any(|f| !f.is_pf());
        let mut groups = BTreeMap::new();
        let mut offered = vec![
            (CapType::GENERAL, general),
            (CapType::GENERAL_2, general_2()),
            (CapType::ETHERNET_OFFLOADS, ethernet_offloads()),
            (CapType::FLOW_TABLE, flow_tables(manager)),
            (CapType::SHAMPO, shampo()),
        ];
        if manager {
            let mut eswitch = eswitch();
            e_switch_cap::ecpf_vport_exists.set(&mut eswitch, u64::from(setup.is_embedded_cpu()));
            let mut qos = area();
            scheduling::offer(&mut qos);
            offered.extend([
                (CapType::ESWITCH, eswitch),
                (CapType::ESWITCH_FLOW_TABLE, eswitch_flow_tables()),
                (CapType::QOS, qos),
            ]);
        }
        for (kind, mut area) in offered {
            if manager && kind == CapType::GENERAL {
                manages(&mut area);
                if let Some(window) = sfs.clone().map(|sf| sf.bar0).min() {
                    has_sfs(&mut area, sfs.clone().count() as u64, window);
                }
            }
            if manager && kind == CapType::GENERAL_2 {
                cmd_hca_cap_2::delegated_vhca_max.set(&mut area, adjacent as u64);
            }
            let max = area.clone();
            if kind == CapType::GENERAL {
                switches().for_each(|switch| switch.set(&mut area, 0));
            }
            groups.insert(kind.0, Group { max, cur: area });
        }
        Self { groups, page_ids_stay: personality.page_manner.ids == PageIds::VhcaIdIgnored }
    }

    /// The values of a group, or nothing if it is not offered.
    pub fn area(&self, kind: CapType, mode: CapMode) -> Option<&[u8]> {
        let group = self.groups.get(&kind.0)?;
        Some(if mode == CapMode::CUR { &group.cur } else { &group.max })
    }

    /// SET_HCA_CAP: takes over every field that is not above its maximum; refuses all if one is.
    pub fn set(&mut self, kind: CapType, new: &[u8]) -> Done {
        let Some(group) = self.groups.get_mut(&kind.0) else {
            return bad_param(Syndrome::BadCapability, format!("capability type {kind} is not offered"));
        };
        if kind != CapType::GENERAL {
            return bad_param(Syndrome::BadCapability, format!("capability type {kind} can't be set"));
        }
        for field in cmd_hca_cap::LAYOUT.fields {
            let (value, cur, max) = (field.get(new), field.get(&group.cur), field.get(&group.max));
            if value != cur && value > max {
                let why = format!("{} set to {value}, its maximum is {max}", field.name);
                return bad_param(Syndrome::BadCapability, why);
            }
        }
        let page_ids = cmd_hca_cap::icm_mng_function_id_mode;
        let before = page_ids.get(&group.cur);
        for field in cmd_hca_cap::LAYOUT.fields {
            field.set(&mut group.cur, field.get(new));
        }
        if self.page_ids_stay {
            page_ids.set(&mut group.cur, before);
        }
        Ok(())
    }

    /// SET_HCA_CAP by the PF of a VF: what it sets is the maximum from then on, as the PF reads it back.
    pub fn set_by_manager(&mut self, kind: CapType, new: &[u8]) -> Done {
        // It is the VF's driver that switches these on.
        let of = |switch: Field| (switch, self.groups.get(&kind.0).map_or(0, |group| switch.get(&group.cur)));
        let kept: Vec<(Field, u64)> = switches().map(of).collect();
        self.set(kind, new)?;
        if let Some(group) = self.groups.get_mut(&kind.0) {
            group.max.copy_from_slice(&group.cur);
            if kind == CapType::GENERAL {
                kept.into_iter().for_each(|(switch, was)| switch.set(&mut group.cur, was));
            }
        }
        Ok(())
    }
}

fn area() -> Box<[u8]> {
    vec![0u8; AREA].into_boxed_slice()
}

fn general(setup: &FunctionSetup, ids: PageIds) -> Box<[u8]> {
    use cmd_hca_cap as cap;
    let mut a = area();
    let native_port = setup.port as u64 + 1;
    for (field, value) in [
        (cap::vhca_id, u64::from(setup.vhca_id)),
        (cap::icm_mng_function_id_mode, u64::from(ids != PageIds::FunctionId)),
        (cap::release_all_pages, 1),
        (cap::port_type, PORT_TYPE_ETH),
        (cap::num_ports, 1),
        (cap::native_port_num, native_port),
        (cap::vport_group_manager, u64::from(setup.is_pf())),
        (cap::eth_net_offloads, 1),
        (cap::nic_flow_table, 1),
        (cap::cqe_version, 1),
        (cap::shampo, 1),
        // A session ends with its burst: there is no `cqe_compression_timeout`.
        (cap::cqe_compression, 1),
        (cap::cqe_compression_max_num, queues::compression::MAX_SESSION as u64),
        (cap::mini_cqe_resp_stride_index, 1),
        (cap::cq_moderation, 1),
        (cap::cq_period_mode_modify, 1),
        (cap::cq_period_start_from_cqe, 1),
        (cap::cq_oi, 1),
        (cap::cq_eq_remap, 0),
        (cap::driver_version, 1),
        (cap::temp_warn_event, 1),
        (cap::port_module_event, u64::from(setup.is_pf())),
        (cap::fast_teardown, 1),
        (cap::force_teardown, 1),
        (cap::vport_counters, 1),
        (cap::vport_counter_local_loopback, 1),
        (cap::disable_local_lb_uc, 1),
        (cap::disable_local_lb_mc, 1),
        (cap::log_max_qp, u64::from(ethernet::LOG_MAX_QUEUES)),
        (cap::log_max_cq, u64::from(queues::LOG_MAX_CQ)),
        (cap::log_max_cq_sz, u64::from(queues::LOG_MAX_CQ_SZ)),
        (cap::log_max_eq_sz, u64::from(queues::LOG_MAX_EQ_SZ)),
        (cap::max_num_eqs, u64::from(queues::MAX_EQS)),
        (cap::log_max_mkey, u64::from(memory::LOG_MAX_MKEY)),
        (cap::log_max_pd, u64::from(memory::LOG_MAX_PD)),
        (cap::log_max_transport_domain, u64::from(memory::LOG_MAX_TRANSPORT_DOMAIN)),
        // Lengths of keys are 64 bits wide.
        (cap::log_max_mrw_sz, 64),
        (cap::log_max_sq, u64::from(ethernet::LOG_MAX_QUEUES)),
        (cap::log_max_rq, u64::from(ethernet::LOG_MAX_QUEUES)),
        (cap::log_max_tir, u64::from(ethernet::LOG_MAX_TIR)),
        (cap::log_max_tis, u64::from(ethernet::LOG_MAX_TIS)),
        (cap::log_max_rqt, u64::from(ethernet::LOG_MAX_RQT)),
        (cap::log_max_rqt_size, u64::from(ethernet::LOG_MAX_RQT_SIZE)),
        (cap::log_max_tis_per_sq, 0),
        (cap::log_max_wq_sz, u64::from(ethernet::LOG_MAX_WQ_SIZE)),
        (cap::log_max_qp_sz, u64::from(ethernet::LOG_MAX_WQ_SIZE)),
        (cap::log_max_stride_sz_sq, 6),
        (cap::log_min_stride_sz_sq, 6),
        (cap::log_max_stride_sz_rq, u64::from(ethernet::LOG_MAX_RQ_STRIDE)),
        (cap::log_min_stride_sz_rq, 4),
        // Striding queues: 2^3 strides of a WQE at least, and UMR that maps their pages.
        (cap::striding_rq, 1),
        (cap::ext_stride_num_range, 1),
        (cap::umr_ptr_rlky, 1),
        (cap::umr_extended_translation_offset, 1),
        (cap::fixed_buffer_size, 1),
        (cap::log_max_klm_list_size, u64::from(memory::LOG_MAX_KLM_LIST_SIZE)),
        (cap::max_indirection, 1),
        (cap::max_wqe_sz_sq, ethernet::MAX_WQE_BYTES as u64),
        (cap::max_wqe_sz_rq, ethernet::MAX_RQ_WQE_BYTES as u64),
        (cap::log_pg_sz, 12),
        (cap::log_bf_reg_size, LOG_BF_REG_SIZE),
        (cap::hca_cap_2, 1),
        (cap::max_tc, 8),
        (cap::device_frequency_khz, FREQUENCY_KHZ),
        (cap::log_max_current_uc_list, u64::from(ethernet::LOG_MAX_UC_LIST)),
        (cap::log_max_current_mc_list, u64::from(ethernet::LOG_MAX_MC_LIST)),
        (cap::log_max_vlan_list, u64::from(ethernet::LOG_MAX_VLAN_LIST)),
        (cap::max_qp_cnt, u64::from(ethernet::MAX_Q_COUNTERS)),
        (cap::max_flow_counter_31_16, u64::from(ethernet::MAX_FLOW_COUNTERS >> 16)),
        (cap::max_flow_counter_15_0, u64::from(ethernet::MAX_FLOW_COUNTERS & 0xffff)),
        (cap::flow_counter_bulk_alloc, ethernet::FLOW_COUNTER_BULK_ALLOC),
        (cap::log_max_flow_counter_bulk, u64::from(ethernet::LOG_MAX_FLOW_COUNTER_BULK)),
        // The driver's RDMA side does not load without.
        (cap::xrc, 1),
        (cap::log_max_xrcd, u64::from(rdma::LOG_MAX_XRCD)),
        // UMR does not change how much a key translates; without this 6.12 makes keys in advance for that.
        (cap::umr_modify_entity_size_disabled, 1),
        (cap::pcam_reg, 1),
        (cap::mcam_reg, 1),
        // 0 is 128 entries; the driver asks for that.
        (cap::pkey_table_size, 0),
    ] {
        field.set(&mut a, value);
    }
    a
}

fn general_2() -> Box<[u8]> {
    let mut a = area();
    cmd_hca_cap_2::log_min_mkey_entity_size.set(&mut a, u64::from(memory::LOG_MIN_PAGE));
    // Ranges of one length may be as short as an entry of split headers.
    let shortest = *ethernet::shampo::LOG_ENTRY_SIZE.start();
    cmd_hca_cap_2::min_mkey_log_entity_size_fixed_buffer_valid.set(&mut a, 1);
    cmd_hca_cap_2::min_mkey_log_entity_size_fixed_buffer.set(&mut a, u64::from(shortest));
    a
}

fn ethernet_offloads() -> Box<[u8]> {
    use per_protocol_networking_offload_caps as cap;
    let mut a = area();
    for (field, value) in [
        (cap::csum_cap, 1),
        (cap::vlan_cap, 1),
        (cap::self_lb_en_modifiable, 1),
        (cap::enhanced_multi_pkt_send_wqe, 1),
        (cap::reg_umr_sq, 1),
        (cap::lro_cap, 1),
        (cap::lro_psh_flag, 1),
        (cap::lro_time_stamp, 1),
        (cap::wqe_inline_mode, INLINE_MODE_NOT_REQUIRED),
        (cap::max_lso_cap, u64::from(ethernet::LOG_MAX_LSO)),
        (cap::rss_ind_tbl_cap, u64::from(ethernet::LOG_MAX_RQT_SIZE)),
    ] {
        field.set(&mut a, value);
    }
    for (n, period) in ethernet::lro::TIMER_PERIODS.into_iter().enumerate() {
        be32::value.set(cap::lro_timer_supported_periods.at_mut(&mut a, n), u64::from(period));
    }
    a
}

fn shampo() -> Box<[u8]> {
    use ethernet::shampo::{LOG_ENTRY_SIZE, LOG_RESERVATION};
    use shampo_cap as cap;
    let mut a = area();
    for (field, value) in [
        (cap::shampo_log_max_reservation_size, *LOG_RESERVATION.end()),
        (cap::shampo_log_min_reservation_size, *LOG_RESERVATION.start()),
        (cap::shampo_header_split, 1),
        (cap::shampo_header_split_data_merge, 1),
        (cap::shampo_log_max_headers_entry_size, *LOG_ENTRY_SIZE.end()),
    ] {
        field.set(&mut a, u64::from(value));
    }
    a
}

fn flow_tables(manager: bool) -> Box<[u8]> {
    use flow_table_prop_layout as prop;
    let mut a = area();
    let receive = flow_table_nic_cap::flow_table_properties_nic_receive.of_mut(&mut a);
    table_properties(receive, ethernet::LOG_MAX_FT_SIZE);
    match_fields(prop::ft_field_support.of_mut(receive));
    if manager {
        registers(receive);
    }
    a
}

/// Tables match and change the metadata registers.
fn registers(properties: &mut [u8]) {
    use flow_table_prop_layout as prop;
    prop::log_max_modify_header_context.set(properties, u64::from(ethernet::LOG_MAX_MODIFY_HEADER));
    prop::max_modify_header_actions.set(properties, u64::from(ethernet::MAX_MODIFY_HEADER_ACTIONS));
    let fields = prop::ft_field_support.of_mut(properties);
    for field in [
        flow_table_fields_supported::metadata_reg_c_0,
        flow_table_fields_supported::metadata_reg_c_1,
        flow_table_fields_supported::metadata_reg_c_2,
        flow_table_fields_supported::metadata_reg_c_3,
        flow_table_fields_supported::metadata_reg_c_4,
        flow_table_fields_supported::metadata_reg_c_5,
        flow_table_fields_supported::metadata_reg_c_6,
        flow_table_fields_supported::metadata_reg_c_7,
    ] {
        field.set(fields, 1);
    }
}

/// The e-switch of a port. What comes from the wire passes an ACL, so that switchdev mode can mark it.
fn eswitch() -> Box<[u8]> {
    let mut a = area();
    for field in [
        e_switch_cap::esw_uplink_ingress_acl,
        e_switch_cap::vport_cvlan_strip,
        e_switch_cap::vport_cvlan_insert_if_not_exist,
    ] {
        field.set(&mut a, 1);
    }
    a
}

/// What tables of every type can do; `log_size` is log2 of their entries.
fn table_properties(properties: &mut [u8], log_size: u32) {
    use flow_table_prop_layout as prop;
    for (field, value) in [
        (prop::ft_support, 1),
        (prop::max_ft_level, ethernet::MAX_FT_LEVEL),
        (prop::log_max_ft_size, log_size),
        (prop::log_max_ft_num, ethernet::LOG_MAX_FT_NUM),
        (prop::log_max_flow, ethernet::LOG_MAX_FLOW),
        (prop::log_max_destination, ethernet::LOG_MAX_DESTINATION),
        // The driver moves the root while tables exist (its anchor comes first).
        (prop::modify_root, 1),
        (prop::flow_modify_en, 1),
        (prop::identified_miss_table_mode, 1),
        (prop::flow_table_modify, 1),
        (prop::flow_counter, 1),
        (prop::log_max_flow_counter, ethernet::LOG_MAX_FLOW_COUNTER),
    ] {
        field.set(properties, u64::from(value));
    }
}

/// The headers that tables match.
fn match_fields(fields: &mut [u8]) {
    use flow_table_fields_supported as can;
    for field in [
        can::outer_dmac,
        can::outer_smac,
        can::outer_ether_type,
        can::outer_ip_version,
        can::outer_first_prio,
        can::outer_first_cfi,
        can::outer_first_vid,
        can::outer_sip,
        can::outer_dip,
        can::outer_frag,
        can::outer_ip_protocol,
        can::outer_ip_ecn,
        can::outer_ip_dscp,
        can::outer_udp_sport,
        can::outer_udp_dport,
        can::outer_tcp_sport,
        can::outer_tcp_dport,
        can::outer_tcp_flags,
    ] {
        field.set(fields, 1);
    }
}

/// A PF has SFs: how many, and the size of their windows in its BAR2.
fn has_sfs(general: &mut [u8], count: u64, window: u64) {
    use cmd_hca_cap as cap;
    for (field, value) in [
        (cap::sf, 1),
        (cap::max_num_sf, count),
        (cap::sf_base_id, u64::from(SF_BASE_ID)),
        // Of 4 KiB pages, as `mlx5_sf_dev_table_create` in the driver's `sf/dev/dev.c` has it.
        (cap::log_min_sf_size, (window / UAR_PAGE).max(1).ilog2().into()),
    ] {
        field.set(general, value);
    }
    state_switches().for_each(|switch| switch.set(general, 1));
}

/// The PF of a port with VFs has their e-switch.
fn manages(general: &mut [u8]) {
    use cmd_hca_cap as cap;
    for (field, value) in [
        (cap::eswitch_manager, 1),
        (cap::qos, 1),
        (cap::nic_vport_change_event, 1),
        (cap::log_max_l2_table, u64::from(l2::LOG_MAX_L2_TABLE)),
    ] {
        field.set(general, value);
    }
}

/// The FDB and the ACLs of vports.
fn eswitch_flow_tables() -> Box<[u8]> {
    use flow_table_eswitch_cap as cap;
    use flow_table_fields_supported as can;
    use flow_table_prop_layout as prop;
    let mut a = area();
    cap::fdb_to_vport_reg_c_id.set(&mut a, FDB_TO_VPORT_REG_C);
    cap::fdb_modify_header_fwd_to_table.set(&mut a, 1);
    for table in [
        cap::flow_table_properties_nic_esw_fdb,
        cap::flow_table_properties_esw_acl_ingress,
        cap::flow_table_properties_esw_acl_egress,
    ] {
        let properties = table.of_mut(&mut a);
        table_properties(properties, ethernet::LOG_MAX_FDB_SIZE);
        let fields = prop::ft_field_support.of_mut(properties);
        match_fields(fields);
        can::source_eswitch_port.set(fields, 1);
        registers(properties);
        for field in [prop::pop_vlan, prop::push_vlan, prop::pop_vlan_2, prop::push_vlan_2] {
            field.set(properties, 1);
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::{PageCounts, PortSetup, VfPageCounts};
    use crate::error::Stop;

    fn capabilities() -> Capabilities {
        let setup = FunctionSetup {
            name: "pf0".into(),
            port: 0,
            vport: 0,
            of_host: false,
            vhca_id: 1,
            vectors: 64,
            bar0: crate::function::front::BAR0_SIZE,
        };
        let personality = Personality {
            version: (28, 40, 1000),
            psid: "MT_EMU0000001".into(),
            system_image_guid: 1,
            pages: PageCounts { boot: 1, init: 1, event: 1 },
            vf_pages: VfPageCounts { enable: 1, init: 1 },
            seed: 0,
            page_manner: crate::PageManner::default(),
            timeouts: None,
            hash_key: (1, 2),
            ports: vec![PortSetup { mac: [2; 6], speed_mbps: 100_000, peer: None }],
            functions: vec![setup.clone()],
        };
        Capabilities::new(&setup, &personality)
    }

    #[test]
    fn a_value_above_the_maximum_is_refused_by_name() {
        let mut caps = capabilities();
        let mut new = caps.area(CapType::GENERAL, CapMode::CUR).unwrap().to_vec();
        cmd_hca_cap::log_max_qp.set(&mut new, 31);
        let refused = caps.set(CapType::GENERAL, &new);
        assert!(matches!(refused, Err(Stop::Refused(r)) if r.why.contains("log_max_qp")));
    }

    #[test]
    fn a_value_below_the_maximum_is_current_afterwards() {
        let mut caps = capabilities();
        let mut new = caps.area(CapType::GENERAL, CapMode::CUR).unwrap().to_vec();
        cmd_hca_cap::log_max_qp.set(&mut new, 4);
        caps.set(CapType::GENERAL, &new).unwrap();
        assert_eq!(cmd_hca_cap::log_max_qp.get(caps.area(CapType::GENERAL, CapMode::CUR).unwrap()), 4);
        assert_ne!(cmd_hca_cap::log_max_qp.get(caps.area(CapType::GENERAL, CapMode::MAX).unwrap()), 4);
    }
}
