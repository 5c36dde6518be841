//! From a rule's words to what they name: functions of this card, commands, fields, statuses.

use std::sync::Arc;

use mlx5emu_config::control::nearest_name;
use mlx5emu_config::fault::{Action, FaultKind, FaultRule, Stage};
use mlx5emu_prm::Field;
use mlx5emu_prm::event::{Event, GeneralEvent, PortChange};
use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};
use mlx5emu_prm::search::{Found, Side, find, resolve};
use mlx5emu_prm::states::HealthSyndrome;
use mlx5emu_prm::wqe::{CqeSyndrome, WqeOpcode};

use super::command::{CommandAct, CommandMatch, Fate, Pause};
use super::dma::{DmaAct, DmaMatch};
use super::event::{EventAct, EventMatch};
use super::health::HealthAct;
use super::packet::{PacketAct, PacketMatch};
use super::queue::{WqeAct, WqeMatch};
use super::{Counts, Faults, Rule, What};
use crate::card::FunctionIndex;
use crate::error::Syndrome;
use crate::limiter::Limiter;

impl Faults {
    /// The rule with everything looked up. `name` is what it is called.
    pub(super) fn compile(&self, spec: &FaultRule, id: u32, name: &str) -> Result<Rule, String> {
        let function = spec.function.map(|wanted| self.function(&wanted.to_string())).transpose()?;
        let port = spec.matched("port").map(|name| self.port(name)).transpose()?;
        let what = match spec.kind {
            FaultKind::Cmd => What::Command(command_match(spec)?, command_act(spec, id)?),
            FaultKind::Event => What::Event(event_match(spec)?, event_act(spec)),
            FaultKind::Wqe => What::Wqe(wqe_match(spec)?, wqe_act(spec)?),
            FaultKind::Dma => dma(spec)?,
            FaultKind::Health => What::Health(health_act(spec)?),
            FaultKind::Packet => What::Packet(packet_match(spec)?, packet_act(spec)),
        };
        Ok(Rule {
            id,
            name: Arc::from(name),
            spec: spec.clone(),
            place: function.or(port),
            what,
            counts: vec![Counts::default(); self.functions.len() + self.ports].into(),
            log: Limiter::default(),
        })
    }

    fn port(&self, name: &str) -> Result<usize, String> {
        let found = (0..self.ports).find(|n| format!("p{n}") == name);
        let last = self.ports.saturating_sub(1);
        let place = found.map(|n| self.place_of_port(n));
        place.ok_or_else(|| wrong("port", name, format_args!("this card has the ports p0 to p{last}")))
    }

    fn function(&self, name: &str) -> Result<FunctionIndex, String> {
        self.functions.iter().position(|known| known == name).ok_or_else(|| {
            let known = self.functions.iter().take(32).map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("this card has no function {name}: it has {known}")
        })
    }
}

fn packet_match(spec: &FaultRule) -> Result<PacketMatch, String> {
    let out = match spec.matched("dir") {
        None => None,
        Some("in") => Some(false),
        Some("out") => Some(true),
        Some(other) => return Err(wrong("dir", other, "write in or out")),
    };
    let ethertype = spec.matched("ethertype").map(|value| number16("ethertype", value)).transpose()?;
    let min_len = spec.matched("min_len").map(|value| number("min_len", value)).transpose()?;
    let min_len = min_len.map_or(0, |len| usize::try_from(len).unwrap_or(usize::MAX));
    Ok(PacketMatch { out, ethertype, min_len })
}

fn packet_act(spec: &FaultRule) -> PacketAct {
    let mut act = PacketAct::default();
    for action in &spec.actions {
        match action {
            Action::Drop => act.lost = true,
            Action::Twice => act.twice = true,
            Action::Delay(ns) => act.delay = Some(*ns),
            _ => {}
        }
    }
    act
}

/// `KEY=VALUE: WHY`.
fn wrong(key: &str, value: &str, why: impl std::fmt::Display) -> String {
    format!("{key}={value}: {why}")
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    let parsed = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => value.parse().ok(),
    };
    parsed.ok_or_else(|| wrong(key, value, "write a number, decimal or with 0x"))
}

fn number16(key: &str, value: &str) -> Result<u16, String> {
    u16::try_from(number(key, value)?).map_err(|_| wrong(key, value, "the largest value is 0xffff"))
}

fn opcode_of(spec: &FaultRule) -> Result<Option<Opcode>, String> {
    spec.matched("op").map(|op| op.parse::<Opcode>().map_err(|error| wrong("op", op, error))).transpose()
}

fn field_of(spec: &FaultRule, path: &str) -> Result<Found, String> {
    let opcode = opcode_of(spec)?.ok_or_else(|| format!("'{path}' is a field of one command: write op=COMMAND too"))?;
    find(opcode, path).map_err(|error| error.to_string())
}

fn value_of(found: &Found, path: &str, value: &str) -> Result<(Field, u64), String> {
    Ok((found.field, found.value(value).map_err(|error| wrong(path, value, error))?))
}

fn command_match(spec: &FaultRule) -> Result<CommandMatch, String> {
    let mut wanted = CommandMatch { opcode: opcode_of(spec)?, ..CommandMatch::default() };
    for (key, value) in &spec.matches {
        match key.as_str() {
            "op_mod" => wanted.op_mod = Some(number16(key, value)?),
            "uid" => wanted.uid = Some(number16(key, value)?),
            path if path.starts_with("in.") => wanted.fields.push(value_of(&field_of(spec, path)?, path, value)?),
            _ => {}
        }
    }
    Ok(wanted)
}

fn command_act(spec: &FaultRule, rule: u32) -> Result<CommandAct, String> {
    // Fields of the output alone are changes of an answer, not one of their own.
    let changes = |action: &Action| {
        matches!(action, Action::Field { .. } | Action::Hold | Action::Delay(_) | Action::Twice | Action::IdleSlot(_))
    };
    let only_changes =
        spec.actions.iter().all(changes) && spec.actions.iter().any(|action| matches!(action, Action::Field { .. }));
    let mut act = CommandAct {
        stage: spec.stage.unwrap_or(if only_changes { Stage::After } else { Stage::Before }),
        fate: Fate::Goes,
        delivery: None,
        twice: false,
        idle_slot: None,
        pause: None,
        status: None,
        fields: Vec::new(),
        rule,
    };
    let mut syndrome = Syndrome::Injected as u32;
    for action in &spec.actions {
        match action {
            Action::Status(name) => {
                let status: Status = name.parse().map_err(|error| wrong("status", name, error))?;
                act.status = Some((status, 0));
            }
            Action::Syndrome(name) => syndrome = syndrome_of(name)?,
            Action::Delivery(name) => {
                let status: DeliveryStatus = name.parse().map_err(|error| wrong("delivery", name, error))?;
                act.delivery = Some(status);
            }
            Action::Field { path, value } => {
                let found = field_of(spec, path)?;
                if found.side != Side::Out {
                    return Err(format!("'{path}' is not a field of the answer"));
                }
                act.fields.push(value_of(&found, path, value)?);
            }
            Action::Drop => act.fate = Fate::Lost,
            Action::Hang => act.fate = Fate::Hangs,
            Action::Hold => act.pause = Some(Pause::Hold),
            Action::Delay(ns) => act.pause = Some(Pause::Delay(*ns)),
            Action::Twice => act.twice = true,
            Action::IdleSlot(slot) => act.idle_slot = Some(*slot),
            Action::Error(_) | Action::Report => {}
        }
    }
    if let Some((status, said)) = &mut act.status {
        *said = if *status == Status::OK { 0 } else { syndrome };
    }
    Ok(act)
}

fn event_match(spec: &FaultRule) -> Result<EventMatch, String> {
    let event = spec.matched("type").map(|name| name.parse::<Event>().map_err(|error| wrong("type", name, error)));
    let mut wanted = EventMatch { event: event.transpose()?, ..EventMatch::default() };
    for (key, value) in &spec.matches {
        match key.as_str() {
            "sub_type" => wanted.sub_type = Some(sub_type(wanted.event, value)?),
            "eqn" => wanted.eqn = Some(number16(key, value)?.into()),
            path if path.starts_with("data.") => wanted.fields.push(event_field(wanted.event, path, value)?),
            _ => {}
        }
    }
    Ok(wanted)
}

fn sub_type(event: Option<Event>, value: &str) -> Result<u8, String> {
    let named = match event {
        Some(Event::PORT_CHANGE) => value.parse::<PortChange>().map(|sub_type| sub_type.0),
        Some(Event::GENERAL_EVENT) => value.parse::<GeneralEvent>().map(|sub_type| sub_type.0),
        _ => {
            let number = number("sub_type", value)?;
            return u8::try_from(number).map_err(|_| wrong("sub_type", value, "the largest value is 0xff"));
        }
    };
    named.map_err(|error| wrong("sub_type", value, error))
}

fn event_field(event: Option<Event>, path: &str, value: &str) -> Result<(Field, u64), String> {
    let event = event.ok_or_else(|| format!("'{path}' is a field of one type of event: write type=EVENT too"))?;
    let layout = event.layout().ok_or_else(|| format!("the fields of {event} are not known"))?;
    let name = path.strip_prefix("data.").unwrap_or(path);
    let Some((field, names)) = resolve(layout, name) else {
        let known = layout.fields.iter().map(|field| field.name);
        let known = known.map(|name| format!("data.{name}")).collect::<Vec<_>>().join(", ");
        return Err(format!("{event} has no field '{path}': it has {known}"));
    };
    value_of(&Found { side: Side::Out, field, names }, path, value)
}

fn event_act(spec: &FaultRule) -> EventAct {
    let mut act = EventAct::default();
    for action in &spec.actions {
        match action {
            Action::Drop => act.lost = true,
            Action::Twice => act.twice = true,
            Action::Hold => act.pause = Some(Pause::Hold),
            Action::Delay(ns) => act.pause = Some(Pause::Delay(*ns)),
            _ => {}
        }
    }
    act
}

fn wqe_match(spec: &FaultRule) -> Result<WqeMatch, String> {
    let send = match spec.matched("side") {
        None | Some("send") => true,
        Some("receive") => false,
        Some(other) => return Err(wrong("side", other, "write send or receive")),
    };
    let opcode = spec.matched("op").map(|op| op.parse::<WqeOpcode>().map_err(|error| wrong("op", op, error)));
    let opcode = opcode.transpose()?;
    if opcode.is_some() && !send {
        return Err("the WQEs of receive queues have no opcode: leave op= out".into());
    }
    let queue = spec.matched("queue").map(|value| {
        u32::try_from(number("queue", value)?).map_err(|_| wrong("queue", value, "the largest value is 0xffffff"))
    });
    Ok(WqeMatch { opcode, queue: queue.transpose()?, send })
}

fn wqe_act(spec: &FaultRule) -> Result<WqeAct, String> {
    let mut act = WqeAct { stage: spec.stage.unwrap_or(Stage::Before), syndrome: None, fate: Fate::Goes, pause: None };
    for action in &spec.actions {
        match action {
            Action::Syndrome(name) => {
                act.syndrome = Some(name.parse::<CqeSyndrome>().map_err(|error| wrong("syndrome", name, error))?);
            }
            Action::Drop => act.fate = Fate::Lost,
            Action::Hang => act.fate = Fate::Hangs,
            Action::Hold => act.pause = Some(Pause::Hold),
            Action::Delay(ns) => act.pause = Some(Pause::Delay(*ns)),
            _ => {}
        }
    }
    if spec.matched("side") == Some("receive") && (act.syndrome.is_none() || spec.actions.len() > 1) {
        return Err("with side=receive there is one action: syndrome=SYNDROME".into());
    }
    if act.stage == Stage::After && act.fate != Fate::Lost {
        return Err("after a WQE was executed, only 'drop' is possible: its completion is lost".into());
    }
    Ok(act)
}

fn dma(spec: &FaultRule) -> Result<What, String> {
    let act = match spec.actions.as_slice() {
        [Action::Drop] => DmaAct::Lost,
        [Action::Error(name)] => match name.to_ascii_uppercase().as_str() {
            "UR" => DmaAct::Unsupported,
            "CA" => DmaAct::Aborted,
            _ => return Err(wrong("error", name, "write UR (Unsupported Request) or CA (Completer Abort)")),
        },
        _ => return Err("a memory request fails with error=UR or error=CA, or a write is lost with drop".into()),
    };
    let read = match spec.matched("dir") {
        None => act != DmaAct::Lost,
        Some("read") => true,
        Some("write") => false,
        Some(other) => return Err(wrong("dir", other, "write read (AtomicOps too) or write")),
    };
    match (read, act) {
        (true, DmaAct::Lost) => return Err("only a write can be lost: reads are completed, with error=UR or CA".into()),
        (false, DmaAct::Unsupported | DmaAct::Aborted) => {
            return Err("memory writes are posted, nothing completes them: a write can only be lost, with drop".into());
        }
        _ => {}
    }
    let range = spec.matched("addr").map(|value| {
        let (first, last) = value.split_once('-').unwrap_or((value, value));
        let range = (number("addr", first)?, number("addr", last)?);
        if range.0 > range.1 { Err(wrong("addr", value, "write the lowest address first")) } else { Ok(range) }
    });
    Ok(What::Dma(DmaMatch { read, range: range.transpose()? }, act))
}

fn health_act(spec: &FaultRule) -> Result<HealthAct, String> {
    let mut act = HealthAct { synd: None, hangs: false };
    let report = spec.actions.contains(&Action::Report);
    for action in &spec.actions {
        match action {
            Action::Syndrome(name) => {
                let synd: HealthSyndrome = name.parse().map_err(|error| wrong("syndrome", name, error))?;
                act.synd = Some((synd.0, report));
            }
            Action::Hang => act.hangs = true,
            _ => {}
        }
    }
    Ok(act)
}

fn syndrome_of(name: &str) -> Result<u32, String> {
    if let Some(known) = Syndrome::ALL.iter().find(|known| known.name().eq_ignore_ascii_case(name)) {
        return Ok(*known as u32);
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        let value = number("syndrome", name)?;
        return u32::try_from(value).map_err(|_| wrong("syndrome", name, "the largest value is 0xffffffff"));
    }
    Err(match nearest_name(name, Syndrome::ALL.iter().map(|known| known.name())) {
        Some(near) => wrong("syndrome", name, format_args!("there is no such syndrome; did you mean {near}?")),
        None => wrong("syndrome", name, "write a number, or a name like PagesMissing"),
    })
}
