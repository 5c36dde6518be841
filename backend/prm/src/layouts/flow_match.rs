//! What a flow matches: the parts of `fte_match_param`.

crate::layouts! {
    /// An IPv6 address as four dwords.
    ipv6_simple_layout(0x10, Ifc) {
        ipv6_127_96 @0x0[31:32], ipv6_95_64 @0x4[31:32], ipv6_63_32 @0x8[31:32], ipv6_31_0 @0xc[31:32],
    }

    /// An IPv6 address as 16 bytes.
    ipv6_layout(0x10, Ifc) {} { ipv6 @0x0 bytes(0x10) }

    /// An IPv4 address in the last dword.
    ipv4_layout(0x10, Ifc) { ipv4 @0xc[31:32] }

    /// An address, IPv4 or IPv6 (a union).
    ipv6_layout_ipv4_layout_auto(0x10, Ifc) {} {
        ipv6_simple_layout @0x0 one(ipv6_simple_layout), ipv6_layout @0x0 one(ipv6_layout),
        ipv4_layout @0x0 one(ipv4_layout),
    }

    /// Ethernet, IP, TCP and UDP fields, of the outer or the inner headers.
    fte_match_set_lyr_2_4(0x40, Ifc) {
        smac_47_16 @0x0[31:32], smac_15_0 @0x4[31:16], ethertype @0x4[15:16], dmac_47_16 @0x8[31:32],
        dmac_15_0 @0xc[31:16], first_prio @0xc[15:3], first_cfi @0xc[12:1], first_vid @0xc[11:12],
        ip_protocol @0x10[31:8], ip_dscp @0x10[23:6], ip_ecn @0x10[17:2], cvlan_tag @0x10[15:1],
        svlan_tag @0x10[14:1], frag @0x10[13:1], ip_version @0x10[12:4], tcp_flags @0x10[8:9], tcp_sport @0x14[31:16],
        tcp_dport @0x14[15:16], l4_type @0x18[31:2], l4_type_ext @0x18[29:4], ipv4_ihl @0x18[15:4],
        ttl_hoplimit @0x18[7:8], udp_sport @0x1c[31:16], udp_dport @0x1c[15:16],
    } {
        src_ipv4_src_ipv6 @0x20 one(ipv6_layout_ipv4_layout_auto),
        dst_ipv4_dst_ipv6 @0x30 one(ipv6_layout_ipv4_layout_auto),
    }

    /// An NVGRE key: network and flow.
    nvgre_key(0x4, Ifc) { hi @0x0[31:24], lo @0x0[7:8] }

    /// A GRE key (a union).
    gre_key(0x4, Ifc) { key @0x0[31:32] } { nvgre @0x0 one(nvgre_key) }

    /// Source vport and queue, second VLAN tags, tunnels.
    fte_match_set_misc(0x40, Ifc) {
        gre_c_present @0x0[31:1], gre_k_present @0x0[29:1], gre_s_present @0x0[28:1], source_vhca_port @0x0[27:4],
        source_sqn @0x0[23:24], source_eswitch_owner_vhca_id @0x4[31:16], source_port @0x4[15:16],
        outer_second_prio @0x8[31:3], outer_second_cfi @0x8[28:1], outer_second_vid @0x8[27:12],
        inner_second_prio @0x8[15:3], inner_second_cfi @0x8[12:1], inner_second_vid @0x8[11:12],
        outer_second_cvlan_tag @0xc[31:1], inner_second_cvlan_tag @0xc[30:1], outer_second_svlan_tag @0xc[29:1],
        inner_second_svlan_tag @0xc[28:1], gre_protocol @0xc[15:16], vxlan_vni @0x14[31:24], bth_opcode @0x14[7:8],
        geneve_vni @0x18[31:24], geneve_tlv_option_0_exist @0x18[1:1], geneve_oam @0x18[0:1],
        outer_ipv6_flow_label @0x1c[19:20], inner_ipv6_flow_label @0x20[19:20], geneve_opt_len @0x24[21:6],
        geneve_protocol_type @0x24[15:16], bth_dst_qp @0x28[23:24], inner_esp_spi @0x2c[31:32],
        outer_esp_spi @0x30[31:32],
    } { gre_key @0x10 one(gre_key) }

    /// An MPLS label.
    fte_match_mpls(0x4, Ifc) {
        mpls_label @0x0[31:20], mpls_exp @0x0[11:3], mpls_s_bos @0x0[8:1], mpls_ttl @0x0[7:8],
    }

    /// Metadata registers and MPLS.
    fte_match_set_misc2(0x40, Ifc) {
        metadata_reg_c_7 @0x10[31:32], metadata_reg_c_6 @0x14[31:32], metadata_reg_c_5 @0x18[31:32],
        metadata_reg_c_4 @0x1c[31:32], metadata_reg_c_3 @0x20[31:32], metadata_reg_c_2 @0x24[31:32],
        metadata_reg_c_1 @0x28[31:32], metadata_reg_c_0 @0x2c[31:32], metadata_reg_a @0x30[31:32],
        psp_syndrome @0x34[31:8], macsec_syndrome @0x34[23:8], ipsec_syndrome @0x34[15:8],
        ipsec_next_header @0x34[7:8],
    } {
        outer_first_mpls @0x0 one(fte_match_mpls), inner_first_mpls @0x4 one(fte_match_mpls),
        outer_first_mpls_over_gre @0x8 one(fte_match_mpls), outer_first_mpls_over_udp @0xc one(fte_match_mpls),
    }

    /// TCP sequence numbers, VXLAN-GPE, ICMP, GTP-U.
    fte_match_set_misc3(0x40, Ifc) {
        inner_tcp_seq_num @0x0[31:32], outer_tcp_seq_num @0x4[31:32], inner_tcp_ack_num @0x8[31:32],
        outer_tcp_ack_num @0xc[31:32], outer_vxlan_gpe_vni @0x10[23:24], outer_vxlan_gpe_next_protocol @0x14[31:8],
        outer_vxlan_gpe_flags @0x14[23:8], icmp_header_data @0x18[31:32], icmpv6_header_data @0x1c[31:32],
        icmp_type @0x20[31:8], icmp_code @0x20[23:8], icmpv6_type @0x20[15:8], icmpv6_code @0x20[7:8],
        geneve_tlv_option_0_data @0x24[31:32], gtpu_teid @0x28[31:32], gtpu_msg_type @0x2c[31:8],
        gtpu_msg_flags @0x2c[23:8], gtpu_dw_2 @0x30[31:32], gtpu_first_ext_dw_0 @0x34[31:32], gtpu_dw_0 @0x38[31:32],
    }

    /// Fields picked by programmable samplers.
    fte_match_set_misc4(0x40, Ifc) {
        prog_sample_field_value_0 @0x0[31:32], prog_sample_field_id_0 @0x4[31:32],
        prog_sample_field_value_1 @0x8[31:32], prog_sample_field_id_1 @0xc[31:32],
        prog_sample_field_value_2 @0x10[31:32], prog_sample_field_id_2 @0x14[31:32],
        prog_sample_field_value_3 @0x18[31:32], prog_sample_field_id_3 @0x1c[31:32],
    }

    /// MACsec tags and tunnel headers.
    fte_match_set_misc5(0x40, Ifc) {
        macsec_tag_0 @0x0[31:32], macsec_tag_1 @0x4[31:32], macsec_tag_2 @0x8[31:32], macsec_tag_3 @0xc[31:32],
        tunnel_header_0 @0x10[31:32], tunnel_header_1 @0x14[31:32], tunnel_header_2 @0x18[31:32],
        tunnel_header_3 @0x1c[31:32],
    }

    /// Match criteria or values, 512 bytes.
    fte_match_param(0x200, Ifc) {} {
        outer_headers @0x0 one(fte_match_set_lyr_2_4), misc_parameters @0x40 one(fte_match_set_misc),
        inner_headers @0x80 one(fte_match_set_lyr_2_4), misc_parameters_2 @0xc0 one(fte_match_set_misc2),
        misc_parameters_3 @0x100 one(fte_match_set_misc3), misc_parameters_4 @0x140 one(fte_match_set_misc4),
        misc_parameters_5 @0x180 one(fte_match_set_misc5),
    }
}
