//! Capabilities, as the driver last read them.

use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::field::{Area, Field};
use mlx5emu_prm::layouts::{
    cmd_hca_cap, flow_table_nic_cap, per_protocol_networking_offload_caps, query_hca_cap_in, query_hca_cap_out,
    set_hca_cap_in, set_hca_cap_out,
};
use mlx5emu_prm::opcode::Opcode;

use crate::command::input;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::host::Host;

/// Capability groups of a function.
#[derive(Debug, Clone, Default)]
pub struct Caps {
    /// GENERAL, current.
    pub general: Vec<u8>,
    /// GENERAL, maximum.
    pub general_max: Vec<u8>,
    /// Ethernet offloads, current.
    pub ethernet: Vec<u8>,
    /// NIC flow tables, current.
    pub flow_table: Vec<u8>,
}

impl Caps {
    /// A field of the current general capabilities.
    pub fn general(&self, field: &Field) -> u32 {
        field.get32(&self.general)
    }

    /// A field of the Ethernet offload capabilities.
    pub fn ethernet(&self, field: &Field) -> u32 {
        field.get32(&self.ethernet)
    }

    /// A field of a part of the flow table capabilities.
    pub fn flow_table(&self, area: &Area, field: &Field) -> u32 {
        field.get32(area.of(&self.flow_table))
    }
}

/// One-bit capabilities that the driver turns on when the maximum has them.
const WANTED: [Field; 8] = [
    cmd_hca_cap::release_all_pages,
    cmd_hca_cap::mkey_by_name,
    cmd_hca_cap::abs_native_port_num,
    cmd_hca_cap::vhca_state,
    cmd_hca_cap::event_on_vhca_state_allocated,
    cmd_hca_cap::event_on_vhca_state_active,
    cmd_hca_cap::event_on_vhca_state_in_use,
    cmd_hca_cap::event_on_vhca_state_teardown_request,
];

impl<H: Host> Driver<H> {
    /// QUERY_HCA_CAP: the group's 4 KiB.
    ///
    /// # Errors
    /// The command failed.
    pub fn query_hca_cap(&mut self, group: CapType, mode: CapMode) -> Result<Vec<u8>> {
        let mut cmd = input(Opcode::QUERY_HCA_CAP, query_hca_cap_in::SIZE);
        query_hca_cap_in::op_mod.set(&mut cmd, u64::from(group.0 << 1 | mode.0));
        let out = self.command(&cmd, query_hca_cap_out::SIZE)?;
        Ok(query_hca_cap_out::capability.of(&out).to_vec())
    }

    /// QUERY_HCA_CAP and SET_HCA_CAP of the general group, as `handle_hca_cap` does.
    pub(crate) fn set_general_caps(&mut self) -> Result<()> {
        use cmd_hca_cap as cap;
        let current = self.query_hca_cap(CapType::GENERAL, CapMode::CUR)?;
        let max = self.query_hca_cap(CapType::GENERAL, CapMode::MAX)?;
        let mut cmd = input(Opcode::SET_HCA_CAP, set_hca_cap_in::SIZE);
        set_hca_cap_in::op_mod.set(&mut cmd, u64::from(CapType::GENERAL.0 << 1));
        let new = set_hca_cap_in::capability.of_mut(&mut cmd);
        new[..cap::SIZE].copy_from_slice(&current[..cap::SIZE]);
        cap::pkey_table_size.set(new, 0);
        cap::log_max_qp.set(new, cap::log_max_qp.get(&max).min(18));
        cap::cmdif_checksum.set(new, 0);
        cap::log_uar_page_sz.set(new, 0);
        for field in WANTED.iter().filter(|f| f.is_set(&max)) {
            field.set(new, 1);
        }
        if cap::num_vhca_ports.is_set(&max) {
            cap::num_vhca_ports.set(new, cap::num_vhca_ports.get(&max));
        }
        let vhca_id_mode = self.config.vhca_id_pages && cap::icm_mng_function_id_mode.is_set(&max);
        cap::icm_mng_function_id_mode.set(new, u64::from(vhca_id_mode));
        self.command(&cmd, set_hca_cap_out::SIZE)?;
        if vhca_id_mode {
            let id = cap::vhca_id.get(&current) as u16;
            let old = std::mem::replace(&mut self.func_id, id);
            self.pages.rekey(old, id);
        }
        self.caps.general = current;
        self.caps.general_max = max;
        Ok(())
    }

    /// `mlx5_query_hca_caps`: what the driver works with from now on.
    pub(crate) fn query_caps(&mut self) -> Result<()> {
        self.caps.general = self.query_hca_cap(CapType::GENERAL, CapMode::CUR)?;
        let missing = |what: &str| Err(Error::Unsupported(what.into()));
        if !cmd_hca_cap::eth_net_offloads.is_set(&self.caps.general) {
            return missing("eth_net_offloads");
        }
        if !cmd_hca_cap::nic_flow_table.is_set(&self.caps.general) {
            return missing("nic_flow_table");
        }
        self.caps.ethernet = self.query_hca_cap(CapType::ETHERNET_OFFLOADS, CapMode::CUR)?;
        self.caps.flow_table = self.query_hca_cap(CapType::FLOW_TABLE, CapMode::CUR)?;
        self.check_netdev_caps()
    }

    /// What `mlx5_eth_supported` and `mlx5_fs_core_init` ask for.
    fn check_netdev_caps(&self) -> Result<()> {
        use mlx5emu_prm::layouts::flow_table_prop_layout as prop;
        use per_protocol_networking_offload_caps as eth;
        let receive = flow_table_nic_cap::flow_table_properties_nic_receive;
        let needs = [
            ("port_type Ethernet", self.caps.general(&cmd_hca_cap::port_type) == 1),
            ("csum_cap", self.caps.ethernet(&eth::csum_cap) == 1),
            ("vlan_cap", self.caps.ethernet(&eth::vlan_cap) == 1),
            ("max_lso_cap", self.caps.ethernet(&eth::max_lso_cap) != 0),
            ("rss_ind_tbl_cap", self.caps.ethernet(&eth::rss_ind_tbl_cap) != 0),
            ("ft_support", self.caps.flow_table(&receive, &prop::ft_support) == 1),
            ("max_ft_level of at least 59", self.caps.flow_table(&receive, &prop::max_ft_level) >= 59),
            ("log_max_ft_size of at least 16", self.caps.flow_table(&receive, &prop::log_max_ft_size) >= 16),
            ("max_wqe_sz_sq of 1024", self.caps.general(&cmd_hca_cap::max_wqe_sz_sq) >= 1024),
            ("device_frequency_khz", self.caps.general(&cmd_hca_cap::device_frequency_khz) != 0),
        ];
        match needs.iter().find(|(_, there)| !there) {
            Some((what, _)) => Err(Error::Unsupported((*what).into())),
            None => Ok(()),
        }
    }
}
