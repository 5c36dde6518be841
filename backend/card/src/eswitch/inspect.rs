//! The e-switch of each port as a person wants to read it: who is at which vport, and which rules decide.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::states::VhcaState;
use mlx5emu_steering::key::{MatchParam, Registers};
use mlx5emu_steering::tables::{Actions, Destination, FlowContext, Miss, Namespace, Steering, TableType};
use serde_json::{Map, Value, json};

use super::{ECPF_VPORT, PF_VPORT, UPLINK, context};
use crate::card::{Card, FunctionIndex};
use crate::function::Function;
use crate::inspect::{mac_text, up_down};

impl<M: DmaSpace + 'static> Card<M> {
    /// By the name of its PF.
    pub(crate) fn inspect_eswitches(&self) -> Value {
        let managers = self.functions.iter().filter(|f| !self.managed(f.index).is_empty());
        managers.map(|f| (f.name.clone(), self.inspect_eswitch(f))).collect::<Map<_, _>>().into()
    }

    fn inspect_eswitch(&self, pf: &Function<M>) -> Value {
        let steering = &pf.state.ethernet.steering;
        let there = self.managed(pf.index).iter().copied().filter(|f| self.vhca_state(*f) != VhcaState::INVALID);
        let vports = [pf.index].into_iter().chain(there);
        let mut shown: Vec<Value> = vports.map(|f| self.inspect_vport(steering, f)).collect();
        shown.push(json!({
            "vport": vport_name(UPLINK), "function": "uplink",
            "link": up_down(self.ports.get(pf.port).is_some_and(|port| port.link)),
            "ingress_acl": root(steering, TableType::EswIngressAcl, UPLINK),
        }));
        json!({
            "fdb": root(steering, TableType::Fdb, PF_VPORT),
            "vports": shown,
            "scheduling": self.inspect_scheduling(pf.index),
            "tables": self.inspect_tables(pf),
            "rules": self.inspect_rules(pf),
        })
    }

    fn inspect_vport(&self, steering: &Steering, f: FunctionIndex) -> Value {
        let Some(function) = self.functions.get(f) else { return Value::Null };
        let vport = function.setup.vport;
        let (tx, rx) = function.state.vport.counters.totals();
        let admin = self.admin(f);
        let keeps = |n: &usize| admin.is_some_and(|admin| context::keeps(&admin.context[..], *n));
        json!({
            "vport": vport_name(vport),
            "function": function.name,
            "mac": mac_text(function.state.vport.mac()),
            "state": self.vhca_state(f).to_string(),
            "enabled": function.is_pf() || admin.is_some_and(|admin| admin.enabled),
            "link": up_down(self.vport_link(f)),
            "keeps": (0..Registers::default().c.len()).filter(keeps).map(|n| format!("reg_c_{n}")).collect::<Vec<_>>().join(" "),
            "ingress_acl": root(steering, TableType::EswIngressAcl, vport),
            "egress_acl": root(steering, TableType::EswEgressAcl, vport),
            "tx_packets": tx,
            "rx_packets": rx,
            "dropped": function.state.vport.counters.dropped.load(Relaxed),
        })
    }

    fn inspect_tables(&self, pf: &Function<M>) -> Value {
        let tables = pf.state.ethernet.steering.inspect().filter(|table| is_switched(table.spec.namespace));
        tables
            .map(|table| {
                json!({
                    "table": table.id.0, "type": kind(table.spec.namespace), "level": table.spec.level,
                    "size": 1u64 << table.spec.log_size, "root": table.root, "entries": table.entries(),
                    "packets": table.packets, "misses": table.misses,
                    "miss": match table.spec.miss {
                        Miss::Default => "default".to_string(),
                        Miss::Table(id) => format!("table {}", id.0),
                        Miss::SwitchDomain => "the other domain".to_string(),
                    },
                })
            })
            .collect()
    }

    fn inspect_rules(&self, pf: &Function<M>) -> Value {
        let steering = &pf.state.ethernet.steering;
        let mut rules = Vec::new();
        for table in steering.inspect().filter(|table| is_switched(table.spec.namespace)) {
            for entry in table.groups().flat_map(|group| group.entries()) {
                let context = entry.context();
                let to = context.destinations.iter().map(|to| self.destination_name(pf, to));
                rules.push(json!({
                    "table": table.id.0,
                    "index": entry.index,
                    "match": matched(&context.value),
                    "action": actions(&context),
                    "to": to.collect::<Vec<_>>().join(", "),
                    "hits": entry.hits,
                }));
            }
        }
        rules.into()
    }

    /// The function at a vport of the e-switch that `pf` manages.
    pub(super) fn name_of_vport(&self, pf: FunctionIndex, vport: u16) -> String {
        let port = self.functions.get(pf).map_or(0, |pf| pf.port);
        let function = self.function_of_vport(port, vport).and_then(|f| self.functions.get(f));
        function.map_or_else(|| vport_name(vport), |f| f.name.clone())
    }

    fn destination_name(&self, pf: &Function<M>, destination: &Destination) -> String {
        match destination {
            Destination::Vport { vport: UPLINK, .. } | Destination::Uplink { .. } => "uplink".into(),
            Destination::Vport { vport, .. } => self.name_of_vport(pf.index, *vport),
            Destination::Table(id) => format!("table {}", id.0),
            Destination::Tir(tirn) => format!("TIR {tirn}"),
            other => format!("{other:?}"),
        }
    }
}

fn is_switched(namespace: Namespace) -> bool {
    matches!(namespace.table_type, TableType::Fdb | TableType::EswIngressAcl | TableType::EswEgressAcl)
}

fn root(steering: &Steering, kind: TableType, vport: u16) -> Option<String> {
    steering.root(Namespace::new(kind, vport)).map(|id| format!("table {}", id.0))
}

fn vport_name(vport: u16) -> String {
    if vport >= ECPF_VPORT { format!("{vport:#x}") } else { vport.to_string() }
}

fn kind(namespace: Namespace) -> String {
    match namespace.table_type {
        TableType::EswIngressAcl => format!("ingress ACL of vport {}", vport_name(namespace.vport)),
        TableType::EswEgressAcl => format!("egress ACL of vport {}", vport_name(namespace.vport)),
        _ => "FDB".into(),
    }
}

/// What a rule asks for: `source_port=0x1 dmac_47_16=0x…`.
fn matched(value: &MatchParam) -> String {
    let text = format!("{value:?}");
    text.trim_matches(['{', '}']).replace(": ", "=").replace([',', '"'], "")
}

fn actions(context: &FlowContext) -> String {
    let mut words = Vec::new();
    for (bit, word) in [
        (Actions::ALLOW, "allow"),
        (Actions::DROP, "drop"),
        (Actions::FWD_DEST, "forward"),
        (Actions::COUNT, "count"),
        (Actions::MOD_HDR, "modify"),
        (Actions::VLAN_POP, "pop_vlan"),
        (Actions::VLAN_PUSH, "push_vlan"),
        (Actions::VLAN_POP_2, "pop_vlan_2"),
        (Actions::VLAN_PUSH_2, "push_vlan_2"),
    ] {
        if context.action.has(bit) {
            words.push(match bit {
                Actions::MOD_HDR => format!("{word} {}", context.modify_header.0),
                Actions::COUNT => {
                    context.counters.iter().map(|id| format!("{word} {}", id.0)).collect::<Vec<_>>().join(" ")
                }
                _ => word.to_string(),
            });
        }
    }
    words.join(", ")
}
