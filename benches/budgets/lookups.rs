//! Where a frame goes among many rules and among few.

use std::time::Instant;

use mlx5emu_steering::key::{MatchCriteria, MatchParam, Metadata, fields};
use mlx5emu_steering::tables::{
    Budget as Hops, Destination, FlowContext, GroupSpec, HashKey, Limits, MAX_BURST, Namespace, Packets, Steering,
    TableSpec, TableType, Target,
};

use crate::report::Row;
use crate::statistics::{Budget, Pairs, median};
use crate::{Outcome, Room};

/// Rules of both sides.
const MANY: u32 = 1_000_000;
const FEW: u32 = 1_000;
/// Lookups between two looks at the clock.
const BURST: usize = 64 * MAX_BURST;
/// A frame of UDP over IPv4: addresses 10.x.y.z and a port tell the rules apart.
const FRAME: [u8; 60] = {
    let mut frame = [0; 60];
    let head = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10];
    let mut n = 0;
    while n < head.len() {
        frame[n] = head[n];
        n += 1;
    }
    frame[39] = 26;
    frame
};
/// Offsets in it: the destination's last three bytes, the destination port.
const DESTINATION: usize = 31;
const PORT: usize = 36;

/// A table with rules by the addresses, the protocol and the port of a flow.
struct Rules {
    steering: Steering,
    namespace: Namespace,
    count: u32,
    /// State of the generator that draws rules, the same for all tables.
    drawn: u64,
    packets: Packets,
}

/// The value that rule `n` matches: 24 bits of address, 16 of port.
fn flow(n: u32) -> (u32, u16) {
    let mixed = n.wrapping_mul(0x9e37_79b1);
    (mixed >> 8, mixed as u16)
}

fn frame(n: u32) -> [u8; 60] {
    let ((address, port), mut frame) = (flow(n), FRAME);
    frame[DESTINATION..DESTINATION + 3].copy_from_slice(&address.to_be_bytes()[1..]);
    frame[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes());
    frame
}

impl Rules {
    fn new(count: u32) -> Outcome<Self> {
        let namespace = Namespace::new(TableType::NicRx, 0);
        let mut steering = Steering::new(HashKey([3, 5]), Limits::default());
        let table = steering.create_table(&TableSpec::new(namespace, 0, 20))?;
        let criteria = MatchCriteria(MatchCriteria::OUTER);
        let mut mask = MatchParam::ZERO;
        fields::ip_protocol.set(&mut mask, 0xff);
        fields::src_ipv4.set(&mut mask, u32::MAX);
        fields::dst_ipv4.set(&mut mask, u32::MAX);
        fields::udp_dport.set(&mut mask, 0xffff);
        let group = steering.create_group(namespace, table, &GroupSpec { start: 0, end: count - 1, criteria, mask })?;
        for n in 0..count {
            let (address, port) = flow(n);
            let mut value = MatchParam::ZERO;
            fields::ip_protocol.set(&mut value, 17);
            fields::src_ipv4.set(&mut value, 0x0a00_0001);
            fields::dst_ipv4.set(&mut value, 0x0a00_0000 | address);
            fields::udp_dport.set(&mut value, u32::from(port));
            steering.set_entry(namespace, table, n, &FlowContext::forward(group, value, &[Destination::Tir(n)]))?;
        }
        steering.set_root(namespace, table)?;
        Ok(Self { steering, namespace, count, drawn: 1, packets: Packets::new() })
    }

    /// Nanoseconds from a frame to its verdict: headers, key, table, counts; as many together as the card decides about at
    /// once. Rules are drawn at random from all.
    fn time(&mut self, bursts: usize) -> Outcome<f64> {
        let mut times = Vec::with_capacity(bursts);
        for _ in 0..bursts {
            let since = Instant::now();
            for _ in 0..BURST / MAX_BURST {
                self.burst()?;
            }
            times.push(since.elapsed().as_nanos() as f64 / BURST as f64);
        }
        Ok(median(&times))
    }

    fn burst(&mut self) -> Outcome<()> {
        let mut rules = [0; MAX_BURST];
        self.packets.clear();
        for rule in &mut rules {
            // Knuth's generator (MMIX); its upper bits choose.
            self.drawn = self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *rule = (((self.drawn >> 32) * u64::from(self.count)) >> 32) as u32;
            self.packets.push(&frame(*rule), &Metadata::default());
        }
        self.steering.evaluate_burst(self.namespace, &mut self.packets, Hops::new(1));
        self.steering.count_burst(&self.packets, MAX_BURST);
        for (n, rule) in rules.into_iter().enumerate() {
            let target = self.packets.decision(n).and_then(|(verdicts, _)| verdicts.first()).map(|v| v.target);
            if target != Some(Target::Tir(rule)) {
                return Err(format!("rule {rule} of {} is not found", self.count).into());
            }
        }
        Ok(())
    }
}

/// One lookup among a million rules against one among a thousand.
pub(crate) fn many(room: &Room) -> Outcome<Vec<Row>> {
    let (mut many, mut few) = (Rules::new(MANY)?, Rules::new(FEW)?);
    let bursts = room.effort.count(300);
    let pairs = Pairs::measure(room.effort.pairs, || many.time(bursts), || few.time(bursts))?;
    let row = Row::compared("a frame's way through 1 000 000 rules", "ns", pairs, Some(Budget::AtMost(1.5)))?;
    Ok(vec![row.against("1000 rules")])
}
