//! Non-volatile configuration (MNVDA; `lib/nv_param.c`).

use super::be32;

crate::layouts! {
    /// Head of a configuration item.
    config_item(0xc, Ifc) {
        valid @0x0[31:2], priority @0x0[29:2], header_type @0x0[27:2], ovr_en @0x0[25:1], rd_en @0x0[24:1],
        access_mode @0x0[23:2], writer_id @0x0[20:5], version @0x0[15:4], host_id_valid @0x0[9:1], length @0x0[8:9],
        r#type @0x4[31:32], crc16 @0x8[15:16],
    }

    /// MNVDA: one item of the non-volatile configuration.
    mnvda_reg(0x10c, Ifc) {} {
        configuration_item_header @0x0 one(config_item), configuration_item_data @0xc array(be32, 64),
    }

    /// SR-IOV of the whole device.
    nv_global_pci_conf(0xc, Ifc) {
        sriov_valid @0x0[31:1], per_pf_total_vf @0x0[14:1], sriov_en @0x4[31:1], total_vfs @0x4[15:16],
    }

    /// What SR-IOV offers on the whole device.
    nv_global_pci_cap(0x14, Ifc) {
        max_vfs_per_pf_valid @0x0[31:1], per_pf_total_vf_supported @0x0[11:1], sriov_support @0x4[31:1],
        max_vfs_per_pf @0x4[15:16],
    }

    /// SR-IOV of one PF.
    nv_pf_pci_conf(0x10, Ifc) { pf_total_vf_en @0x0[22:1], total_vf @0x8[15:16] }

    /// Offloads that are chosen in the configuration.
    nv_sw_offload_conf(0x8, Ifc) {
        ip_over_vxlan_port @0x0[31:16], tunnel_ecn_copy_offload_disable @0x0[15:1], pci_atomic_mode @0x0[14:3],
        sr_enable @0x0[11:1], ptp_cyc2realtime @0x0[10:1], vector_calc_disable @0x0[9:1], uctx_en @0x0[8:1],
        prio_tag_required_en @0x0[7:1], esw_fdb_ipv4_ttl_modify_enable @0x0[6:1], mkey_by_name @0x0[5:1],
        ip_over_vxlan_en @0x0[4:1], one_qp_per_recovery @0x0[3:1], cqe_compression @0x0[2:3],
        tunnel_udp_entropy_proto_disable @0x4[31:1], ar_enable @0x4[29:1], log_max_outstanding_wqe @0x4[28:5],
        vf_migration @0x4[23:2], log_tx_psn_win @0x4[21:6], lro_log_timeout3 @0x4[15:4], lro_log_timeout2 @0x4[11:4],
        lro_log_timeout1 @0x4[7:4], lro_log_timeout0 @0x4[3:4],
    }

    /// Which of those offloads there are.
    nv_sw_offload_cap(0x4, Ifc) { swp_l4_csum_mode_l4_only @0x0[6:1] }

    /// Checksum modes that are chosen in the configuration.
    nv_sw_accelerate_conf(0x8, Ifc) { swp_l4_csum_mode @0x0[31:2] }
}
