//! Members that share bits on purpose: the parts of packed C members, and the arms of unions.

/// A packed member of a C structure, and the parts of it that the table names: structure, member, parts.
type Parts = (&'static str, &'static str, &'static [&'static str]);

/// The kernel reads parts with macros and inline functions, so that only the member itself can be checked against it.
static PARTS: &[Parts] = &[
    ("health_buffer", "rfr_severity", &["rfr", "crr", "severity_valid", "severity"]),
    ("mlx5_cmd_layout", "status_own", &["status", "ownership"]),
    ("mlx5_cqe64", "ack_seq_num", &["shampo_data_offset"]),
    ("mlx5_cqe64", "byte_cnt", &["filler", "consumed_strides", "mpwrq_byte_cnt"]),
    ("mlx5_cqe64", "hds_ip_ext", &["l4_ok", "l3_ok", "l2_ok"]),
    ("mlx5_cqe64", "l4_l3_hdr_type", &["l4_hdr_type", "l3_hdr_type", "cv"]),
    ("mlx5_cqe64", "min_ttl", &["shampo_header_size"]),
    ("mlx5_cqe64", "op_own", &["opcode", "format", "se", "owner"]),
    ("mlx5_cqe64", "rss_hash_type", &["rss_htype_l4", "rss_htype_ip"]),
    ("mlx5_cqe64", "sop_drop_qpn", &["send_wqe_opcode", "qpn"]),
    ("mlx5_cqe64", "srqn", &["lro_num_seg", "srqn_user_index"]),
    ("mlx5_cqe64", "tcp_win", &["shampo_header_entry_index"]),
    ("mlx5_cqe64", "tcppsh_abort_dupack", &["tcppsh", "shampo_match", "shampo_flush"]),
    ("mlx5_cqe64", "tls_outer_l3_tunneled", &["tls_offload", "outer_l3_tunneled"]),
    ("mlx5_eqe_page_req", "ec_function", &["embedded_cpu_function", "release_all_pages"]),
    ("mlx5_eqe_port_state", "port", &["port_num"]),
    ("mlx5_err_cqe", "op_own", &["opcode", "se", "owner"]),
    ("mlx5_err_cqe", "s_wqe_opcode_qpn", &["s_wqe_opcode", "qpn"]),
    ("mlx5_init_seg", "cmdif_rev_fw_sub", &["cmd_interface_rev", "fw_rev_subminor"]),
    ("mlx5_init_seg", "cmdq_addr_l_sz", &["cmdq_addr_l", "nic_interface", "log_cmdq_size", "log_cmdq_stride"]),
    ("mlx5_init_seg", "fw_rev", &["fw_rev_minor", "fw_rev_major"]),
    (
        "mlx5_init_seg",
        "initializing",
        &[
            "fw_initializing",
            "fw_reset_supported",
            "nic_interface_supported",
            "embedded_cpu",
            "fw_reset_ack",
            "fw_reset_state",
        ],
    ),
    ("mlx5_wqe_ctrl_seg", "fm_ce_se", &["fm", "ce", "se"]),
    ("mlx5_wqe_ctrl_seg", "opmod_idx_opcode", &["opmod", "wqe_index", "opcode"]),
    ("mlx5_wqe_ctrl_seg", "qpn_ds", &["qpn", "ds"]),
    ("mlx5_wqe_data_seg", "byte_count", &["inline_seg"]),
    ("mlx5_wqe_eth_seg", "cs_flags", &["l4_csum", "l3_csum", "l4_inner_csum", "l3_inner_csum"]),
    ("mlx5_wqe_eth_seg", "type", &["insert_vlan", "insert_svlan"]),
    ("mlx5_wqe_inline_seg", "byte_count", &["inline_seg", "inline_byte_count"]),
    ("mlx5_wqe_umr_ctrl_seg", "flags", &["inline_xlt", "check_free", "check_not_free", "translation_offset_en"]),
];

/// The packed member that `part` of `layout` belongs to, or None when `part` is a member of the kernel's structure.
pub fn member_of(layout: &str, part: &str) -> Option<&'static str> {
    PARTS.iter().find(|(name, _, parts)| *name == layout && parts.contains(&part)).map(|(_, member, _)| *member)
}

/// Members that are arms of one union: structure, members.
static UNIONS: &[(&str, &[&str])] = &[
    ("element_attributes", &["tsar", "vport", "vport_tc"]),
    ("flow_table_context", &["sws", "hws"]),
    ("gre_key", &["key", "nvgre"]),
    ("ipv6_layout_ipv4_layout_auto", &["ipv6_simple_layout", "ipv6_layout", "ipv4_layout"]),
    ("mcam_reg", &["access_regs", "access_regs1", "access_regs2", "access_regs3"]),
    ("mlx5_cqe64", &["immediate", "inval_rkey", "pkey", "ft_metadata"]),
    ("mlx5_cqe64", &["signature", "validity_iteration_count"]),
    ("mlx5_mini_cqe8", &["rx_hash_result", "checksum", "wqe_counter"]),
    ("mlx5_mini_cqe8", &["rx_hash_result", "stridx", "s_wqe_opcode"]),
    ("mlx5_wqe_ctrl_seg", &["general_id", "imm", "umr_mkey", "tis_tir_num"]),
    ("mlx5_wqe_eth_seg", &["sz", "type", "trailer"]),
    ("mlx5_wqe_eth_seg", &["start", "vlan_tci", "trailer"]),
    ("mlx5_wqe_umr_ctrl_seg", &["xlt_offset", "bsf_octowords"]),
    ("rqtc", &["rq_num", "rq_vhca"]),
];

/// Whether two members of `layout` may share bits: arms of a union, or a packed member and a part of it.
pub fn may_overlap(layout: &str, a: &str, b: &str) -> bool {
    let union = UNIONS.iter().any(|(name, arms)| *name == layout && arms.contains(&a) && arms.contains(&b));
    // A part stands for its member where that is an arm of a union.
    let whole = |name| member_of(layout, name);
    union
        || match (whole(a), whole(b)) {
            (None, None) => false,
            (Some(a), None) => a == b || may_overlap(layout, a, b),
            (None, Some(b)) => a == b || may_overlap(layout, a, b),
            (Some(a), Some(b)) => a != b && may_overlap(layout, a, b),
        }
}
