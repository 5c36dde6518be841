//! The layouts, by theme. All are re-exported here under the kernel's names: `prm::layouts::create_sq_in::sqn`.
//!
//! To add one: print it with `scripts/check-prm --print STRUCT`, put it into the file of its theme with a line that
//! says what it is, then run `scripts/check-prm --refresh`, which adds it to the facts of every kernel line.

mod cap_flow_table;
mod cap_general;
mod cap_general_2;
mod cap_groups;
mod command;
mod completion_queues;
mod counters;
mod cqe;
mod device;
mod eqe;
mod event_queues;
mod flow;
mod flow_match;
mod hca;
mod memory;
mod nv;
mod parts;
mod port_counters;
mod rdma;
mod register_caps;
mod registers;
mod scalar;
mod scheduling;
mod transport;
mod vhca;
mod vport;
mod work_queues;
mod wqe;

pub use cap_flow_table::*;
pub use cap_general::*;
pub use cap_general_2::*;
pub use cap_groups::*;
pub use command::*;
pub use completion_queues::*;
pub use counters::*;
pub use cqe::*;
pub use device::*;
pub use eqe::*;
pub use event_queues::*;
pub use flow::*;
pub use flow_match::*;
pub use hca::*;
pub use memory::*;
pub use nv::*;
pub use parts::{may_overlap, member_of};
pub use port_counters::*;
pub use rdma::*;
pub use register_caps::*;
pub use registers::*;
pub use scalar::*;
pub use scheduling::*;
pub use transport::*;
pub use vhca::*;
pub use vport::*;
pub use work_queues::*;
pub use wqe::*;

use crate::field::Layout;

const GROUPS: &[&[&Layout]] = &[
    cap_flow_table::ALL,
    cap_general::ALL,
    cap_general_2::ALL,
    cap_groups::ALL,
    command::ALL,
    counters::ALL,
    completion_queues::ALL,
    cqe::ALL,
    device::ALL,
    event_queues::ALL,
    eqe::ALL,
    flow::ALL,
    flow_match::ALL,
    hca::ALL,
    memory::ALL,
    nv::ALL,
    port_counters::ALL,
    rdma::ALL,
    register_caps::ALL,
    registers::ALL,
    scalar::ALL,
    scheduling::ALL,
    transport::ALL,
    vhca::ALL,
    vport::ALL,
    work_queues::ALL,
    wqe::ALL,
];

const COUNT: usize = {
    let (mut total, mut group) = (0, 0);
    while group < GROUPS.len() {
        total += GROUPS[group].len();
        group += 1;
    }
    total
};

/// Every layout, grouped by theme.
pub static ALL: [&Layout; COUNT] = {
    let mut all = [GROUPS[0][0]; COUNT];
    let (mut at, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut member = 0;
        while member < GROUPS[group].len() {
            all[at] = GROUPS[group][member];
            at += 1;
            member += 1;
        }
        group += 1;
    }
    all
};

/// The layout called `name`.
pub fn find(name: &str) -> Option<&'static Layout> {
    ALL.iter().copied().find(|layout| layout.name == name)
}
