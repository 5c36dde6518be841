//! Event queue entries (`include/linux/mlx5/device.h`): [`mlx5_eqe`], and what its `data` holds for each event type.

crate::layouts! {
    /// An entry of an event queue.
    mlx5_eqe(0x40, C("mlx5_eqe")) {
        r#type @0x0[23:8], sub_type @0x0[7:8], signature @0x3c[15:8],
        /// Bit 0 is the owner bit; `mlx5_ifc_eqe_bits` has the other seven reserved.
        owner @0x3c[7:8],
    } {
        data @0x20 bytes(0x1c),
    }

    /// Completion: which CQ.
    mlx5_eqe_comp(0x1c, C("mlx5_eqe_comp")) { cqn @0x18[31:32] }

    /// QP and SRQ events.
    mlx5_eqe_qp_srq(0x1c, C("mlx5_eqe_qp_srq")) { r#type @0x14[31:8], qp_srq_n @0x18[31:32] }

    /// CQ error.
    mlx5_eqe_cq_err(0xc, C("mlx5_eqe_cq_err")) { cqn @0x0[31:32], syndrome @0x8[7:8] }

    /// Port state change.
    mlx5_eqe_port_state(0x9, C("mlx5_eqe_port_state")) {
        port @0x8[31:8],
        /// The port's number, counted from 1, is in the upper half of `port`.
        port_num @0x8[31:4],
    }

    /// Commands completed: a bit for each slot.
    mlx5_eqe_cmd(0x1c, C("mlx5_eqe_cmd")) { vector @0x0[31:32] }

    /// Page request: give when positive, return when negative.
    mlx5_eqe_page_req(0x1c, C("mlx5_eqe_page_req")) {
        ec_function @0x0[31:16],
        /// The function is an embedded CPU's (`EC_FUNCTION_MASK`).
        embedded_cpu_function @0x0[31:1],
        /// The driver drops all pages of the function (`RELEASE_ALL_PAGES_MASK`).
        release_all_pages @0x0[30:1],
        func_id @0x0[15:16], num_pages @0x4[31:32],
    }

    /// A vport's context changed.
    mlx5_eqe_vport_change(0x1c, C("mlx5_eqe_vport_change")) { vport_num @0x0[15:16] }

    /// A cable or module was plugged or unplugged.
    mlx5_eqe_port_module(0x7, C("mlx5_eqe_port_module")) {
        module @0x0[23:8], module_status @0x0[7:8], error_type @0x4[15:8],
    }

    /// Sensors that are too warm, one bit each.
    mlx5_eqe_temp_warning(0x10, C("mlx5_eqe_temp_warning")) {
        sensor_warning_msb @0x0[31:64], sensor_warning_lsb @0x8[31:64],
    }

    /// A general object changed.
    mlx5_eqe_obj_change(0x8, C("mlx5_eqe_obj_change")) { obj_type @0x0[15:16], obj_id @0x4[31:32] }

    /// A step of the synchronized firmware reset.
    mlx5_eqe_sync_fw_update(0x4, C("mlx5_eqe_sync_fw_update")) { sync_rst_state @0x0[7:8] }

    /// A function's VHCA state changed.
    mlx5_eqe_vhca_state(0x4, C("mlx5_eqe_vhca_state")) { ec_function @0x0[31:16], function_id @0x0[15:16] }
}
