//! `ctl inject`: events that a test brings about.

use std::sync::Arc;

use mlx5emu_card::queues::eq::EqKind;
use mlx5emu_card::{FunctionIndex, PageChange, PageTarget, notices};
use mlx5emu_config::FunctionName;
use mlx5emu_config::control::{EqKind as Eqs, ErrorCode, Event, Module, PagesOf, Reply, Severity};

use super::{Card, View};
use crate::function::PciFunction;

impl View {
    /// Brings an event about.
    pub fn inject(&self, event: &str, args: &[String]) -> Reply {
        let event = match Event::parse(event, args) {
            Ok(event) => event,
            Err(why) => return Reply::error(ErrorCode::BadCall, why),
        };
        match self.bring_about(event) {
            Ok(note) => {
                log::info!("injected: {event:?}");
                Reply::Injected { note }
            }
            Err(message) => Reply::error(ErrorCode::NotFound, message),
        }
    }

    /// What there is to say about it. An error is a place that the event names and the card does not have.
    fn bring_about(&self, event: Event) -> Result<Option<String>, String> {
        match event {
            Event::Health { function: Some(name), synd, report } => {
                self.change(name, |card, f| card.inject_health(f, synd, report))?;
            }
            Event::Health { function: None, synd, report } => {
                // All in one hold of the gate: no driver may see one function failed and another well.
                let fail =
                    |card: &mut Card| (0..card.function_count()).for_each(|f| card.inject_health(f, synd, report));
                self.engine().change(0, fail);
            }
            Event::Heartbeat { function, on } => self.change(function, |card, f| card.inject_heartbeat(f, on))?,
            Event::Link { port, up } => {
                let now = self.engine().clock().now();
                let linked = self.engine().change(0, |card| card.inject_link(port.into(), up, now));
                linked.then_some(()).ok_or_else(|| self.nowhere())?;
            }
            Event::Bus { function, on } => self.find(function)?.set_on_bus(on),
            Event::CanariesForget { function } => self.change(function, |card, f| card.forget_broken_canaries(f))?,
            Event::Pages { of, count } => return self.inject_pages(of, count),
            Event::MsiLoss { function, count, kind } => {
                let kind = match kind {
                    Eqs::Comp => EqKind::Comp,
                    Eqs::Cmd => EqKind::Cmd,
                    Eqs::Async => EqKind::Async,
                    Eqs::Pages => EqKind::Pages,
                };
                self.change(function, |card, f| card.inject_msi_loss(f, kind, count))?;
            }
            Event::Stall { function, sqn } => {
                let found = self.change(function, |card, f| card.inject_stall(f, sqn))?;
                found.then_some(()).ok_or_else(|| format!("{function} has no send queue {sqn:#x}"))?;
            }
            Event::Temperature { degrees } => self.engine().change(0, |card| card.inject_temperature(degrees)),
            Event::Module { port, module } => {
                let (now, module) = (self.engine().clock().now(), module_of(module));
                let found = self.engine().change(0, |card| card.inject_module(port.into(), module, now));
                found.then_some(()).ok_or_else(|| self.nowhere())?;
            }
            Event::VportChange { function } => self.change(function, |card, f| card.inject_vport_change(f))?,
            Event::CommandEvent { function, slot } => {
                self.change(function, |card, f| card.inject_command_event(f, slot))?;
            }
            Event::EqOverrun { function, eqn } => {
                self.change(function, |card, f| card.inject_eq_overrun(f, eqn))??;
            }
            Event::HostFunctions { function, count } => {
                let now = self.engine().clock().now();
                self.change(function, |card, f| card.inject_host_vfs(f, count, now))??;
            }
            Event::Aer { function, severity } => {
                self.find(function)?.log_error(severity);
                return Ok(Some(how_to_signal(&self.card().name, function, severity)));
            }
        }
        Ok(None)
    }

    /// What is given up at once is looked at before, with the gate free in between.
    fn inject_pages(&self, of: PagesOf, count: Option<i32>) -> Result<Option<String>, String> {
        let (f, target) = match of {
            PagesOf::Function(name) => {
                let f = self.index(name)?;
                (f, PageTarget::Function(f))
            }
            PagesOf::Id { pf, id } => {
                let f = self.index(pf)?;
                (f, PageTarget::Id(f, id))
            }
        };
        let change = count.map_or(PageChange::ReleaseAll, PageChange::Ask);
        if change == PageChange::ReleaseAll {
            let mut from = 0;
            while self.engine().gate().read().check_before_release(target, &mut from) {}
        }
        Ok(self.engine().change(f, |card| card.inject_pages(target, change)).err())
    }

    fn find(&self, name: FunctionName) -> Result<&Arc<PciFunction>, String> {
        let found = self.functions().iter().find(|f| f.name() == name.to_string().as_str());
        let no_pci = || format!("{name} is no PCI function: name its PF");
        found.ok_or_else(|| if self.index(name).is_ok() { no_pci() } else { self.nowhere() })
    }

    fn index(&self, name: FunctionName) -> Result<FunctionIndex, String> {
        self.card().index(name).ok_or_else(|| self.nowhere())
    }

    fn nowhere(&self) -> String {
        let card = self.card();
        let names: Vec<_> = card.functions().iter().map(FunctionName::to_string).collect();
        format!("this card has no such place: it has {} and {} ports", names.join(", "), card.ports.len())
    }

    fn change<R>(&self, name: FunctionName, change: impl FnOnce(&mut Card, FunctionIndex) -> R) -> Result<R, String> {
        let f = self.index(name)?;
        Ok(self.engine().change(f, |card| change(card, f)))
    }
}

fn module_of(module: Module) -> notices::Module {
    match module {
        Module::Plugged => notices::Module::Plugged,
        Module::Unplugged => notices::Module::Unplugged,
        Module::Disabled => notices::Module::Disabled,
        Module::Error(error) => notices::Module::Error(error),
    }
}

/// The message to the root port is not ours to send: the protocol between QEMU and its functions has none. Devices are
/// called as `qemu-args` calls them.
fn how_to_signal(card: &str, function: FunctionName, severity: Severity) -> String {
    let how = match severity {
        Severity::Correctable => return "logged; QEMU sends no message for correctable errors of such a device".into(),
        Severity::NonFatal => "COMP_TIME",
        Severity::Fatal => "MALF_TLP",
    };
    format!("logged; to have the message sent, in QEMU's monitor: pcie_aer_inject_error {card}-{function} {how}")
}
