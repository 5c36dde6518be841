//! Access registers.

use super::be32;

crate::layouts! {
    /// ACCESS_REGISTER input.
    access_register_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], register_id @0x8[15:16], argument @0xc[31:32],
    } { register_data @0x10 list(be32) }

    /// ACCESS_REGISTER output.
    access_register_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } { register_data @0x10 list(be32) }

    /// HOST_ENDIANNESS: the byte order of the host.
    register_host_endianness(0x10, Ifc) { he @0x0[31:1] }

    /// NODE_DESC (`ib/main.c`).
    mlx5_reg_node_desc(0x40, C("mlx5_reg_node_desc")) {} { desc @0x0 bytes(0x40) }

    /// PMTU: a port's MTU, in bytes of the frame.
    pmtu_reg(0x10, Ifc) {
        local_port @0x0[23:8], max_mtu @0x4[31:16], admin_mtu @0x8[31:16], oper_mtu @0xc[31:16],
    }

    /// PAOS: a port's administrative and operational status.
    paos_reg(0x10, Ifc) {
        swid @0x0[31:8], local_port @0x0[23:8], admin_status @0x0[11:4], oper_status @0x0[3:4], ase @0x4[31:1],
        ee @0x4[30:1], e @0x4[1:2],
    }

    /// PTYS: a port's speeds.
    ptys_reg(0x40, Ifc) {
        an_disable_admin @0x0[30:1], an_disable_cap @0x0[29:1], local_port @0x0[23:8], plane_ind @0x0[7:4],
        proto_mask @0x0[2:3], an_status @0x4[31:4], data_rate_oper @0x4[15:16], ext_eth_proto_capability @0x8[31:32],
        eth_proto_capability @0xc[31:32], ib_link_width_capability @0x10[31:16], ib_proto_capability @0x10[15:16],
        ext_eth_proto_admin @0x14[31:32], eth_proto_admin @0x18[31:32], ib_link_width_admin @0x1c[31:16],
        ib_proto_admin @0x1c[15:16], ext_eth_proto_oper @0x20[31:32], eth_proto_oper @0x24[31:32],
        ib_link_width_oper @0x28[31:16], ib_proto_oper @0x28[15:16], lane_rate_oper @0x2c[23:20],
        connector_type @0x2c[3:4], eth_proto_lp_advertise @0x30[31:32],
    }

    /// PCMR: checks that a port makes.
    pcmr_reg(0xc, Ifc) {
        local_port @0x0[23:8], entropy_force_cap @0x4[31:1], entropy_calc_cap @0x4[30:1],
        entropy_gre_calc_cap @0x4[29:1], rx_ts_over_crc_cap @0x4[13:1], fcs_cap @0x4[1:1], entropy_force @0x8[31:1],
        entropy_calc @0x8[30:1], entropy_gre_calc @0x8[29:1], rx_ts_over_crc @0x8[13:1], fcs_chk @0x8[1:1],
    }

    /// PFCC: pause and priority flow control.
    pfcc_reg(0x20, Ifc) {
        buf_ownership @0x0[27:2], local_port @0x0[23:8], cable_length_mask @0x0[5:1], ppan_mask_n @0x0[4:1],
        minor_stall_mask @0x0[3:1], critical_stall_mask @0x0[2:1], ppan @0x4[31:4], prio_mask_tx @0x4[23:8],
        prio_mask_rx @0x4[7:8], pptx @0x8[31:1], aptx @0x8[30:1], pptx_mask_n @0x8[29:1], pfctx @0x8[23:8],
        pprx @0xc[31:1], aprx @0xc[30:1], pprx_mask_n @0xc[29:1], pfcrx @0xc[23:8],
        device_stall_minor_watermark @0x10[31:16], device_stall_critical_watermark @0x10[15:16],
        cable_length @0x14[7:8],
    }

    /// PMLP: which module and lanes a port uses.
    pmlp_reg(0x40, Ifc) {
        rxtx @0x0[31:1], local_port @0x0[23:8], width @0x0[7:8], lane0_module_mapping @0x4[31:32],
        lane1_module_mapping @0x8[31:32], lane2_module_mapping @0xc[31:32], lane3_module_mapping @0x10[31:32],
    }

    /// PPHCR: what the entries of the histogram of corrected symbols stand for.
    pphcr_reg(0x50, Ifc) { active_hist_type @0x0[31:4], local_port @0x0[23:8], num_of_bins @0x4[23:8] } {
        bin_range @0x10 array(bin_range_layout, 16),
    }

    /// An entry of that histogram.
    bin_range_layout(0x4, Ifc) { high_val @0x0[21:6], low_val @0x0[5:6] }

    /// PPLM: forward error correction.
    pplm_reg(0x78, Ifc) {
        local_port @0x0[23:8], port_profile_mode @0x8[31:8], static_port_profile @0x8[23:8],
        active_port_profile @0x8[15:8], retransmission_active @0xc[31:8], fec_mode_active @0xc[23:24],
        rs_fec_correction_bypass_cap @0x10[31:4], fec_override_cap_56g @0x10[19:4], fec_override_cap_100g @0x10[15:4],
        fec_override_cap_50g @0x10[11:4], fec_override_cap_25g @0x10[7:4], fec_override_cap_10g_40g @0x10[3:4],
        rs_fec_correction_bypass_admin @0x14[31:4], fec_override_admin_56g @0x14[19:4],
        fec_override_admin_100g @0x14[15:4], fec_override_admin_50g @0x14[11:4], fec_override_admin_25g @0x14[7:4],
        fec_override_admin_10g_40g @0x14[3:4], fec_override_cap_400g_8x @0x18[31:16],
        fec_override_cap_200g_4x @0x18[15:16], fec_override_cap_100g_2x @0x1c[31:16],
        fec_override_cap_50g_1x @0x1c[15:16], fec_override_admin_400g_8x @0x20[31:16],
        fec_override_admin_200g_4x @0x20[15:16], fec_override_admin_100g_2x @0x24[31:16],
        fec_override_admin_50g_1x @0x24[15:16], fec_override_cap_800g_8x @0x28[31:16],
        fec_override_cap_400g_4x @0x28[15:16], fec_override_cap_200g_2x @0x2c[31:16],
        fec_override_cap_100g_1x @0x2c[15:16], fec_override_admin_800g_8x @0x44[31:16],
        fec_override_admin_400g_4x @0x44[15:16], fec_override_admin_200g_2x @0x48[31:16],
        fec_override_admin_100g_1x @0x48[15:16], fec_override_cap_1600g_8x @0x58[31:16],
        fec_override_cap_800g_4x @0x58[15:16], fec_override_cap_400g_2x @0x5c[31:16],
        fec_override_cap_200g_1x @0x5c[15:16], fec_override_admin_1600g_8x @0x60[31:16],
        fec_override_admin_800g_4x @0x60[15:16], fec_override_admin_400g_2x @0x64[31:16],
        fec_override_admin_200g_1x @0x64[15:16],
    }

    /// MCIA: the EEPROM of a cable or module.
    mcia_reg(0x90, Ifc) {
        l @0x0[31:1], module @0x0[23:8], status @0x0[7:8], i2c_device_address @0x4[31:8], page_number @0x4[23:8],
        device_address @0x4[15:16], size @0x8[15:16],
    } { dwords @0x10 bytes(0x80) }

    /// MTCAP: which temperature sensors there are, a bit for each.
    mtcap_reg(0x10, Ifc) { sensor_count @0x0[6:7], sensor_map @0x8[31:64] }

    /// MTMP: a temperature sensor; temperatures in 1/8 degree Celsius.
    mtmp_reg(0x20, Ifc) {
        sensor_index @0x0[11:12], temperature @0x4[15:16], mte @0x8[31:1], mtr @0x8[30:1],
        max_temperature @0x8[15:16], tee @0xc[31:2], temp_threshold_hi @0xc[15:16], temp_threshold_lo @0x10[15:16],
        sensor_name_hi @0x18[31:32], sensor_name_lo @0x1c[31:32],
    }

    /// MCQS: a component of the firmware, and what becomes of it.
    mcqs_reg(0x10, Ifc) {
        last_index_flag @0x0[31:1], fw_device @0x0[23:8], component_index @0x0[15:16], identifier @0x4[15:16],
        component_status @0x8[8:5], component_update_state @0x8[3:4], last_update_state_changer_type @0xc[31:4],
        last_update_state_changer_host_id @0xc[27:4],
    }

    /// MCQI: what is to be known of a component.
    mcqi_reg(0x18, Ifc) {
        read_pending_component @0x0[31:1], component_index @0x0[15:16], info_type @0x8[4:5], info_size @0xc[31:32],
        offset @0x10[31:32], data_size @0x14[15:16],
    }

    /// The version of a component.
    mcqi_version(0x7c, Ifc) {
        build_time_valid @0x0[29:1], user_defined_time_valid @0x0[28:1], version_string_length @0x0[7:8],
        version @0x4[31:32], build_time @0x8[31:64], user_defined_time @0x10[31:64], build_tool_version @0x18[31:32],
    } { version_string @0x20 bytes(0x5c) }

    /// A time-out: a number and its unit.
    default_timeout(0x4, Ifc) { to_multiplier @0x0[31:3], to_value @0x0[19:20] }

    /// DTOR: the driver's default time-outs.
    dtor_reg(0x40, Ifc) {} {
        pcie_toggle_to @0x4 one(default_timeout), health_poll_to @0x14 one(default_timeout),
        full_crdump_to @0x18 one(default_timeout), fw_reset_to @0x1c one(default_timeout),
        flush_on_err_to @0x20 one(default_timeout), pci_sync_update_to @0x24 one(default_timeout),
        tear_down_to @0x28 one(default_timeout), fsm_reactivate_to @0x2c one(default_timeout),
        reclaim_pages_to @0x30 one(default_timeout), reclaim_vfs_pages_to @0x34 one(default_timeout),
        reset_unload_to @0x38 one(default_timeout),
    }

    /// MRTC: the real-time clock.
    mrtc_reg(0x10, Ifc) { time_synced @0x0[31:1], time_h @0x8[31:32], time_l @0xc[31:32] }

    /// Where a part of the tracer's string table lies.
    mtrc_string_db_param(0x8, Ifc) { string_db_base_address @0x0[31:32], string_db_size @0x4[23:24] }

    /// MTRC_CAP: what the firmware tracer offers, and who owns it.
    mtrc_cap(0x80, Ifc) {
        trace_owner @0x0[31:1], trace_to_memory @0x0[30:1], trc_ver @0x0[25:2], num_string_db @0x0[3:4],
        first_string_trace @0x4[31:8], num_string_trace @0x4[23:8], log_max_trace_buffer_size @0x8[7:8],
    } { string_db_param @0x10 array(mtrc_string_db_param, 8) }

    /// MTRC_CONF: where the firmware tracer writes.
    mtrc_conf(0x80, Ifc) { trace_mode @0x0[3:4], log_trace_buffer_size @0x4[7:8], trace_mkey @0x8[31:32] }

    /// MTRC_STDB: reads the tracer's string table.
    mtrc_stdb(0x8, Ifc) { string_db_index @0x0[31:4], read_size @0x0[23:24], start_offset @0x4[31:32] } {
        string_db_data @0x8 list(bytes),
    }

    /// MTRC_CTRL: starts and stops the firmware tracer.
    mtrc_ctrl(0x40, Ifc) {
        trace_status @0x0[31:2], arm_event @0x0[27:1], modify_field_select @0x0[15:16],
        current_timestamp52_32 @0x8[20:21], current_timestamp31_0 @0xc[31:32],
    }

    /// NIC_CAP: what the NIC's registers offer.
    nic_cap_reg(0x10, Ifc) { vhca_icm_ctrl @0x0[5:1] }

    /// MPIR: the host buses of a device that serves several sockets.
    mpir_reg(0x10, Ifc) { sdm @0x0[31:1], host_buses @0x0[3:4], local_port @0x8[31:8] }

    /// PDDR: why a port has no link.
    pddr_reg(0x100, Ifc) { local_port @0x0[23:8], pnat @0x0[15:2], page_select @0x4[7:8] } {
        page_data @0x8 bytes(0xf8),
    }

    /// The page of PDDR that says what is wrong.
    pddr_troubleshooting_page(0xf8, Ifc) { group_opcode @0x0[15:16] } {
        status_opcode @0x4 bytes(4), status_message @0xc bytes(0xec),
    }

    /// The reason, for the monitor group.
    pddr_monitor_opcode(0x4, Ifc) { monitor_opcode @0x0[15:16] }
}
