//! Completion queue entries (`include/linux/mlx5/device.h`). The parts of packed members are read by the inline
//! functions beside the structure (`get_cqe_opcode`, `get_cqe_l4_hdr_type` …).

crate::layouts! {
    /// A completion queue entry.
    mlx5_cqe64(0x40, C("mlx5_cqe64")) {
        tls_outer_l3_tunneled @0x0[31:8], tls_offload @0x0[28:2], outer_l3_tunneled @0x0[24:1],
        wqe_id @0x0[15:16],
        tcppsh_abort_dupack @0x4[31:8], tcppsh @0x4[30:1], min_ttl @0x4[23:8], tcp_win @0x4[15:16],
        /// Split headers (`shampo`): the packet continues the one before it; nothing continues it.
        shampo_match @0x4[25:1], shampo_flush @0x4[26:1],
        /// Bytes of the headers, and their entry.
        shampo_header_size @0x4[23:8], shampo_header_entry_index @0x4[15:16],
        ack_seq_num @0x8[31:32],
        /// Where the payload is in the WQE.
        shampo_data_offset @0x8[31:32],
        rss_hash_result @0xc[31:32],
        rss_hash_type @0x10[31:8], rss_htype_l4 @0x10[31:2], rss_htype_ip @0x10[27:2],
        ml_path @0x10[23:8],
        check_sum @0x14[31:16], slid @0x14[15:16],
        flags_rqpn @0x18[31:32],
        hds_ip_ext @0x1c[31:8], l4_ok @0x1c[26:1], l3_ok @0x1c[25:1], l2_ok @0x1c[24:1],
        l4_l3_hdr_type @0x1c[23:8], l4_hdr_type @0x1c[22:3], l3_hdr_type @0x1c[19:2],
        /// A VLAN tag was stripped (`cqe_has_vlan`).
        cv @0x1c[16:1],
        vlan_info @0x1c[15:16],
        srqn @0x20[31:32], lro_num_seg @0x20[31:8], srqn_user_index @0x20[23:24],
        immediate @0x24[31:32], inval_rkey @0x24[31:32], pkey @0x24[31:32], ft_metadata @0x24[31:32],
        byte_cnt @0x2c[31:32],
        /// Striding RQ (`mpwrq_is_filler_cqe`).
        filler @0x2c[31:1],
        /// Striding RQ (`mpwrq_get_cqe_consumed_strides`).
        consumed_strides @0x2c[30:15],
        /// Striding RQ (`mpwrq_get_cqe_byte_cnt`).
        mpwrq_byte_cnt @0x2c[15:16],
        timestamp_h @0x30[31:32], timestamp_l @0x34[31:32],
        sop_drop_qpn @0x38[31:32],
        /// Send side: the WQE's opcode.
        send_wqe_opcode @0x38[31:8],
        /// Queue number; on Ethernet receive, the flow tag.
        qpn @0x38[23:24],
        wqe_counter @0x3c[31:16], signature @0x3c[15:8], validity_iteration_count @0x3c[15:8],
        /// `opcode`, `format`, `se` and `owner`: the byte that is written last.
        op_own @0x3c[7:8],
        opcode @0x3c[7:4], format @0x3c[3:2], se @0x3c[1:1], owner @0x3c[0:1],
    }

    /// A completion queue entry that reports an error.
    mlx5_err_cqe(0x40, C("mlx5_err_cqe")) {
        srqn @0x20[31:32], vendor_err_synd @0x34[15:8], syndrome @0x34[7:8],
        s_wqe_opcode_qpn @0x38[31:32], s_wqe_opcode @0x38[31:8], qpn @0x38[23:24],
        wqe_counter @0x3c[31:16], signature @0x3c[15:8],
        op_own @0x3c[7:8], opcode @0x3c[7:4], se @0x3c[1:1], owner @0x3c[0:1],
    }

    /// An entry of a compressed completion (`format` 3).
    mlx5_mini_cqe8(0x8, C("mlx5_mini_cqe8")) {
        rx_hash_result @0x0[31:32], checksum @0x0[31:16], stridx @0x0[15:16],
        wqe_counter @0x0[31:16], s_wqe_opcode @0x0[15:8], byte_cnt @0x4[31:32],
    }
}
