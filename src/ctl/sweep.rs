//! `emu sweep`.

use std::time::Duration;

use mlx5emu_config::control::Client;
use mlx5emu_guest_tests::sweep::{self, SweepError};

use crate::cli::Sweep;
use crate::failure::{FAILED, Failure};

/// Sweeps; exit status 1 if a round left something broken.
pub(crate) fn run(client: &mut Client, args: &Sweep) -> Result<u8, Failure> {
    let except = args.except.iter().map(|text| sweep::rounds_like(text)).collect::<Result<_, _>>();
    let sweep = sweep::Sweep {
        command: args.command.clone(),
        undo: args.undo.clone(),
        limit: Duration::from_secs(args.limit),
        status: args.status.clone(),
        first: args.first,
        count: args.count,
        except: except.map_err(Failure::usage)?,
    };
    match sweep::run(client, &sweep, &mut std::io::stdout().lock()) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(FAILED),
        Err(SweepError::Io(error)) => Err(error.into()),
        Err(error) => Err(Failure::failed(error)),
    }
}
