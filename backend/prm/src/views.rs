//! What the bytes of an untyped area hold, and which numbers have names: what depends on another field.

use crate::capability::CapType;
use crate::event::{Event, GeneralEvent, PortChange};
use crate::field::Layout;
use crate::layouts;
use crate::names::Names;
use crate::opcode::{Opcode, Status};
use crate::register::{PortStatus, PpcntGroup, Register};
use crate::states::{
    CqState, CqStatus, EqState, EqStatus, MemRqType, NicVportListType, RmpState, RqState, RxHashFn, SqState,
    TeardownProfile, TirDispType, VhcaState, VportAdminState, VportState, WqType,
};
use crate::steering::{DestinationType, FlowSource, MissAction, TableType};
use crate::wqe::{CqeOpcode, CqeSyndrome, WqeOpcode};

/// The layouts that `area` of `layout` may hold; none where the table gives the area one layout, or plain bytes.
pub fn views(layout: &str, area: &str) -> Vec<&'static Layout> {
    let mut found: Vec<&'static Layout> = match (layout, area) {
        ("query_hca_cap_out" | "set_hca_cap_in", "capability") => {
            CapType::NAMES.values.iter().filter_map(|v| CapType(v.value as u16).layout()).collect()
        }
        ("access_register_in" | "access_register_out", "register_data") => {
            Register::NAMES.values.iter().filter_map(|v| Register(v.value as u16).layout()).collect()
        }
        ("ppcnt_reg", "counter_set") => {
            PpcntGroup::NAMES.values.iter().filter_map(|v| PpcntGroup(v.value as u8).layout()).collect()
        }
        ("mlx5_eqe", "data") => Event::NAMES.values.iter().filter_map(|v| Event(v.value as u8).layout()).collect(),
        _ => Vec::new(),
    };
    found.sort_by_key(|view| view.name);
    found.dedup_by_key(|view| view.name);
    found
}

/// The layout that `area` of `layout` holds in this very structure, `buf`, inside the command whose input is `input`.
pub fn view(layout: &Layout, area: &str, buf: &[u8], input: &[u8]) -> Option<&'static Layout> {
    match (layout.name, area) {
        ("query_hca_cap_out" | "set_hca_cap_in", "capability") => {
            CapType::from_op_mod(layouts::cmd_in::op_mod.get(input) as u16).0.layout()
        }
        ("access_register_in" | "access_register_out", "register_data") => {
            Register(layouts::access_register_in::register_id.get(input) as u16).layout()
        }
        ("ppcnt_reg", "counter_set") => PpcntGroup(layouts::ppcnt_reg::grp.get(buf) as u8).layout(),
        ("mlx5_eqe", "data") => Event(layouts::mlx5_eqe::r#type.get(buf) as u8).layout(),
        _ => None,
    }
}

impl Register {
    /// The layout of the register's data, if the table has it.
    pub fn layout(self) -> Option<&'static Layout> {
        Some(match self {
            Self::HOST_ENDIANNESS => &layouts::register_host_endianness::LAYOUT,
            Self::PMTU => &layouts::pmtu_reg::LAYOUT,
            Self::PTYS => &layouts::ptys_reg::LAYOUT,
            Self::PAOS => &layouts::paos_reg::LAYOUT,
            Self::PFCC => &layouts::pfcc_reg::LAYOUT,
            Self::PPCNT => &layouts::ppcnt_reg::LAYOUT,
            Self::PCMR => &layouts::pcmr_reg::LAYOUT,
            Self::PDDR => &layouts::pddr_reg::LAYOUT,
            Self::PMLP => &layouts::pmlp_reg::LAYOUT,
            Self::PPHCR => &layouts::pphcr_reg::LAYOUT,
            Self::PPLM => &layouts::pplm_reg::LAYOUT,
            Self::PCAM => &layouts::pcam_reg::LAYOUT,
            Self::MCAM => &layouts::mcam_reg::LAYOUT,
            Self::QCAM => &layouts::qcam_reg::LAYOUT,
            Self::NODE_DESC => &layouts::mlx5_reg_node_desc::LAYOUT,
            Self::MCIA => &layouts::mcia_reg::LAYOUT,
            Self::MNVDA => &layouts::mnvda_reg::LAYOUT,
            Self::MTCAP => &layouts::mtcap_reg::LAYOUT,
            Self::MTMP => &layouts::mtmp_reg::LAYOUT,
            Self::MCQS => &layouts::mcqs_reg::LAYOUT,
            Self::MCQI => &layouts::mcqi_reg::LAYOUT,
            Self::MRTC => &layouts::mrtc_reg::LAYOUT,
            Self::MTRC_CAP => &layouts::mtrc_cap::LAYOUT,
            Self::MTRC_CONF => &layouts::mtrc_conf::LAYOUT,
            Self::MTRC_STDB => &layouts::mtrc_stdb::LAYOUT,
            Self::MTRC_CTRL => &layouts::mtrc_ctrl::LAYOUT,
            Self::MPIR => &layouts::mpir_reg::LAYOUT,
            Self::NIC_CAP => &layouts::nic_cap_reg::LAYOUT,
            Self::DTOR => &layouts::dtor_reg::LAYOUT,
            _ => return None,
        })
    }
}

impl PpcntGroup {
    /// The layout of the group's counters, if the table has it.
    pub fn layout(self) -> Option<&'static Layout> {
        Some(match self {
            Self::IEEE_802_3_COUNTERS_GROUP => &layouts::eth_802_3_cntrs_grp_data_layout::LAYOUT,
            Self::RFC_2863_COUNTERS_GROUP => &layouts::eth_2863_cntrs_grp_data_layout::LAYOUT,
            Self::RFC_2819_COUNTERS_GROUP => &layouts::eth_2819_cntrs_grp_data_layout::LAYOUT,
            Self::RFC_3635_COUNTERS_GROUP => &layouts::eth_3635_cntrs_grp_data_layout::LAYOUT,
            Self::ETHERNET_EXTENDED_COUNTERS_GROUP => &layouts::eth_extended_cntrs_grp_data_layout::LAYOUT,
            Self::PER_PRIORITY_COUNTERS_GROUP => &layouts::eth_per_prio_grp_data_layout::LAYOUT,
            Self::PER_TRAFFIC_CLASS_COUNTERS_GROUP => &layouts::eth_per_tc_prio_grp_data_layout::LAYOUT,
            Self::PHYSICAL_LAYER_COUNTERS_GROUP => &layouts::phys_layer_cntrs::LAYOUT,
            Self::PHYSICAL_LAYER_STATISTICAL_GROUP => &layouts::phys_layer_statistical_cntrs::LAYOUT,
            Self::RS_FEC_HISTOGRAM_GROUP => &layouts::rs_histogram_cntrs::LAYOUT,
            Self::INFINIBAND_PORT_COUNTERS_GROUP => &layouts::ib_port_cntrs_grp_data_layout::LAYOUT,
            _ => return None,
        })
    }
}

impl Event {
    /// The layout of the event's data, if it has any that the table knows (`union ev_data` in device.h).
    pub fn layout(self) -> Option<&'static Layout> {
        Some(match self {
            Self::COMP => &layouts::mlx5_eqe_comp::LAYOUT,
            Self::PATH_MIG
            | Self::COMM_EST
            | Self::SQ_DRAINED
            | Self::SRQ_LAST_WQE
            | Self::PATH_MIG_FAILED
            | Self::WQ_CATAS_ERROR
            | Self::WQ_INVAL_REQ_ERROR
            | Self::WQ_ACCESS_ERROR
            | Self::SRQ_CATAS_ERROR
            | Self::SRQ_RQ_LIMIT => &layouts::mlx5_eqe_qp_srq::LAYOUT,
            Self::CQ_ERROR => &layouts::mlx5_eqe_cq_err::LAYOUT,
            Self::PORT_CHANGE => &layouts::mlx5_eqe_port_state::LAYOUT,
            Self::CMD => &layouts::mlx5_eqe_cmd::LAYOUT,
            Self::PAGE_REQUEST => &layouts::mlx5_eqe_page_req::LAYOUT,
            Self::NIC_VPORT_CHANGE => &layouts::mlx5_eqe_vport_change::LAYOUT,
            Self::VHCA_STATE_CHANGE => &layouts::mlx5_eqe_vhca_state::LAYOUT,
            Self::PORT_MODULE_EVENT => &layouts::mlx5_eqe_port_module::LAYOUT,
            Self::TEMP_WARN_EVENT => &layouts::mlx5_eqe_temp_warning::LAYOUT,
            Self::OBJECT_CHANGE => &layouts::mlx5_eqe_obj_change::LAYOUT,
            Self::GENERAL_EVENT => &layouts::mlx5_eqe_sync_fw_update::LAYOUT,
            _ => return None,
        })
    }

    /// The names of the event's subtypes, if they have any.
    pub fn subtypes(self) -> Option<&'static Names> {
        Some(match self {
            Self::PORT_CHANGE => &PortChange::NAMES,
            Self::GENERAL_EVENT => &GeneralEvent::NAMES,
            _ => return None,
        })
    }
}

/// Fields whose values have names: structure, field, names.
static NAMED: &[(&str, &str, &Names)] = &[
    ("access_register_in", "register_id", &Register::NAMES),
    ("cqc", "st", &CqState::NAMES),
    ("cqc", "status", &CqStatus::NAMES),
    ("dest_format_struct", "destination_type", &DestinationType::NAMES),
    ("eqc", "st", &EqState::NAMES),
    ("eqc", "status", &EqStatus::NAMES),
    ("flow_context", "flow_source", &FlowSource::NAMES),
    ("flow_table_context", "table_miss_action", &MissAction::NAMES),
    ("mlx5_cqe64", "opcode", &CqeOpcode::NAMES),
    ("mlx5_eqe", "type", &Event::NAMES),
    ("mlx5_err_cqe", "opcode", &CqeOpcode::NAMES),
    ("mlx5_err_cqe", "syndrome", &CqeSyndrome::NAMES),
    ("mlx5_wqe_ctrl_seg", "opcode", &WqeOpcode::NAMES),
    ("modify_rmp_in", "rmp_state", &RmpState::NAMES),
    ("modify_rq_in", "rq_state", &RqState::NAMES),
    ("modify_sq_in", "sq_state", &SqState::NAMES),
    ("modify_vport_state_in", "admin_state", &VportAdminState::NAMES),
    ("nic_vport_context", "allowed_list_type", &NicVportListType::NAMES),
    ("paos_reg", "admin_status", &PortStatus::NAMES),
    ("paos_reg", "oper_status", &PortStatus::NAMES),
    ("ppcnt_reg", "grp", &PpcntGroup::NAMES),
    ("query_nic_vport_context_in", "allowed_list_type", &NicVportListType::NAMES),
    ("query_vport_state_out", "admin_state", &VportAdminState::NAMES),
    ("query_vport_state_out", "state", &VportState::NAMES),
    ("rmpc", "state", &RmpState::NAMES),
    ("rqc", "mem_rq_type", &MemRqType::NAMES),
    ("rqc", "state", &RqState::NAMES),
    ("sqc", "state", &SqState::NAMES),
    ("teardown_hca_in", "profile", &TeardownProfile::NAMES),
    ("tirc", "disp_type", &TirDispType::NAMES),
    ("tirc", "rx_hash_fn", &RxHashFn::NAMES),
    ("vhca_state_context", "vhca_state", &VhcaState::NAMES),
    ("wq", "wq_type", &WqType::NAMES),
];

/// The names that the values of `field` of `layout` have, if any.
pub fn names_of(layout: &Layout, field: &str) -> Option<&'static Names> {
    let head = |name| layout.field(name).is_some_and(|f| f.bit == 0);
    match field {
        "opcode" if head("opcode") && layout.field("op_mod").is_some() => Some(&Opcode::NAMES),
        "status" if head("status") && layout.field("syndrome").is_some() => Some(&Status::NAMES),
        "table_type" => Some(&TableType::NAMES),
        _ => NAMED.iter().find(|known| (known.0, known.1) == (layout.name, field)).map(|known| known.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_fields_exist() {
        for (layout, field, _) in NAMED {
            let found = layouts::find(layout).unwrap_or_else(|| panic!("there is no layout {layout}"));
            assert!(found.field(field).is_some(), "{layout} has no {field}");
        }
    }

    #[test]
    fn views_fit_their_area() {
        for layout in layouts::ALL {
            for area in layout.areas.iter().filter(|area| area.count != 0) {
                for view in views(layout.name, area.name) {
                    let room = area.len * area.count;
                    assert!(view.size <= room, "{} does not fit {}.{}", view.name, layout.name, area.name);
                }
            }
        }
        assert_eq!(views("query_hca_cap_out", "capability").len(), 12);
    }

    #[test]
    fn the_view_follows_the_input() {
        let mut input = [0u8; 16];
        layouts::cmd_in::op_mod.set(&mut input, 0x20 << 1 | 1);
        let found = view(&layouts::query_hca_cap_out::LAYOUT, "capability", &[], &input);
        assert_eq!(found.map(|view| view.name), Some("cmd_hca_cap_2"));
    }
}
