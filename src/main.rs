#![forbid(unsafe_code)]
//! The `mlx5emu` command: parses the command line, calls a library, prints.

mod attached;
mod cli;
mod ctl;
mod failure;
mod generate;
mod kernel;
mod large_pages;
mod locate;
mod qemu_args;
mod serve;
mod setup;
mod test;
mod vm;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use mlx5emu_guest_tests::emu;

use crate::cli::{Cli, Emu, Verb};
use crate::failure::Failure;

fn main() -> ExitCode {
    let result = if called_as(emu::NAME) {
        let emu = Emu::parse();
        start_log(0);
        ctl::in_guest(&emu.verb)
    } else {
        let cli = Cli::parse();
        start_log(cli.verbose);
        run(cli.verb, cli.verbose)
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.code != 0 {
                eprintln!("mlx5emu: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Whether this program goes by `name`, as it does in a guest.
fn called_as(name: &str) -> bool {
    std::env::args_os().next().is_some_and(|own| Path::new(&own).file_name() == Some(name.as_ref()))
}

fn run(verb: Verb, verbose: u8) -> Result<u8, Failure> {
    match verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Serve(args) => serve::run(&args, verbose),
        Verb::Vm(args) => vm::run(&args, verbose),
        Verb::Kernel(args) => kernel::run(&args),
        Verb::QemuArgs(args) => qemu_args::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Ctl(args) => ctl::run(&args),
        Verb::Completions(args) => generate::completions(&args),
        Verb::Man(args) => generate::man(&args),
    }
}

/// Messages go to standard error: warnings, and more when asked.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "trace",
    };
    let env = env_logger::Env::default().default_filter_or(level);
    env_logger::Builder::from_env(env).format_target(verbose > 1).format_timestamp_millis().init();
}
