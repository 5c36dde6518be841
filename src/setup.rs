//! `mlx5emu setup`.

use std::io::Write;

use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::{Needs, Setup};

use crate::cli;
use crate::failure::{FAILED, Failure};

/// Provisions everything, or says what is there.
pub(crate) fn run(args: &cli::Setup) -> Result<u8, Failure> {
    let setup = Setup::from_env().map_err(Failure::failed)?;
    let needs = Needs::all();
    if !args.check {
        setup.ensure(&needs, &mut *progress::for_terminal()).map_err(Failure::failed)?;
    }
    let report = setup.check(&needs);
    let text = report.to_string();
    std::io::stdout().write_all(format!("{}\n", text.trim_end()).as_bytes())?;
    Ok(if report.complete() { 0 } else { FAILED })
}
