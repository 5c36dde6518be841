//! PPCNT: the port's counters.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    be64, eth_802_3_cntrs_grp_data_layout, eth_2819_cntrs_grp_data_layout, eth_2863_cntrs_grp_data_layout,
    eth_3635_cntrs_grp_data_layout, eth_per_prio_grp_data_layout, phys_layer_cntrs, phys_layer_statistical_cntrs,
    ppcnt_reg, rs_histogram_cntrs,
};
use mlx5emu_prm::register::PpcntGroup;
use mlx5emu_prm::{Field, Layout};

use super::super::Traffic;
use super::super::port::FCS;
use crate::card::Card;
use crate::error::Done;
use crate::ethernet::fec::{self, Fec};

impl<M: DmaSpace + 'static> Card<M> {
    pub(super) fn ppcnt(&mut self, port: usize, input: &[u8], output: &mut [u8]) -> Done {
        let active = self.fec(port);
        let c = &self.port_of(port, ppcnt_reg::local_port.get(input))?.counters;
        let (tx, rx) = (on_the_wire(&c.sent), on_the_wire(&c.received));
        let [tx_mc, rx_mc, tx_bc, rx_bc] = c.groups.each_ref().map(|n| n.load(Relaxed));
        let too_long = c.too_long.load(Relaxed);
        let sizes = c.sizes.each_ref().map(|n| n.load(Relaxed));
        let priority = ppcnt_reg::prio_tc.get(input) as usize % c.priorities.len();
        let first = u64::from(priority == 0);
        let [prio_tx, prio_rx] = c.priorities[priority].each_ref().map(on_the_wire);
        let flow = &self.ports[port].pause.counters;
        let load = |n: &AtomicU64| n.load(Relaxed);
        let (paused, pauses) = (load(&flow.received), load(&flow.sent));
        let (unsupported, held_drops) = (load(&flow.unsupported), load(&flow.dropped));
        let c = &self.ports[port].counters;
        let set = ppcnt_reg::counter_set.of_mut(output);
        set.fill(0);
        match PpcntGroup(ppcnt_reg::grp.get(input) as u8) {
            PpcntGroup::IEEE_802_3_COUNTERS_GROUP => put(
                set,
                &eth_802_3_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("a_frames_transmitted_ok", tx.0),
                    ("a_frames_received_ok", rx.0),
                    ("a_octets_transmitted_ok", tx.1),
                    ("a_octets_received_ok", rx.1),
                    ("a_multicast_frames_xmitted_ok", tx_mc),
                    ("a_broadcast_frames_xmitted_ok", tx_bc),
                    ("a_multicast_frames_received_ok", rx_mc),
                    ("a_broadcast_frames_received_ok", rx_bc),
                    ("a_frame_too_long_errors", too_long),
                    ("a_mac_control_frames_transmitted", pauses),
                    ("a_mac_control_frames_received", paused + unsupported),
                    ("a_unsupported_opcodes_received", unsupported),
                    ("a_pause_mac_ctrl_frames_received", paused),
                    ("a_pause_mac_ctrl_frames_transmitted", pauses),
                ],
            ),
            PpcntGroup::RFC_2863_COUNTERS_GROUP => put(
                set,
                &eth_2863_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("if_in_octets", rx.1),
                    ("if_in_ucast_pkts", rx.0 - (rx_mc + rx_bc).min(rx.0)),
                    ("if_in_errors", too_long),
                    ("if_out_octets", tx.1),
                    ("if_out_ucast_pkts", tx.0 - (tx_mc + tx_bc).min(tx.0)),
                    ("if_out_discards", c.lost.load(Relaxed)),
                    ("if_in_multicast_pkts", rx_mc),
                    ("if_in_broadcast_pkts", rx_bc),
                    ("if_out_multicast_pkts", tx_mc),
                    ("if_out_broadcast_pkts", tx_bc),
                ],
            ),
            PpcntGroup::RFC_2819_COUNTERS_GROUP => put(
                set,
                &eth_2819_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("ether_stats_octets", rx.1),
                    ("ether_stats_pkts", rx.0),
                    ("ether_stats_broadcast_pkts", rx_bc),
                    ("ether_stats_multicast_pkts", rx_mc),
                    ("ether_stats_oversize_pkts", too_long),
                    ("ether_stats_pkts64octets", sizes[0]),
                    ("ether_stats_pkts65to127octets", sizes[1]),
                    ("ether_stats_pkts128to255octets", sizes[2]),
                    ("ether_stats_pkts256to511octets", sizes[3]),
                    ("ether_stats_pkts512to1023octets", sizes[4]),
                    ("ether_stats_pkts1024to1518octets", sizes[5]),
                    ("ether_stats_pkts1519to2047octets", sizes[6]),
                    ("ether_stats_pkts2048to4095octets", sizes[7]),
                    ("ether_stats_pkts4096to8191octets", sizes[8]),
                    ("ether_stats_pkts8192to10239octets", sizes[9]),
                ],
            ),
            PpcntGroup::PER_PRIORITY_COUNTERS_GROUP => put(
                set,
                &eth_per_prio_grp_data_layout::LAYOUT,
                &[
                    ("rx_octets", prio_rx.1),
                    ("rx_frames", prio_rx.0),
                    ("tx_octets", prio_tx.1),
                    ("tx_frames", prio_tx.0),
                    // Global pause shows in priority 0; durations are in microseconds.
                    ("rx_pause", paused * first),
                    ("rx_pause_duration", load(&flow.received_ns) / 1000 * first),
                    ("tx_pause", pauses * first),
                    ("tx_pause_duration", load(&flow.sent_ns) / 1000 * first),
                    ("rx_pause_transition", load(&flow.transitions) * first),
                    ("rx_discards", held_drops * first),
                ],
            ),
            PpcntGroup::PHYSICAL_LAYER_COUNTERS_GROUP => {
                phys_layer_cntrs::link_down_events.set(set, c.link_downs.load(Relaxed));
                if active == Fec::RS {
                    put(set, &phys_layer_cntrs::LAYOUT, &[("rs_fec_no_errors_blocks", rx.1 / fec::CODEWORD_BYTES)]);
                }
            }
            PpcntGroup::PHYSICAL_LAYER_STATISTICAL_GROUP => {
                put(set, &phys_layer_statistical_cntrs::LAYOUT, &[("phy_received_bits", rx.1 * 8)]);
            }
            // Bits never turn over on these wires, and they carry nothing between frames: codewords are the ones that frames
            // fill, without a symbol to correct.
            PpcntGroup::RS_FEC_HISTOGRAM_GROUP if active == Fec::RS => {
                let clean = rs_histogram_cntrs::hist.at_mut(set, 0);
                be64::value.set(clean, rx.1 / fec::CODEWORD_BYTES);
            }
            PpcntGroup::RFC_3635_COUNTERS_GROUP => put(
                set,
                &eth_3635_cntrs_grp_data_layout::LAYOUT,
                &[
                    ("dot3stats_frame_too_longs", too_long),
                    ("dot3control_in_unknown_opcodes", unsupported),
                    ("dot3in_pause_frames", paused),
                    ("dot3out_pause_frames", pauses),
                ],
            ),
            // What these groups count does not happen here: FCS errors, discards by traffic class.
            _ => {}
        }
        Ok(())
    }
}

/// Frames, and octets as a port counts them: with FCS (`etherStatsOctets` of RFC 2819, `ifInOctets` of RFC 2863).
fn on_the_wire(traffic: &Traffic) -> (u64, u64) {
    let (frames, octets) = traffic.read();
    (frames, octets + frames * FCS as u64)
}

/// Stores 64-bit counters that the layout has as `NAME_high` and `NAME_low`.
fn put(set: &mut [u8], layout: &'static Layout, values: &[(&str, u64)]) {
    for (name, value) in values {
        for (suffix, part) in [("_high", value >> 32), ("_low", value & 0xffff_ffff)] {
            let field: Option<&Field> = layout.fields.iter().find(|f| f.name.strip_suffix(suffix) == Some(name));
            debug_assert!(field.is_some(), "{} has no {name}{suffix}", layout.name);
            if let Some(field) = field {
                field.set(set, part);
            }
        }
    }
}
