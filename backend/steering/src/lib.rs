#![forbid(unsafe_code)]
//! Packet headers and keys, flow tables, groups, entries and actions: what decides where a frame goes.
//!
//! Pure: no I/O, clock, thread or randomness. Frames are byte slices, objects are numbers, and the answer to "where does it go"
//! is a list of verdicts; to queue, count on ports or write a CQE is the card's business. Commands are decoded by the
//! card, too: it fills the `*Spec` structures and maps an [`tables::Error`] to the firmware's status.
//!
//! # One packet, from bytes to verdict
//!
//! 1. [`packet::Headers::parse`] reads the frame's headers once. Whatever is cut short has no deeper header.
//! 2. [`tables::PacketContext::new`] lays them out as the PRM's `fte_match_param` ([`key::MatchParam`]), with where the packet
//!    comes from ([`key::Metadata`]: vport, send queue, registers).
//! 3. [`tables::Steering::evaluate`] starts at the root of a [`tables::Namespace`] (a table type, for a vport) and visits
//!    table after table. In each the matching entry with the lowest index counts. It changes registers, flow tag and VLAN tags,
//!    and names destinations: a table of a higher level, where the packet goes on, or a [`tables::Target`], where a copy
//!    leaves. Without a match the table's miss action tells.
//! 4. Each [`tables::Verdict`] is one copy: target, flow tag, registers, VLAN edits. For a TIR, [`hash::RxHash`] picks the
//!    queue and [`packet::checksum::verify`] fills the CQE's checksum fields.
//!
//! ```
//! use mlx5emu_steering::key::{MatchCriteria, MatchParam, Metadata, fields};
//! use mlx5emu_steering::packet::Headers;
//! use mlx5emu_steering::tables::{
//!     Budget, Destination, FlowContext, GroupSpec, HashKey, Limits, Namespace, PacketContext, Steering, TableSpec,
//!     TableType, Target, Verdicts,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut steering = Steering::new(HashKey([1, 2]), Limits::default());
//! let nic_rx = Namespace::new(TableType::NicRx, 0);
//!
//! // CREATE_FLOW_TABLE, CREATE_FLOW_GROUP (full dmac), SET_FTE, SET_FLOW_TABLE_ROOT
//! let table = steering.create_table(&TableSpec::new(nic_rx, 0, 16))?;
//! let mut mask = MatchParam::ZERO;
//! fields::dmac_47_16.set(&mut mask, 0xffff_ffff);
//! fields::dmac_15_0.set(&mut mask, 0xffff);
//! let criteria = MatchCriteria(MatchCriteria::OUTER);
//! let group = steering.create_group(nic_rx, table, &GroupSpec { start: 0, end: 99, criteria, mask })?;
//! let mut value = MatchParam::ZERO;
//! fields::dmac_47_16.set(&mut value, 0x0200_0000);
//! fields::dmac_15_0.set(&mut value, 0x0001);
//! steering.set_entry(nic_rx, table, 0, &FlowContext::forward(group, value, &[Destination::Tir(7)]))?;
//! steering.set_root(nic_rx, table)?;
//!
//! let frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 0, 0];
//! let headers = Headers::parse(&frame).ok_or("shorter than an Ethernet header")?;
//! let mut packet = PacketContext::new(&frame, &headers, &Metadata::default());
//! let mut verdicts = Verdicts::new();
//! let outcome = steering.evaluate(nic_rx, &mut packet, &mut Budget::new(64), &mut verdicts);
//! assert!(!outcome.no_root && verdicts[0].target == Target::Tir(7));
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! Inner headers (tunnels), header fields in modify-header actions, packet reformat and decapsulation, samplers, meters:
//! refused with an error when a command asks for them, so that the capabilities must not offer them.

pub mod hash;
pub mod key;
pub mod packet;
pub mod tables;
