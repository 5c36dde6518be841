//! Flow table capabilities (NIC, e-switch).

use super::{flow_table_fields_supported_2, flow_table_prop_layout};

crate::layouts! {
    /// Flow table capabilities of NIC receive and transmit (capability type 7).
    flow_table_nic_cap(0x1000, Ifc) {
        nic_rx_multi_path_tirs @0x0[31:1], nic_rx_multi_path_tirs_fts @0x0[30:1],
        allow_sniffer_and_nic_rx_shared_tir @0x0[29:1], sw_owner_reformat_supported @0x0[24:1],
        encap_general_header @0x4[31:1], log_max_packet_reformat_context @0x4[20:5], max_encap_header_size @0x4[9:10],
        sw_steering_nic_rx_action_drop_icm_address @0x400[31:64],
        sw_steering_nic_tx_action_drop_icm_address @0x408[31:64],
        sw_steering_nic_tx_action_allow_icm_address @0x410[31:64],
    } {
        flow_table_properties_nic_receive @0x40 one(flow_table_prop_layout),
        flow_table_properties_nic_receive_rdma @0x80 one(flow_table_prop_layout),
        flow_table_properties_nic_receive_sniffer @0xc0 one(flow_table_prop_layout),
        flow_table_properties_nic_transmit @0x100 one(flow_table_prop_layout),
        flow_table_properties_nic_transmit_rdma @0x140 one(flow_table_prop_layout),
        flow_table_properties_nic_transmit_sniffer @0x180 one(flow_table_prop_layout),
        ft_field_support_2_nic_receive @0x280 one(flow_table_fields_supported_2),
        ft_field_support_2_nic_receive_rdma @0x2a0 one(flow_table_fields_supported_2),
        ft_field_support_2_nic_transmit_rdma @0x300 one(flow_table_fields_supported_2),
    }

    /// Flow table capabilities of the FDB and the vport ACLs (capability type 8).
    flow_table_eswitch_cap(0x1000, Ifc) {
        fdb_to_vport_reg_c_id @0x0[31:8], fdb_uplink_hairpin @0x0[18:1],
        fdb_multi_path_any_table_limit_regc @0x0[17:1], fdb_dynamic_tunnel @0x0[15:1],
        fdb_multi_path_any_table @0x0[13:1], fdb_modify_header_fwd_to_table @0x0[10:1], fdb_ipv4_ttl_modify @0x0[9:1],
        flow_source @0x0[8:1], multi_fdb_encap @0x0[5:1], egress_acl_forward_to_vport @0x0[4:1],
        fdb_multi_path_to_table @0x0[3:1], sw_steering_fdb_action_drop_icm_address_rx @0x300[31:64],
        sw_steering_fdb_action_drop_icm_address_tx @0x308[31:64], sw_steering_uplink_icm_address_rx @0x310[31:64],
        sw_steering_uplink_icm_address_tx @0x318[31:64],
    } {
        flow_table_properties_nic_esw_fdb @0x40 one(flow_table_prop_layout),
        flow_table_properties_esw_acl_ingress @0x80 one(flow_table_prop_layout),
        flow_table_properties_esw_acl_egress @0xc0 one(flow_table_prop_layout),
        ft_field_support_2_esw_fdb @0x280 one(flow_table_fields_supported_2),
        ft_field_bitmask_support_2_esw_fdb @0x290 one(flow_table_fields_supported_2),
    }
}
