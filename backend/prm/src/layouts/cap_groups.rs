//! Capability groups: Ethernet, ODP, atomics, RoCE, e-switch, QoS, debug, port selection.

use super::be32;

crate::layouts! {
    /// Ethernet offloads (capability type 1); the same form serves IPoIB (types 5 and 6).
    per_protocol_networking_offload_caps(0x100, Ifc) {
        csum_cap @0x0[31:1], vlan_cap @0x0[30:1], lro_cap @0x0[29:1], lro_psh_flag @0x0[28:1],
        lro_time_stamp @0x0[27:1], wqe_vlan_insert @0x0[24:1], self_lb_en_modifiable @0x0[23:1],
        max_lso_cap @0x0[20:5], multi_pkt_send_wqe @0x0[15:2], wqe_inline_mode @0x0[13:2], rss_ind_tbl_cap @0x0[11:4],
        reg_umr_sq @0x0[7:1], scatter_fcs @0x0[6:1], enhanced_multi_pkt_send_wqe @0x0[5:1],
        tunnel_lso_const_out_ip_id @0x0[4:1], tunnel_lro_gre @0x0[3:1], tunnel_lro_vxlan @0x0[2:1],
        tunnel_stateless_gre @0x0[1:1], tunnel_stateless_vxlan @0x0[0:1], swp @0x4[31:1], swp_csum @0x4[30:1],
        swp_lso @0x4[29:1], cqe_checksum_full @0x4[28:1], tunnel_stateless_geneve_tx @0x4[27:1],
        tunnel_stateless_mpls_over_udp @0x4[26:1], tunnel_stateless_mpls_over_gre @0x4[25:1],
        tunnel_stateless_vxlan_gpe @0x4[24:1], tunnel_stateless_ipv4_over_vxlan @0x4[23:1],
        tunnel_stateless_ip_over_ip @0x4[22:1], insert_trailer @0x4[21:1], tunnel_stateless_ip_over_ip_rx @0x4[19:1],
        tunnel_stateless_ip_over_ip_tx @0x4[18:1], max_vxlan_udp_ports @0x4[15:8], swp_csum_l4_partial @0x4[7:1],
        max_geneve_opt_len @0x4[1:1], tunnel_stateless_geneve_rx @0x4[0:1], lro_min_mss_size @0x8[15:16],
    } { lro_timer_supported_periods @0x30 array(be32, 4) }

    /// Split headers and merged payloads (capability type 0x1d).
    shampo_cap(0x100, Ifc) {
        shampo_log_max_reservation_size @0x0[28:5], shampo_log_min_reservation_size @0x0[20:5],
        shampo_min_mss_size @0x0[15:16], shampo_header_split @0x4[31:1], shampo_header_split_data_merge @0x4[30:1],
        shampo_log_max_headers_entry_size @0x4[28:5],
    }

    /// What one transport may do on demand-paged memory.
    odp_per_transport_service_cap(0x4, Ifc) {
        send @0x0[31:1], receive @0x0[30:1], write @0x0[29:1], read @0x0[28:1], atomic @0x0[27:1],
        srq_receive @0x0[26:1],
    }

    /// What one scheme of on-demand paging offers.
    odp_scheme_cap(0x40, Ifc) { sig @0x8[31:1], page_prefetch @0x8[26:1] } {
        rc_odp_caps @0x10 one(odp_per_transport_service_cap), uc_odp_caps @0x14 one(odp_per_transport_service_cap),
        ud_odp_caps @0x18 one(odp_per_transport_service_cap), xrc_odp_caps @0x1c one(odp_per_transport_service_cap),
        dc_odp_caps @0x20 one(odp_per_transport_service_cap),
    }

    /// On-demand paging (capability type 2).
    odp_cap(0x100, Ifc) { mem_page_fault @0xc0[31:1] } {
        transport_page_fault_scheme_cap @0x0 one(odp_scheme_cap),
        memory_page_fault_scheme_cap @0x40 one(odp_scheme_cap),
    }

    /// Atomic operations (capability type 3).
    atomic_caps(0x100, Ifc) {
        atomic_req_8B_endianness_mode @0x8[31:2], supported_atomic_req_8B_endianness_mode_1 @0x8[25:1],
        atomic_operations @0x10[15:16], atomic_size_qp @0x14[15:16], atomic_size_dc @0x18[15:16],
    }

    /// RoCE (capability type 4).
    roce_cap(0x100, Ifc) {
        roce_apm @0x0[31:1], sw_r_roce_src_udp_port @0x0[27:1], fl_rc_qp_when_roce_disabled @0x0[26:1],
        fl_rc_qp_when_roce_enabled @0x0[25:1], roce_cc_general @0x0[24:1], qp_ooo_transmit_default @0x0[23:1],
        qp_ts_format @0x0[1:2], l3_type @0x10[19:4], roce_version @0x10[7:8], r_roce_dest_udp_port @0x14[15:16],
        r_roce_max_src_udp_port @0x18[31:16], r_roce_min_src_udp_port @0x18[15:16],
        roce_address_table_size @0x1c[15:16],
    }

    /// The e-switch (capability type 9).
    e_switch_cap(0x100, Ifc) {
        vport_svlan_strip @0x0[31:1], vport_cvlan_strip @0x0[30:1], vport_svlan_insert @0x0[29:1],
        vport_cvlan_insert_if_not_exist @0x0[28:1], vport_cvlan_insert_overwrite @0x0[27:1],
        vport_cvlan_insert_always @0x0[25:1], esw_shared_ingress_acl @0x0[24:1], esw_uplink_ingress_acl @0x0[23:1],
        root_ft_on_other_esw @0x0[22:1], esw_vport_state_max_tx_speed @0x0[20:1], esw_functions_changed @0x0[6:1],
        ecpf_vport_exists @0x0[4:1], counter_eswitch_affinity @0x0[3:1], merged_eswitch @0x0[2:1],
        nic_vport_node_guid_modify @0x0[1:1], nic_vport_port_guid_modify @0x0[0:1], vxlan_encap_decap @0x4[31:1],
        nvgre_encap_decap @0x4[30:1], log_max_fdb_encap_uplink @0x4[28:5], log_max_packet_reformat_context @0x4[20:5],
        max_encap_header_size @0x4[9:10], log_max_esw_sf @0x8[20:5], esw_sf_base_id @0x8[15:16],
    }

    /// Scheduling and rate limits (capability type 0xc).
    qos_cap(0x100, Ifc) {
        packet_pacing @0x0[31:1], esw_scheduling @0x0[30:1], esw_bw_share @0x0[29:1], esw_rate_limit @0x0[28:1],
        packet_pacing_burst_bound @0x0[26:1], packet_pacing_typical_size @0x0[25:1], nic_sq_scheduling @0x0[23:1],
        nic_bw_share @0x0[22:1], nic_rate_limit @0x0[21:1], packet_pacing_uid @0x0[20:1],
        log_esw_max_sched_depth @0x0[19:4], packet_pacing_req_ud @0x4[29:1], packet_pacing_req_uc @0x4[28:1],
        esw_cross_esw_sched @0x4[22:1], log_max_qos_nic_queue_group @0x4[20:5], packet_pacing_max_rate @0x8[31:32],
        packet_pacing_min_rate @0xc[31:32], log_esw_max_rate_limit @0x10[20:5],
        packet_pacing_rate_table_size @0x10[15:16], esw_element_type @0x14[31:16], esw_tsar_type @0x14[15:16],
        max_qos_para_vport @0x18[15:16], max_tsar_bw_share @0x1c[31:32], nic_element_type @0x20[31:16],
        nic_tsar_type @0x20[15:16], log_meter_aso_granularity @0x24[28:5], log_meter_aso_max_alloc @0x24[20:5],
        log_max_num_meter_aso @0x24[12:5],
    }

    /// Diagnostics (capability type 0xd).
    debug_cap(0x100, Ifc) {
        core_dump_general @0x0[31:1], core_dump_qp @0x0[30:1], resource_dump @0x0[22:1], stall_detect @0x4[29:1],
    }

    /// Which packet fields a flow table can match.
    flow_table_fields_supported(0x10, Ifc) {
        outer_dmac @0x0[31:1], outer_smac @0x0[30:1], outer_ether_type @0x0[29:1], outer_ip_version @0x0[28:1],
        outer_first_prio @0x0[27:1], outer_first_cfi @0x0[26:1], outer_first_vid @0x0[25:1],
        outer_ipv4_ttl @0x0[24:1], outer_second_prio @0x0[23:1], outer_second_cfi @0x0[22:1],
        outer_second_vid @0x0[21:1], outer_sip @0x0[19:1], outer_dip @0x0[18:1], outer_frag @0x0[17:1],
        outer_ip_protocol @0x0[16:1], outer_ip_ecn @0x0[15:1], outer_ip_dscp @0x0[14:1], outer_udp_sport @0x0[13:1],
        outer_udp_dport @0x0[12:1], outer_tcp_sport @0x0[11:1], outer_tcp_dport @0x0[10:1], outer_tcp_flags @0x0[9:1],
        outer_gre_protocol @0x0[8:1], outer_gre_key @0x0[7:1], outer_vxlan_vni @0x0[6:1], outer_geneve_vni @0x0[5:1],
        outer_geneve_oam @0x0[4:1], outer_geneve_protocol_type @0x0[3:1], outer_geneve_opt_len @0x0[2:1],
        source_vhca_port @0x0[1:1], source_eswitch_port @0x0[0:1], inner_dmac @0x4[31:1], inner_smac @0x4[30:1],
        inner_ether_type @0x4[29:1], inner_ip_version @0x4[28:1], inner_first_prio @0x4[27:1],
        inner_first_cfi @0x4[26:1], inner_first_vid @0x4[25:1], inner_second_prio @0x4[23:1],
        inner_second_cfi @0x4[22:1], inner_second_vid @0x4[21:1], inner_sip @0x4[19:1], inner_dip @0x4[18:1],
        inner_frag @0x4[17:1], inner_ip_protocol @0x4[16:1], inner_ip_ecn @0x4[15:1], inner_ip_dscp @0x4[14:1],
        inner_udp_sport @0x4[13:1], inner_udp_dport @0x4[12:1], inner_tcp_sport @0x4[11:1],
        inner_tcp_dport @0x4[10:1], inner_tcp_flags @0x4[9:1], geneve_tlv_option_0_data @0x8[31:1],
        geneve_tlv_option_0_exist @0x8[30:1], outer_first_mpls_over_udp @0x8[26:4],
        outer_first_mpls_over_gre @0x8[22:4], inner_first_mpls @0x8[18:4], outer_first_mpls @0x8[14:4],
        outer_esp_spi @0x8[8:1], bth_dst_qp @0x8[5:1], metadata_reg_c_7 @0xc[7:1], metadata_reg_c_6 @0xc[6:1],
        metadata_reg_c_5 @0xc[5:1], metadata_reg_c_4 @0xc[4:1], metadata_reg_c_3 @0xc[3:1],
        metadata_reg_c_2 @0xc[2:1], metadata_reg_c_1 @0xc[1:1], metadata_reg_c_0 @0xc[0:1],
    }

    /// What one kind of flow table can do, and its limits.
    flow_table_prop_layout(0x40, Ifc) {
        ft_support @0x0[31:1], flow_counter @0x0[29:1], flow_modify_en @0x0[28:1], modify_root @0x0[27:1],
        identified_miss_table_mode @0x0[26:1], flow_table_modify @0x0[25:1], reformat @0x0[24:1], decap @0x0[23:1],
        reset_root_to_default @0x0[22:1], pop_vlan @0x0[21:1], push_vlan @0x0[20:1], pop_vlan_2 @0x0[18:1],
        push_vlan_2 @0x0[17:1], reformat_and_vlan_action @0x0[16:1], sw_owner @0x0[14:1],
        reformat_l3_tunnel_to_l2 @0x0[13:1], reformat_l2_to_l3_tunnel @0x0[12:1],
        reformat_and_modify_action @0x0[11:1], ignore_flow_level @0x0[10:1], table_miss_action_domain @0x0[8:1],
        termination_table @0x0[7:1], reformat_and_fwd_to_table @0x0[6:1], forward_vhca_rx @0x0[5:1],
        ipsec_encrypt @0x0[3:1], ipsec_decrypt @0x0[2:1], sw_owner_v2 @0x0[1:1],
        termination_table_raw_traffic @0x4[31:1], log_max_ft_size @0x4[29:6],
        log_max_modify_header_context @0x4[23:8], max_modify_header_actions @0x4[15:8], max_ft_level @0x4[7:8],
        reformat_add_esp_trasport @0x8[31:1], reformat_l2_to_l3_esp_tunnel @0x8[30:1],
        reformat_add_esp_transport_over_udp @0x8[29:1], reformat_del_esp_trasport @0x8[28:1],
        reformat_l3_esp_tunnel_to_l2 @0x8[27:1], reformat_del_esp_transport_over_udp @0x8[26:1],
        execute_aso @0x8[25:1], reformat_l2_to_l3_psp_tunnel @0xc[31:1], reformat_l3_psp_tunnel_to_l2 @0xc[30:1],
        reformat_insert @0xc[29:1], reformat_remove @0xc[28:1], macsec_encrypt @0xc[27:1], macsec_decrypt @0xc[26:1],
        psp_encrypt @0xc[25:1], psp_decrypt @0xc[24:1], reformat_add_macsec @0xc[23:1],
        reformat_remove_macsec @0xc[22:1], reparse @0xc[21:1], cross_vhca_object @0xc[19:1],
        reformat_l2_to_l3_audp_tunnel @0xc[18:1], reformat_l3_audp_tunnel_to_l2 @0xc[17:1],
        ignore_flow_level_rtc_valid @0xc[16:1], log_max_ft_num @0xc[7:8], log_max_flow_counter @0x10[15:8],
        log_max_destination @0x10[7:8], log_max_flow @0x14[7:8],
    } {
        ft_field_support @0x20 one(flow_table_fields_supported),
        ft_field_bitmask_support @0x30 one(flow_table_fields_supported),
    }

    /// Which packet fields a flow table can match, continued.
    flow_table_fields_supported_2(0x10, Ifc) {
        inner_l4_type_ext @0x0[31:1], outer_l4_type_ext @0x0[30:1], inner_l4_type @0x0[29:1],
        outer_l4_type @0x0[28:1], bth_opcode @0x0[17:1], tunnel_header_0_1 @0x0[15:1], ipsec_next_header @0x4[16:1],
    }

    /// Port selection by flow tables (capability type 0x25).
    port_selection_cap(0x1000, Ifc) { port_select_flow_table @0x0[15:1], port_select_flow_table_bypass @0x0[13:1] } {
        flow_table_properties_port_selection @0x40 one(flow_table_prop_layout),
        ft_field_support_2_port_selection @0x80 one(flow_table_fields_supported_2),
    }
}
