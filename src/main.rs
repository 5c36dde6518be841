#![forbid(unsafe_code)]
//! The `mlx5emu` command: parses the command line, calls a library, prints.

mod card_process;
mod cli;
mod ctl;
mod failure;
mod generate;
mod locate;
mod qemu_args;
mod serve;
mod setup;
mod vm;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Verb};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.verbose);
    match run(cli.verb, cli.verbose) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.code != 0 {
                eprintln!("mlx5emu: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(verb: Verb, verbose: u8) -> Result<u8, Failure> {
    match verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Serve(args) => serve::run(&args, verbose),
        Verb::Vm(args) => vm::run(&args, verbose),
        Verb::QemuArgs(args) => qemu_args::run(&args),
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
