//! Queue counters, vport counters, vNIC environment.

crate::layouts! {
    /// Packets and octets.
    traffic_counter(0x10, Ifc) { packets @0x0[31:64], octets @0x8[31:64] }

    /// ALLOC_Q_COUNTER input.
    alloc_q_counter_in(0x10, Ifc) { opcode @0x0[31:16], uid @0x0[15:16], op_mod @0x4[15:16] }

    /// ALLOC_Q_COUNTER output.
    alloc_q_counter_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], counter_set_id @0x8[7:8] }

    /// DEALLOC_Q_COUNTER input.
    dealloc_q_counter_in(0x10, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16], counter_set_id @0x8[7:8] }

    /// DEALLOC_Q_COUNTER output.
    dealloc_q_counter_out(0x10, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] }

    /// QUERY_Q_COUNTER input.
    query_q_counter_in(0x20, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16], clear @0x18[31:1],
        aggregate @0x18[30:1], counter_set_id @0x1c[7:8],
    }

    /// QUERY_Q_COUNTER output.
    query_q_counter_out(0x100, Ifc) {
        status @0x0[31:8], syndrome @0x4[31:32], rx_write_requests @0x10[31:32], rx_read_requests @0x18[31:32],
        rx_atomic_requests @0x20[31:32], rx_dct_connect @0x28[31:32], out_of_buffer @0x30[31:32],
        out_of_sequence @0x38[31:32], duplicate_request @0x40[31:32], rnr_nak_retry_err @0x48[31:32],
        packet_seq_err @0x50[31:32], implied_nak_seq_err @0x58[31:32], local_ack_timeout_err @0x60[31:32],
        req_rnr_retries_exceeded @0x70[31:32], resp_local_length_error @0x78[31:32],
        req_local_length_error @0x7c[31:32], resp_local_qp_error @0x80[31:32], local_operation_error @0x84[31:32],
        resp_local_protection @0x88[31:32], req_local_protection @0x8c[31:32], resp_cqe_error @0x90[31:32],
        req_cqe_error @0x94[31:32], req_mw_binding @0x98[31:32], req_bad_response @0x9c[31:32],
        req_remote_invalid_request @0xa0[31:32], resp_remote_invalid_request @0xa4[31:32],
        req_remote_access_errors @0xa8[31:32], resp_remote_access_errors @0xac[31:32],
        req_remote_operation_errors @0xb0[31:32], req_transport_retries_exceeded @0xb4[31:32],
        cq_overflow @0xb8[31:32], resp_cqe_flush_error @0xbc[31:32], req_cqe_flush_error @0xc0[31:32],
        roce_adp_retrans @0xc8[31:32], roce_adp_retrans_to @0xcc[31:32], roce_slow_restart @0xd0[31:32],
        roce_slow_restart_cnps @0xd4[31:32], roce_slow_restart_trans @0xd8[31:32],
    }

    /// QUERY_VPORT_COUNTER input.
    query_vport_counter_in(0x20, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], port_num @0x8[19:4], vport_number @0x8[15:16],
        clear @0x18[31:1],
    }

    /// QUERY_VPORT_COUNTER output.
    query_vport_counter_out(0x210, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        received_errors @0x10 one(traffic_counter), transmit_errors @0x20 one(traffic_counter),
        received_ib_unicast @0x30 one(traffic_counter), transmitted_ib_unicast @0x40 one(traffic_counter),
        received_ib_multicast @0x50 one(traffic_counter), transmitted_ib_multicast @0x60 one(traffic_counter),
        received_eth_broadcast @0x70 one(traffic_counter), transmitted_eth_broadcast @0x80 one(traffic_counter),
        received_eth_unicast @0x90 one(traffic_counter), transmitted_eth_unicast @0xa0 one(traffic_counter),
        received_eth_multicast @0xb0 one(traffic_counter), transmitted_eth_multicast @0xc0 one(traffic_counter),
        local_loopback @0xd0 one(traffic_counter),
    }

    /// Counters of a function's queues and commands, for diagnosis.
    vnic_diagnostic_statistics(0x200, Ifc) {
        counter_error_queues @0x0[31:32], total_error_queues @0x4[31:32], send_queue_priority_update_flow @0x8[31:32],
        nic_receive_steering_discard @0x10[31:64], receive_discard_vport_down @0x18[31:64],
        transmit_discard_vport_down @0x20[31:64], async_eq_overrun @0x28[31:32], comp_eq_overrun @0x2c[31:32],
        invalid_command @0x34[31:32], quota_exceeded_command @0x38[31:32], internal_rq_out_of_buffer @0x3c[31:32],
        cq_overrun @0x40[31:32], eth_wqe_too_small @0x44[31:32], generated_pkt_steering_fail @0x60[31:64],
        handled_pkt_steering_fail @0x68[31:64], bar_uar_access @0x70[31:32],
        odp_local_triggered_page_fault @0x74[31:32], odp_remote_triggered_page_fault @0x78[31:32],
    }

    /// QUERY_VNIC_ENV input.
    query_vnic_env_in(0x10, Ifc) {
        opcode @0x0[31:16], op_mod @0x4[15:16], other_vport @0x8[31:1], vport_number @0x8[15:16],
    }

    /// QUERY_VNIC_ENV output.
    query_vnic_env_out(0x210, Ifc) { status @0x0[31:8], syndrome @0x4[31:32] } {
        vport_env @0x10 one(vnic_diagnostic_statistics),
    }
}
