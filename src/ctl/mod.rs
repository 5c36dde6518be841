//! `mlx5emu ctl`: asks a running card and prints the answer.

mod commands;
mod tree;

use std::io::Write;

use mlx5emu_config::control::{Client, ClientError, Reply, Request};

use crate::cli::{Ctl, CtlVerb, Inspect};
use crate::failure::Failure;
use crate::locate;

/// Runs one `ctl` verb.
pub(crate) fn run(args: &Ctl) -> Result<u8, Failure> {
    let dir = locate::running(args.dir.as_deref())?;
    let mut client = Client::connect(&dir).map_err(Failure::failed)?;
    match &args.verb {
        CtlVerb::Inspect(args) => inspect(&mut client, args),
        CtlVerb::Commands(args) => commands::run(&mut client, args),
    }
}

fn inspect(client: &mut Client, args: &Inspect) -> Result<u8, Failure> {
    let reply = client.call(Request::Inspect { path: args.path.clone() }).map_err(Failure::failed)?;
    let Reply::Inspect { tree } = reply else { return Err(unexpected()) };
    let text = if args.json { format!("{tree:#}\n") } else { tree::render(&tree) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

/// The server answered another question than the one that was asked.
fn unexpected() -> Failure {
    Failure::failed(ClientError::Gone)
}
