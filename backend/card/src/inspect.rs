//! Everything live as one tree, for people and programs to look at.

use mlx5emu_pci_model::DmaSpace;
use serde_json::{Map, Value, json};

use crate::card::Card;
use crate::eswitch::l2::L2Entry;
use crate::eswitch::{Eswitch, VportAdmin};
use crate::ethernet::objects::Dispatch;
use crate::ethernet::{Ethernet, Queue};
use crate::function::Function;
use crate::queues::Queues;

pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

pub(crate) fn up_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The whole card (gate shared).
    pub fn inspect(&self) -> Value {
        let functions: Map<String, Value> =
            self.functions.iter().map(|f| (f.name.clone(), self.inspect_function(f))).collect();
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|p| {
                let (tx, rx) = (p.counters.sent.read(), p.counters.received.read());
                let (waiting, waiting_bytes) = p.pause.held();
                let flow = &p.pause.counters;
                let load = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
                json!({
                    "link": up_down(p.link),
                    "admin": up_down(p.admin_up),
                    "mtu": p.mtu,
                    "peer": p.peer,
                    "wire": p.uplink.as_ref().map(|uplink| uplink.inspect()),
                    "pause": {
                        "tx": p.pause.tx, "rx": p.pause.rx, "waiting": waiting, "waiting_bytes": waiting_bytes,
                        "tx_frames": load(&flow.sent), "rx_frames": load(&flow.received), "dropped": load(&flow.dropped),
                    },
                    "tx_packets": tx.0, "tx_bytes": tx.1, "rx_packets": rx.0, "rx_bytes": rx.1,
                })
            })
            .collect();
        let (major, minor, sub) = self.personality.version;
        json!({
            "firmware": { "version": format!("{major}.{minor}.{sub:04}"), "psid": self.personality.psid },
            "functions": functions,
            "eswitch": self.inspect_eswitches(),
            "ports": ports,
            "sw_reset_owner": self.sw_reset_owner(),
        })
    }

    fn inspect_function(&self, f: &Function<M>) -> Value {
        let s = &f.state;
        let (tx, rx) = s.vport.counters.totals();
        json!({
            "hca": format!("{:?}", s.hca).to_lowercase(),
            "issi": s.issi,
            "generation": f.front.life(),
            "port": f.port,
            "vport_number": f.setup.vport,
            "vhca_id": f.setup.vhca_id,
            "vhca_state": self.vhca_state(f.index).to_string(),
            "mac": mac_text(s.vport.mac()),
            "driver": s.driver_version,
            "pages": self.inspect_pages(f),
            "objects": s.live_objects(),
            "left_at_teardown": f.left_at_teardown,
            "commands": {
                "slots_in_flight": f.front.slots_in_flight().count_ones(),
                "parked": s.parked.len(),
                "ignored_doorbells": f.front.ignored_doorbells(),
            },
            "vport": {
                "tx_packets": tx, "rx_packets": rx,
                "dropped": s.vport.counters.dropped.load(std::sync::atomic::Ordering::Relaxed),
                "link": up_down(self.vport_link(f.index)),
                "managed": self.admin(f.index).map(managed),
            },
            "l2_table": l2_table(&s.eswitch),
            "eqs": eqs(&s.queues),
            "cqs": cqs(&s.queues),
            "queues": queues(&s.ethernet),
            "tirs": tirs(&s.ethernet),
            "rqts": rqts(&s.ethernet),
            "flow_tables": flow_tables(&s.ethernet),
            "messages": f.log.count(),
        })
    }
}

/// What a PF says of a vport.
fn managed(admin: &VportAdmin) -> Value {
    json!({
        "enabled": admin.enabled,
        "sw_function_id": admin.vhca.sw_function_id,
        "link": format!("{:?}", admin.state).to_lowercase(),
        "mac": admin.mac.map(mac_text),
        "told_of_changes": { "unicast": admin.armed.unicast, "multicast": admin.armed.multicast,
                             "promisc": admin.armed.promisc },
    })
}

fn l2_table(eswitch: &Eswitch) -> Value {
    let entry = |(index, entry): (&u32, &L2Entry)| {
        let mac: Vec<String> = entry.mac.iter().skip(2).map(|b| format!("{b:02x}")).collect();
        (index.to_string(), json!({ "mac": mac.join(":"), "vlan": entry.vlan }))
    };
    eswitch.l2.iter().map(entry).collect::<Map<_, _>>().into()
}

fn eqs(queues: &Queues) -> Value {
    queues
        .eqs
        .iter()
        .map(|(n, eq, _)| {
            let state = eq.state.lock();
            let entry = json!({
                "size": 1u64 << eq.log_size, "vector": eq.vector, "producer": state.producer,
                "consumer": state.consumer, "armed": state.armed, "interrupts": state.interrupts,
                "overruns": state.overruns, "lost_interrupts": state.lost_interrupts,
            });
            (n.to_string(), entry)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn cqs(queues: &Queues) -> Value {
    queues
        .cqs
        .iter()
        .map(|(n, cq, users)| {
            let state = cq.state.lock();
            let entry = json!({
                "size": 1u64 << cq.log_size, "eqn": cq.eqn, "producer": state.producer, "consumer": state.consumer,
                "armed": state.armed, "events": state.events, "failed": state.failed.map(|why| why.to_string()), "users": users,
                "period_us": cq.period, "max_count": cq.max_count,
                "compressed": { "sessions": state.compressed.0, "completions": state.compressed.1 },
            });
            (n.to_string(), entry)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn queues(ethernet: &Ethernet) -> Value {
    let entry = |queue: &Queue| match queue {
        Queue::Send(sq) => {
            let m = sq.moving.lock();
            json!({
                "type": "SQ", "state": format!("{:?}", m.state).to_uppercase(), "size": 1u64 << sq.log_size,
                "cqn": sq.cqn, "head": m.head, "executed": m.executed, "stalled": m.stalled,
            })
        }
        Queue::Receive(rq) => {
            let m = rq.moving.lock();
            json!({
                "type": "RQ", "state": format!("{:?}", m.state).to_uppercase(), "size": 1u64 << rq.log_size,
                "stride": 1u64 << rq.log_stride, "cqn": rq.cqn, "head": m.head, "received": m.received,
                "out_of_buffer": m.out_of_buffer,
            })
        }
    };
    ethernet.queues.iter().map(|(n, q, _)| (n.to_string(), entry(q))).collect::<Map<_, _>>().into()
}

fn tirs(ethernet: &Ethernet) -> Value {
    let entry = |dispatch| match dispatch {
        Dispatch::Direct(rqn) => json!({ "rqn": rqn }),
        Dispatch::Indirect(rqtn) => json!({ "rqtn": rqtn }),
    };
    ethernet.tirs.iter().map(|(n, t, _)| (n.to_string(), entry(t.dispatch))).collect::<Map<_, _>>().into()
}

fn rqts(ethernet: &Ethernet) -> Value {
    ethernet.rqts.iter().map(|(n, t, _)| (n.to_string(), json!(t.rqns))).collect::<Map<_, _>>().into()
}

fn flow_tables(ethernet: &Ethernet) -> Value {
    let tables = ethernet.steering.inspect().map(|table| {
        let groups: Vec<Value> = table
            .groups()
            .map(|group| {
                let entries: Map<String, Value> = group
                    .entries()
                    .map(|entry| {
                        let context = entry.context();
                        let to: Vec<String> = context.destinations.iter().map(|d| format!("{d:?}")).collect();
                        let line = json!({
                            "match": format!("{:?}", context.value), "action": context.action.0, "to": to,
                            "hits": entry.hits,
                        });
                        (entry.index.to_string(), line)
                    })
                    .collect();
                json!({ "group": group.id.0, "start": group.start, "end": group.end,
                        "mask": format!("{:?}", group.spec().mask), "entries": entries })
            })
            .collect();
        let line = json!({
            "type": format!("{:?}", table.spec.namespace.table_type), "level": table.spec.level,
            "log_size": table.spec.log_size, "miss": format!("{:?}", table.spec.miss), "root": table.root,
            "groups": groups,
        });
        (table.id.0.to_string(), line)
    });
    tables.collect::<Map<_, _>>().into()
}
