//! Segments of work queue entries (`include/linux/mlx5/qp.h`, `device.h`). A segment is a multiple of 16 bytes.

crate::layouts! {
    /// The control segment, first in every send WQE.
    mlx5_wqe_ctrl_seg(0x10, C("mlx5_wqe_ctrl_seg")) {
        opmod_idx_opcode @0x0[31:32], opmod @0x0[31:8],
        /// Number of the WQE's first 64-byte block since the queue was reset, modulo 65536.
        wqe_index @0x0[23:16],
        opcode @0x0[7:8],
        qpn_ds @0x4[31:32], qpn @0x4[31:24],
        /// Length in units of 16 bytes, this segment included (`MLX5_WQE_CTRL_DS_MASK`).
        ds @0x4[5:6],
        signature @0x8[31:8],
        /// `fm`, `ce` and `se`.
        fm_ce_se @0x8[7:8],
        /// Fence mode (`MLX5_FENCE_MODE_*`).
        fm @0x8[7:3],
        /// When to write a CQE: 0 on error, 1 on first error, 2 always, 3 always with an event.
        ce @0x8[3:2],
        /// Solicited event.
        se @0x8[1:1],
        general_id @0xc[31:32], imm @0xc[31:32], umr_mkey @0xc[31:32], tis_tir_num @0xc[31:32],
    }

    /// The Ethernet segment. With an inline header it goes on for `sz` bytes from `start`.
    mlx5_wqe_eth_seg(0x10, C("mlx5_wqe_eth_seg")) {
        swp_outer_l4_offset @0x0[31:8], swp_outer_l3_offset @0x0[23:8],
        swp_inner_l4_offset @0x0[15:8], swp_inner_l3_offset @0x0[7:8],
        cs_flags @0x4[31:8],
        l4_csum @0x4[31:1], l3_csum @0x4[30:1], l4_inner_csum @0x4[29:1], l3_inner_csum @0x4[28:1],
        swp_flags @0x4[23:8],
        mss @0x4[15:16], flow_table_metadata @0x8[31:32],
        /// Length of the inline header in bytes; 0 without one, and then `type` is the member that counts.
        sz @0xc[31:16],
        /// Without an inline header, what to insert (drivers before 7.x let the device insert VLAN tags).
        r#type @0xc[31:16],
        /// Insert a VLAN tag (`MLX5_ETH_WQE_INSERT_VLAN`).
        insert_vlan @0xc[31:1],
        /// The tag to insert is an S-tag (`MLX5_ETH_WQE_SVLAN`).
        insert_svlan @0xc[16:1],
        /// The tag to insert.
        vlan_tci @0xc[15:16],
        trailer @0xc[31:32],
    } {
        /// First bytes of the inline header; the rest follows the segment.
        start @0xe bytes(2),
    }

    /// A pointer to data.
    mlx5_wqe_data_seg(0x10, C("mlx5_wqe_data_seg")) {
        byte_count @0x0[31:32],
        /// Set in an inline segment (`MLX5_INLINE_SEG`).
        inline_seg @0x0[31:1],
        lkey @0x4[31:32], addr @0x8[31:64],
    }

    /// Data in the WQE itself, padded to 16 bytes.
    mlx5_wqe_inline_seg(0x4, C("mlx5_wqe_inline_seg")) {
        byte_count @0x0[31:32],
        /// `MLX5_INLINE_SEG`.
        inline_seg @0x0[31:1],
        /// `MLX5_WQE_INLINE_SEG_BYTE_COUNT_MASK`.
        inline_byte_count @0x0[9:10],
    } {
        data @0x4 list(bytes),
    }

    /// UMR control segment; a memory key segment follows.
    mlx5_wqe_umr_ctrl_seg(0x30, C("mlx5_wqe_umr_ctrl_seg")) {
        /// `MLX5_UMR_*` in device.h.
        flags @0x0[31:8],
        /// `MLX5_UMR_INLINE`.
        inline_xlt @0x0[31:1],
        /// `MLX5_UMR_CHECK_FREE`: fail when the key is free.
        check_free @0x0[30:1],
        /// `MLX5_UMR_CHECK_NOT_FREE`: fail when the key is not free.
        check_not_free @0x0[29:1],
        /// `MLX5_UMR_TRANSLATION_OFFSET_EN`.
        translation_offset_en @0x0[28:1],
        xlt_octowords @0x4[31:16], xlt_offset @0x4[15:16], bsf_octowords @0x4[15:16],
        mkey_mask @0x8[31:64], xlt_offset_47_16 @0x10[31:32],
    }

    /// Links the entries of a linked-list receive queue.
    mlx5_wqe_srq_next_seg(0x10, C("mlx5_wqe_srq_next_seg")) { next_wqe_index @0x0[15:16], signature @0x4[31:8] }

    /// An entry of a memory translation table; the low bits are access rights.
    mlx5_mtt(0x8, C("mlx5_mtt")) { ptag @0x0[31:64] }

    /// A memory range of an indirect memory key.
    mlx5_klm(0x10, C("mlx5_klm")) { bcount @0x0[31:32], key @0x4[31:32], va @0x8[31:64] }

    /// A memory range of fixed length of an indirect memory key.
    mlx5_ksm(0x10, C("mlx5_ksm")) { key @0x4[31:32], va @0x8[31:64] }
}
