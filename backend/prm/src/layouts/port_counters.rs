//! PPCNT counter groups.

use super::be64;

crate::layouts! {
    /// PPCNT: a group of a port's counters.
    ppcnt_reg(0x100, Ifc) {
        swid @0x0[31:8], local_port @0x0[23:8], pnat @0x0[15:2], grp @0x0[5:6], clr @0x4[31:1], plane_ind @0x4[11:4],
        prio_tc @0x4[4:5],
    } { counter_set @0x8 bytes(0xf8) }

    /// IEEE 802.3 counters.
    eth_802_3_cntrs_grp_data_layout(0xf8, Ifc) {
        a_frames_transmitted_ok_high @0x0[31:32], a_frames_transmitted_ok_low @0x4[31:32],
        a_frames_received_ok_high @0x8[31:32], a_frames_received_ok_low @0xc[31:32],
        a_frame_check_sequence_errors_high @0x10[31:32], a_frame_check_sequence_errors_low @0x14[31:32],
        a_alignment_errors_high @0x18[31:32], a_alignment_errors_low @0x1c[31:32],
        a_octets_transmitted_ok_high @0x20[31:32], a_octets_transmitted_ok_low @0x24[31:32],
        a_octets_received_ok_high @0x28[31:32], a_octets_received_ok_low @0x2c[31:32],
        a_multicast_frames_xmitted_ok_high @0x30[31:32], a_multicast_frames_xmitted_ok_low @0x34[31:32],
        a_broadcast_frames_xmitted_ok_high @0x38[31:32], a_broadcast_frames_xmitted_ok_low @0x3c[31:32],
        a_multicast_frames_received_ok_high @0x40[31:32], a_multicast_frames_received_ok_low @0x44[31:32],
        a_broadcast_frames_received_ok_high @0x48[31:32], a_broadcast_frames_received_ok_low @0x4c[31:32],
        a_in_range_length_errors_high @0x50[31:32], a_in_range_length_errors_low @0x54[31:32],
        a_out_of_range_length_field_high @0x58[31:32], a_out_of_range_length_field_low @0x5c[31:32],
        a_frame_too_long_errors_high @0x60[31:32], a_frame_too_long_errors_low @0x64[31:32],
        a_symbol_error_during_carrier_high @0x68[31:32], a_symbol_error_during_carrier_low @0x6c[31:32],
        a_mac_control_frames_transmitted_high @0x70[31:32], a_mac_control_frames_transmitted_low @0x74[31:32],
        a_mac_control_frames_received_high @0x78[31:32], a_mac_control_frames_received_low @0x7c[31:32],
        a_unsupported_opcodes_received_high @0x80[31:32], a_unsupported_opcodes_received_low @0x84[31:32],
        a_pause_mac_ctrl_frames_received_high @0x88[31:32], a_pause_mac_ctrl_frames_received_low @0x8c[31:32],
        a_pause_mac_ctrl_frames_transmitted_high @0x90[31:32], a_pause_mac_ctrl_frames_transmitted_low @0x94[31:32],
    }

    /// RFC 2863 counters (interfaces).
    eth_2863_cntrs_grp_data_layout(0xf8, Ifc) {
        if_in_octets_high @0x0[31:32], if_in_octets_low @0x4[31:32], if_in_ucast_pkts_high @0x8[31:32],
        if_in_ucast_pkts_low @0xc[31:32], if_in_discards_high @0x10[31:32], if_in_discards_low @0x14[31:32],
        if_in_errors_high @0x18[31:32], if_in_errors_low @0x1c[31:32], if_in_unknown_protos_high @0x20[31:32],
        if_in_unknown_protos_low @0x24[31:32], if_out_octets_high @0x28[31:32], if_out_octets_low @0x2c[31:32],
        if_out_ucast_pkts_high @0x30[31:32], if_out_ucast_pkts_low @0x34[31:32], if_out_discards_high @0x38[31:32],
        if_out_discards_low @0x3c[31:32], if_out_errors_high @0x40[31:32], if_out_errors_low @0x44[31:32],
        if_in_multicast_pkts_high @0x48[31:32], if_in_multicast_pkts_low @0x4c[31:32],
        if_in_broadcast_pkts_high @0x50[31:32], if_in_broadcast_pkts_low @0x54[31:32],
        if_out_multicast_pkts_high @0x58[31:32], if_out_multicast_pkts_low @0x5c[31:32],
        if_out_broadcast_pkts_high @0x60[31:32], if_out_broadcast_pkts_low @0x64[31:32],
    }

    /// RFC 2819 counters (RMON).
    eth_2819_cntrs_grp_data_layout(0xf8, Ifc) {
        ether_stats_drop_events_high @0x0[31:32], ether_stats_drop_events_low @0x4[31:32],
        ether_stats_octets_high @0x8[31:32], ether_stats_octets_low @0xc[31:32], ether_stats_pkts_high @0x10[31:32],
        ether_stats_pkts_low @0x14[31:32], ether_stats_broadcast_pkts_high @0x18[31:32],
        ether_stats_broadcast_pkts_low @0x1c[31:32], ether_stats_multicast_pkts_high @0x20[31:32],
        ether_stats_multicast_pkts_low @0x24[31:32], ether_stats_crc_align_errors_high @0x28[31:32],
        ether_stats_crc_align_errors_low @0x2c[31:32], ether_stats_undersize_pkts_high @0x30[31:32],
        ether_stats_undersize_pkts_low @0x34[31:32], ether_stats_oversize_pkts_high @0x38[31:32],
        ether_stats_oversize_pkts_low @0x3c[31:32], ether_stats_fragments_high @0x40[31:32],
        ether_stats_fragments_low @0x44[31:32], ether_stats_jabbers_high @0x48[31:32],
        ether_stats_jabbers_low @0x4c[31:32], ether_stats_collisions_high @0x50[31:32],
        ether_stats_collisions_low @0x54[31:32], ether_stats_pkts64octets_high @0x58[31:32],
        ether_stats_pkts64octets_low @0x5c[31:32], ether_stats_pkts65to127octets_high @0x60[31:32],
        ether_stats_pkts65to127octets_low @0x64[31:32], ether_stats_pkts128to255octets_high @0x68[31:32],
        ether_stats_pkts128to255octets_low @0x6c[31:32], ether_stats_pkts256to511octets_high @0x70[31:32],
        ether_stats_pkts256to511octets_low @0x74[31:32], ether_stats_pkts512to1023octets_high @0x78[31:32],
        ether_stats_pkts512to1023octets_low @0x7c[31:32], ether_stats_pkts1024to1518octets_high @0x80[31:32],
        ether_stats_pkts1024to1518octets_low @0x84[31:32], ether_stats_pkts1519to2047octets_high @0x88[31:32],
        ether_stats_pkts1519to2047octets_low @0x8c[31:32], ether_stats_pkts2048to4095octets_high @0x90[31:32],
        ether_stats_pkts2048to4095octets_low @0x94[31:32], ether_stats_pkts4096to8191octets_high @0x98[31:32],
        ether_stats_pkts4096to8191octets_low @0x9c[31:32], ether_stats_pkts8192to10239octets_high @0xa0[31:32],
        ether_stats_pkts8192to10239octets_low @0xa4[31:32],
    }

    /// RFC 3635 counters (Ethernet-like interfaces).
    eth_3635_cntrs_grp_data_layout(0xf8, Ifc) {
        dot3stats_alignment_errors_high @0x0[31:32], dot3stats_alignment_errors_low @0x4[31:32],
        dot3stats_fcs_errors_high @0x8[31:32], dot3stats_fcs_errors_low @0xc[31:32],
        dot3stats_single_collision_frames_high @0x10[31:32], dot3stats_single_collision_frames_low @0x14[31:32],
        dot3stats_multiple_collision_frames_high @0x18[31:32], dot3stats_multiple_collision_frames_low @0x1c[31:32],
        dot3stats_sqe_test_errors_high @0x20[31:32], dot3stats_sqe_test_errors_low @0x24[31:32],
        dot3stats_deferred_transmissions_high @0x28[31:32], dot3stats_deferred_transmissions_low @0x2c[31:32],
        dot3stats_late_collisions_high @0x30[31:32], dot3stats_late_collisions_low @0x34[31:32],
        dot3stats_excessive_collisions_high @0x38[31:32], dot3stats_excessive_collisions_low @0x3c[31:32],
        dot3stats_internal_mac_transmit_errors_high @0x40[31:32],
        dot3stats_internal_mac_transmit_errors_low @0x44[31:32], dot3stats_carrier_sense_errors_high @0x48[31:32],
        dot3stats_carrier_sense_errors_low @0x4c[31:32], dot3stats_frame_too_longs_high @0x50[31:32],
        dot3stats_frame_too_longs_low @0x54[31:32], dot3stats_internal_mac_receive_errors_high @0x58[31:32],
        dot3stats_internal_mac_receive_errors_low @0x5c[31:32], dot3stats_symbol_errors_high @0x60[31:32],
        dot3stats_symbol_errors_low @0x64[31:32], dot3control_in_unknown_opcodes_high @0x68[31:32],
        dot3control_in_unknown_opcodes_low @0x6c[31:32], dot3in_pause_frames_high @0x70[31:32],
        dot3in_pause_frames_low @0x74[31:32], dot3out_pause_frames_high @0x78[31:32],
        dot3out_pause_frames_low @0x7c[31:32],
    }

    /// Extended Ethernet counters.
    eth_extended_cntrs_grp_data_layout(0xf8, Ifc) {
        port_transmit_wait_high @0x0[31:32], port_transmit_wait_low @0x4[31:32],
        rx_buffer_almost_full_high @0x28[31:32], rx_buffer_almost_full_low @0x2c[31:32],
        rx_buffer_full_high @0x30[31:32], rx_buffer_full_low @0x34[31:32], rx_icrc_encapsulated_high @0x38[31:32],
        rx_icrc_encapsulated_low @0x3c[31:32],
    }

    /// Counters of one priority.
    eth_per_prio_grp_data_layout(0xf8, Ifc) {
        rx_octets_high @0x0[31:32], rx_octets_low @0x4[31:32], rx_frames_high @0x20[31:32],
        rx_frames_low @0x24[31:32], tx_octets_high @0x28[31:32], tx_octets_low @0x2c[31:32],
        tx_frames_high @0x48[31:32], tx_frames_low @0x4c[31:32], rx_pause_high @0x50[31:32],
        rx_pause_low @0x54[31:32], rx_pause_duration_high @0x58[31:32], rx_pause_duration_low @0x5c[31:32],
        tx_pause_high @0x60[31:32], tx_pause_low @0x64[31:32], tx_pause_duration_high @0x68[31:32],
        tx_pause_duration_low @0x6c[31:32], rx_pause_transition_high @0x70[31:32],
        rx_pause_transition_low @0x74[31:32], rx_discards_high @0x78[31:32], rx_discards_low @0x7c[31:32],
        device_stall_minor_watermark_cnt_high @0x80[31:32], device_stall_minor_watermark_cnt_low @0x84[31:32],
        device_stall_critical_watermark_cnt_high @0x88[31:32], device_stall_critical_watermark_cnt_low @0x8c[31:32],
    }

    /// Counters of one traffic class.
    eth_per_tc_prio_grp_data_layout(0xf8, Ifc) {
        transmit_queue_high @0x0[31:32], transmit_queue_low @0x4[31:32], no_buffer_discard_uc_high @0x8[31:32],
        no_buffer_discard_uc_low @0xc[31:32],
    }

    /// Counters of the physical layer.
    phys_layer_cntrs(0xf8, Ifc) {
        time_since_last_clear_high @0x0[31:32], time_since_last_clear_low @0x4[31:32], symbol_errors_high @0x8[31:32],
        symbol_errors_low @0xc[31:32], sync_headers_errors_high @0x10[31:32], sync_headers_errors_low @0x14[31:32],
        edpl_bip_errors_lane0_high @0x18[31:32], edpl_bip_errors_lane0_low @0x1c[31:32],
        edpl_bip_errors_lane1_high @0x20[31:32], edpl_bip_errors_lane1_low @0x24[31:32],
        edpl_bip_errors_lane2_high @0x28[31:32], edpl_bip_errors_lane2_low @0x2c[31:32],
        edpl_bip_errors_lane3_high @0x30[31:32], edpl_bip_errors_lane3_low @0x34[31:32],
        fc_fec_corrected_blocks_lane0_high @0x38[31:32], fc_fec_corrected_blocks_lane0_low @0x3c[31:32],
        fc_fec_corrected_blocks_lane1_high @0x40[31:32], fc_fec_corrected_blocks_lane1_low @0x44[31:32],
        fc_fec_corrected_blocks_lane2_high @0x48[31:32], fc_fec_corrected_blocks_lane2_low @0x4c[31:32],
        fc_fec_corrected_blocks_lane3_high @0x50[31:32], fc_fec_corrected_blocks_lane3_low @0x54[31:32],
        fc_fec_uncorrectable_blocks_lane0_high @0x58[31:32], fc_fec_uncorrectable_blocks_lane0_low @0x5c[31:32],
        fc_fec_uncorrectable_blocks_lane1_high @0x60[31:32], fc_fec_uncorrectable_blocks_lane1_low @0x64[31:32],
        fc_fec_uncorrectable_blocks_lane2_high @0x68[31:32], fc_fec_uncorrectable_blocks_lane2_low @0x6c[31:32],
        fc_fec_uncorrectable_blocks_lane3_high @0x70[31:32], fc_fec_uncorrectable_blocks_lane3_low @0x74[31:32],
        rs_fec_corrected_blocks_high @0x78[31:32], rs_fec_corrected_blocks_low @0x7c[31:32],
        rs_fec_uncorrectable_blocks_high @0x80[31:32], rs_fec_uncorrectable_blocks_low @0x84[31:32],
        rs_fec_no_errors_blocks_high @0x88[31:32], rs_fec_no_errors_blocks_low @0x8c[31:32],
        rs_fec_single_error_blocks_high @0x90[31:32], rs_fec_single_error_blocks_low @0x94[31:32],
        rs_fec_corrected_symbols_total_high @0x98[31:32], rs_fec_corrected_symbols_total_low @0x9c[31:32],
        rs_fec_corrected_symbols_lane0_high @0xa0[31:32], rs_fec_corrected_symbols_lane0_low @0xa4[31:32],
        rs_fec_corrected_symbols_lane1_high @0xa8[31:32], rs_fec_corrected_symbols_lane1_low @0xac[31:32],
        rs_fec_corrected_symbols_lane2_high @0xb0[31:32], rs_fec_corrected_symbols_lane2_low @0xb4[31:32],
        rs_fec_corrected_symbols_lane3_high @0xb8[31:32], rs_fec_corrected_symbols_lane3_low @0xbc[31:32],
        link_down_events @0xc0[31:32], successful_recovery_events @0xc4[31:32],
    }

    /// Error rates of the physical layer.
    phys_layer_statistical_cntrs(0xf8, Ifc) {
        time_since_last_clear_high @0x0[31:32], time_since_last_clear_low @0x4[31:32],
        phy_received_bits_high @0x8[31:32], phy_received_bits_low @0xc[31:32], phy_symbol_errors_high @0x10[31:32],
        phy_symbol_errors_low @0x14[31:32], phy_corrected_bits_high @0x18[31:32], phy_corrected_bits_low @0x1c[31:32],
        phy_corrected_bits_lane0_high @0x20[31:32], phy_corrected_bits_lane0_low @0x24[31:32],
        phy_corrected_bits_lane1_high @0x28[31:32], phy_corrected_bits_lane1_low @0x2c[31:32],
        phy_corrected_bits_lane2_high @0x30[31:32], phy_corrected_bits_lane2_low @0x34[31:32],
        phy_corrected_bits_lane3_high @0x38[31:32], phy_corrected_bits_lane3_low @0x3c[31:32],
    }

    /// Codewords of Reed-Solomon by how many symbols were corrected; PPHCR says how many of each an entry is for.
    rs_histogram_cntrs(0xd8, Ifc) {} { hist @0x0 array(be64, 16) }

    /// Counters of an InfiniBand port.
    ib_port_cntrs_grp_data_layout(0x28, Ifc) {
        symbol_error_counter @0x0[31:16], link_error_recovery_counter @0x0[15:8], link_downed_counter @0x0[7:8],
        port_rcv_errors @0x4[31:16], port_rcv_remote_physical_errors @0x4[15:16],
        port_rcv_switch_relay_errors @0x8[31:16], port_xmit_discards @0x8[15:16],
        port_xmit_constraint_errors @0xc[31:8], port_rcv_constraint_errors @0xc[23:8], link_overrun_errors @0xc[7:8],
        vl_15_dropped @0x10[15:16], port_xmit_wait @0x24[31:32],
    }
}
