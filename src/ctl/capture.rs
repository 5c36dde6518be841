//! `mlx5emu ctl capture`: frames from a running card into a pcapng file.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Client, ClientError, Reply, Request};
use mlx5emu_guest_tests::PcapFile;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::unexpected;
use crate::cli::Capture;
use crate::failure::Failure;

/// How long a wait for frames may hide a signal or the end of the time.
const GLANCE: Duration = Duration::from_millis(100);

/// Captures until there is enough, the time is up, a signal comes or the card ends.
pub(crate) fn run(client: &mut Client, args: &Capture) -> Result<u8, Failure> {
    let enough = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&enough)).map_err(Failure::failed)?;
    }
    if args.output.as_os_str() == "-" && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a capture is not for a terminal: name a file with -o FILE, or pipe it into a program such as 'tshark -r -'",
        ));
    }
    let request = Request::Capture { at: args.at.clone(), snaplen: args.snaplen, count: args.count, last: None };
    let mut reply = client.call(request).map_err(Failure::failed)?;
    let deadline = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let card = client.hello().map_or_else(|| "mlx5emu".to_string(), |hello| hello.card.clone());
    let mut file = PcapFile::begin(open(&args.output)?, &card).map_err(cannot_write(args))?;
    let place = file.interface(&args.at, args.snaplen).map_err(cannot_write(args))?;
    eprintln!("mlx5emu: capturing at {} of {card}", args.at);
    let mut finishing = false;
    loop {
        let Reply::Captured { frames, seen, lost, done } = reply else { return Err(unexpected()) };
        file.add(place, &frames, seen, lost).map_err(cannot_write(args))?;
        if done {
            break;
        }
        reply = loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if !finishing && (enough.load(Relaxed) || left == Some(Duration::ZERO)) {
                finishing = true;
                client.finish().map_err(Failure::failed)?;
            }
            if client
                .answer_comes(left.filter(|_| !finishing).map_or(GLANCE, |left| left.min(GLANCE)))
                .map_err(Failure::failed)?
            {
                break match client.follow() {
                    // The card has ended: what came is complete.
                    Err(ClientError::Gone) => Reply::Captured { frames: Vec::new(), seen, lost, done: true },
                    answer => answer.map_err(Failure::failed)?,
                };
            }
        };
    }
    eprintln!("mlx5emu: {}", file.end().map_err(cannot_write(args))?);
    Ok(0)
}

fn open(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdout()));
    }
    match File::create(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::usage(format_args!("cannot create '{}': {error}", path.display()))),
    }
}

fn cannot_write(args: &Capture) -> impl Fn(io::Error) -> Failure {
    |error| {
        if args.output.as_os_str() == "-" {
            return error.into();
        }
        Failure::failed(format_args!("cannot write {}: {error}", args.output.display()))
    }
}
