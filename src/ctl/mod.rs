//! `mlx5emu ctl`: asks a running card and prints the answer.

mod capture;
mod commands;
mod dot;
mod fault;
mod sweep;
mod tree;

use std::io::Write;

use mlx5emu_config::control::{Client, ClientError, Event, Reply, Request};
use mlx5emu_guest_tests::emu::{self, Order, OrderError};

use crate::cli::{Ctl, CtlVerb, EmuVerb, Inject, Inspect, OtherVm, TreeForm, VmAction};
use crate::failure::Failure;
use crate::locate;

/// Runs one `ctl` verb.
pub(crate) fn run(args: &Ctl) -> Result<u8, Failure> {
    if let CtlVerb::Inject(args) = &args.verb {
        // A slip is told before a card is looked for.
        Event::parse(&args.event, &args.args).map_err(Failure::usage)?;
    }
    if let CtlVerb::Fault(args) = &args.verb {
        fault::check(&args.verb)?;
    }
    let dir = locate::running(args.dir.as_deref())?;
    let mut client = Client::connect(&dir).map_err(Failure::failed)?;
    perform(&mut client, &args.verb)
}

/// Runs one verb in a guest, through its port to the card.
pub(crate) fn in_guest(verb: &EmuVerb) -> Result<u8, Failure> {
    let mut client = Client::port(&emu::port_path());
    match verb {
        EmuVerb::Card(verb) => perform(&mut client, verb),
        EmuVerb::Sweep(args) => sweep::run(&mut client, args),
        EmuVerb::Vm(args) => other_vm(args),
    }
}

/// Has another machine of the scenario do something.
fn other_vm(args: &OtherVm) -> Result<u8, Failure> {
    let order = match args.action {
        None => Order::Run(args.command.clone()),
        Some(VmAction::Kill) => Order::Kill,
        Some(VmAction::Start) => Order::Start,
    };
    emu::order(&args.name, &order, &mut std::io::stdout()).map_err(|error| match error {
        OrderError::Io(error) => error.into(),
        OrderError::Failed { .. } => Failure::not_run(error),
        error => Failure::usage(error),
    })
}

fn perform(client: &mut Client, verb: &CtlVerb) -> Result<u8, Failure> {
    match verb {
        CtlVerb::Inspect(args) => inspect(client, args),
        CtlVerb::Commands(args) => commands::run(client, args),
        CtlVerb::Inject(args) => inject(client, args),
        CtlVerb::Fault(args) => fault::run(client, &args.verb),
        CtlVerb::Wait(args) => fault::wait(client, args),
        CtlVerb::Release(args) => fault::release(client, args),
        CtlVerb::Capture(args) => capture::run(client, args),
    }
}

fn inspect(client: &mut Client, args: &Inspect) -> Result<u8, Failure> {
    let reply = client.call(Request::Inspect { path: args.path.clone() }).map_err(Failure::failed)?;
    let Reply::Inspect { tree } = reply else { return Err(unexpected()) };
    let text = match if args.json { TreeForm::Json } else { args.format } {
        TreeForm::Text => tree::render(&tree),
        TreeForm::Json => format!("{tree:#}\n"),
        TreeForm::Dot => match dot::render(&tree) {
            Some(picture) => picture,
            None => return Err(Failure::usage("only an e-switch can be drawn: 'inspect --format dot eswitch'")),
        },
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

fn inject(client: &mut Client, args: &Inject) -> Result<u8, Failure> {
    let request = Request::Inject { event: args.event.clone(), args: args.args.clone() };
    match client.call(request).map_err(Failure::failed)? {
        Reply::Injected { note } => {
            if let Some(note) = note {
                let _ = writeln!(std::io::stdout().lock(), "{note}");
            }
            Ok(0)
        }
        _ => Err(unexpected()),
    }
}

/// The server answered another question than the one that was asked.
fn unexpected() -> Failure {
    Failure::failed(ClientError::Gone)
}
