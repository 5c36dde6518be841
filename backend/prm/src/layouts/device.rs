//! What the driver finds in BAR 0 and in the command page (`include/linux/mlx5/device.h`).
//!
//! Members of a C structure that pack several things have their parts beside them; [`super::PARTS`] says which part
//! belongs to which member.

use super::be32;

crate::layouts! {
    /// The health buffer in the initialization segment.
    health_buffer(0x40, C("health_buffer")) {
        assert_exit_ptr @0x20[31:32], assert_callra @0x24[31:32], time @0x2c[31:32], fw_ver @0x30[31:32],
        hw_id @0x34[31:32],
        /// `rfr`, `crr`, `severity_valid` and `severity`.
        rfr_severity @0x38[31:8],
        /// Request for reset.
        rfr @0x38[31:1],
        /// Critical error: reset needed (`MLX5_CRR_BIT_OFFSET`).
        crr @0x38[30:1],
        severity_valid @0x38[27:1],
        severity @0x38[26:3],
        irisc_index @0x3c[31:8], synd @0x3c[23:8], ext_synd @0x3c[15:16],
    } {
        assert_var @0x0 array(be32, 6),
    }

    /// The initialization segment at the start of BAR 0.
    mlx5_init_seg(0x2010, C("mlx5_init_seg")) {
        fw_rev @0x0[31:32], fw_rev_minor @0x0[31:16], fw_rev_major @0x0[15:16],
        cmdif_rev_fw_sub @0x4[31:32], cmd_interface_rev @0x4[31:16], fw_rev_subminor @0x4[15:16],
        cmdq_addr_h @0x10[31:32],
        /// Address, interface state and geometry of the command queue in one dword.
        cmdq_addr_l_sz @0x14[31:32],
        cmdq_addr_l @0x14[31:20],
        /// Three bits in the driver (`mlx5_get_nic_state`), two in `mlx5_ifc_initial_seg_bits`.
        nic_interface @0x14[10:3],
        log_cmdq_size @0x14[7:4],
        log_cmdq_stride @0x14[3:4],
        cmd_dbell @0x18[31:32],
        /// The dword that holds `fw_initializing` and the firmware reset's bits.
        initializing @0x1fc[31:32],
        /// Still initializing (`wait_fw_init`).
        fw_initializing @0x1fc[31:1],
        /// `MLX5_FW_RESET_SUPPORTED_OFFSET`.
        fw_reset_supported @0x1fc[30:1],
        nic_interface_supported @0x1fc[26:3],
        /// `MLX5_ECPU_BIT_NUM`.
        embedded_cpu @0x1fc[23:1],
        /// Written by the driver (`MLX5_RST_ACK_BIT_NUM`).
        fw_reset_ack @0x1fc[22:1],
        /// `MLX5_RST_STATE_BIT_NUM`.
        fw_reset_state @0x1fc[15:4],
        cmd_exec_to @0xff8[31:32], cmd_q_init_to @0xffc[31:32],
        internal_timer_h @0x1000[31:32], internal_timer_l @0x1004[31:32], health_counter @0x1010[31:32],
        real_time_h @0x1040[31:32], real_time_l @0x1044[31:32],
        ieee1588_clk @0x2000[31:64], ieee1588_clk_type @0x2008[31:32], clr_intx @0x200c[31:32],
    } {
        health @0x200 one(health_buffer),
    }

    /// An entry of the command queue.
    mlx5_cmd_layout(0x40, C("mlx5_cmd_layout")) {
        r#type @0x0[31:8], inlen @0x4[31:32], in_ptr @0x8[31:64], out_ptr @0x30[31:64], outlen @0x38[31:32],
        token @0x3c[31:8], sig @0x3c[23:8],
        /// `status` and `ownership`.
        status_own @0x3c[7:8],
        /// Delivery status.
        status @0x3c[7:7],
        /// 1: the device owns the entry (`CMD_OWNER_HW`).
        ownership @0x3c[0:1],
    } {
        r#in @0x10 bytes(0x10), out @0x20 bytes(0x10),
    }

    /// A mailbox of a command's input or output.
    mlx5_cmd_prot_block(0x240, C("mlx5_cmd_prot_block")) {
        next @0x230[31:64], block_num @0x238[31:32], token @0x23c[23:8], ctrl_sig @0x23c[15:8], sig @0x23c[7:8],
    } {
        data @0x0 bytes(0x200),
    }
}
