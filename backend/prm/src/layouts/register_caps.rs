//! Registers that tell which registers and features there are: PCAM, MCAM, QCAM.

crate::layouts! {
    /// Which port registers there are.
    pcam_regs_5000_to_507f(0x10, Ifc) {
        port_access_reg_cap_mask_127_to_96 @0x0[31:32], port_access_reg_cap_mask_95_to_64 @0x4[31:32],
        port_access_reg_cap_mask_63 @0x8[31:1], pphcr @0x8[30:1], port_access_reg_cap_mask_61_to_36 @0x8[29:26],
        pplm @0x8[3:1], port_access_reg_cap_mask_34_to_32 @0x8[2:3], port_access_reg_cap_mask_31_to_13 @0xc[31:19],
        pbmc @0xc[12:1], pptb @0xc[11:1], port_access_reg_cap_mask_10_to_09 @0xc[10:2], ppcnt @0xc[8:1],
        port_access_reg_cap_mask_07_to_00 @0xc[7:8],
    }

    /// Which features the port registers have.
    pcam_enhanced_features(0x10, Ifc) {
        ppcnt_recovery_counters @0x0[15:1], cable_length @0x0[7:1], fec_200G_per_lane_in_pplm @0x0[2:1],
        fec_100G_per_lane_in_pplm @0x8[23:1], shp_pbmc_pbsr_support @0x8[20:1], buffer_ownership @0x8[12:1],
        fec_50G_per_lane_in_pplm @0xc[23:1], rx_icrc_encapsulated_counter @0xc[18:1],
        ptys_extended_ethernet @0xc[13:1], pfcc_mask @0xc[9:1], per_lane_error_counters @0xc[5:1],
        rx_buffer_fullness_counters @0xc[4:1], ptys_connector_type @0xc[3:1], ppcnt_discard_group @0xc[1:1],
        ppcnt_statistical_group @0xc[0:1],
    }

    /// PCAM: port registers and their features.
    pcam_reg(0x50, Ifc) { feature_group @0x0[23:8], access_reg_group @0x0[7:8] } {
        regs_5000_to_507f @0x8 one(pcam_regs_5000_to_507f), enhanced_features @0x28 one(pcam_enhanced_features),
    }

    /// Which management registers there are, 0x9000 to 0x907f.
    mcam_access_reg(0x10, Ifc) {
        mcda @0x0[3:1], mcc @0x0[2:1], mcqi @0x0[1:1], mcqs @0x0[0:1], regs_95_to_90 @0x4[31:6], mpir @0x4[25:1],
        regs_88_to_87 @0x4[24:2], mpegc @0x4[22:1], mtutc @0x4[21:1], regs_84_to_68 @0x4[20:17],
        tracer_registers @0x4[3:4], regs_63_to_46 @0x8[31:18], mrtc @0x8[13:1], regs_44_to_41 @0x8[12:4],
        mfrl @0x8[8:1], regs_39_to_32 @0x8[7:8], regs_31_to_11 @0xc[31:21], mtmp @0xc[10:1], regs_9_to_0 @0xc[9:10],
    }

    /// Which management registers there are, 0x9080 to 0x90ff.
    mcam_access_reg_bits1(0x10, Ifc) {
        regs_127_to_96 @0x0[31:32], regs_95_to_64 @0x4[31:32], regs_63_to_32 @0x8[31:32], regs_31_to_0 @0xc[31:32],
    }

    /// Which management registers there are, 0x9100 to 0x917f.
    mcam_access_reg_bits2(0x10, Ifc) {
        regs_127_to_99 @0x0[31:29], mirc @0x0[2:1], regs_97_to_96 @0x0[1:2], regs_95_to_87 @0x4[31:9],
        synce_registers @0x4[22:2], regs_84_to_64 @0x4[20:21], regs_63_to_32 @0x8[31:32], regs_31_to_0 @0xc[31:32],
    }

    /// Which management registers there are, 0x9180 to 0x91ff.
    mcam_access_reg_bits3(0x10, Ifc) {
        regs_127_to_96 @0x0[31:32], regs_95_to_64 @0x4[31:32], regs_63_to_32 @0x8[31:32], regs_31_to_3 @0xc[31:29],
        mrtcq @0xc[2:1], mtctr @0xc[1:1], mtptm @0xc[0:1],
    }

    /// Which features the management registers have.
    mcam_enhanced_features(0x10, Ifc) {
        mtutc_freq_adj_units @0x8[15:1], mtutc_time_adjustment_extended_range @0x8[14:1], mcia_32dwords @0x8[2:1],
        out_pulse_duration_ns @0x8[1:1], npps_period @0x8[0:1], reset_state @0xc[21:1],
        ptpcyc2realtime_modify @0xc[20:1], pci_status_and_power @0xc[17:1], mark_tx_action_cnp @0xc[11:1],
        mark_tx_action_cqe @0xc[10:1], dynamic_tx_overflow @0xc[9:1], pcie_outbound_stalled @0xc[4:1],
        tx_overflow_buffer_pkt @0xc[3:1], mtpps_enh_out_per_adj @0xc[2:1], mtpps_fs @0xc[1:1],
        pcie_performance_group @0xc[0:1],
    }

    /// MCAM: management registers and their features; `access_reg_group` chooses the arm.
    mcam_reg(0x48, Ifc) { feature_group @0x0[23:8], access_reg_group @0x0[7:8] } {
        access_regs @0x8 one(mcam_access_reg), access_regs1 @0x8 one(mcam_access_reg_bits1),
        access_regs2 @0x8 one(mcam_access_reg_bits2), access_regs3 @0x8 one(mcam_access_reg_bits3),
        enhanced_features @0x28 one(mcam_enhanced_features),
    }

    /// Which QoS registers there are.
    qcam_access_reg_cap_mask(0x10, Ifc) {
        qpdpm @0xc[19:1], qcam_access_reg_cap_mask_18_to_4 @0xc[18:15], qdpm @0xc[3:1], qpts @0xc[2:1],
        qcap @0xc[1:1], qcam_access_reg_cap_mask_0 @0xc[0:1],
    }

    /// Which features the QoS registers have.
    qcam_qos_feature_cap_mask(0x10, Ifc) {
        qetcr_qshr_max_bw_val_msb @0xc[4:1], qcam_qos_feature_cap_mask_3_to_1 @0xc[3:3], qpts_trust_both @0xc[0:1],
    }

    /// QCAM: QoS registers and their features.
    qcam_reg(0x48, Ifc) { feature_group @0x0[23:8], access_reg_group @0x0[7:8] } {
        reg_cap @0x8 one(qcam_access_reg_cap_mask), feature_cap @0x28 one(qcam_qos_feature_cap_mask),
    }
}
