//! Telling the user what takes long.
//!
//! Provisioning downloads and unpacks; a person wants a moving bar, a log file wants plain lines, a test wants silence.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Receives what long work has to say. Steps follow one another; they do not nest.
pub trait Progress: Send {
    /// A new step begins; the one before it has ended.
    fn step(&mut self, what: &str);
    /// How far the step is: `done` of `total` bytes. `total` 0 means that the end is not known.
    fn amount(&mut self, done: u64, total: u64);
    /// How far the step is, in things of the same kind: `done` of about `total`.
    fn count(&mut self, done: u64, total: u64) {
        let _ = (done, total);
    }
    /// Something worth a line of its own, whatever the step.
    fn note(&mut self, text: &str);
    /// The last step has ended.
    fn done(&mut self);
}

/// A bar when standard error is a terminal, plain lines otherwise.
pub fn for_terminal() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() { Box::new(Bar::default()) } else { Box::new(Lines::default()) }
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&mut self, _: &str) {}
    fn amount(&mut self, _: u64, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn done(&mut self) {}
}

/// One plain line per step, and one more when it took noticeable time.
#[derive(Debug, Default)]
pub struct Lines {
    current: Option<(String, Instant)>,
}

/// A step shorter than this gets no closing line: it would only be noise.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

impl Progress for Lines {
    fn step(&mut self, what: &str) {
        self.done();
        say(&format!("mlx5emu: {what} ..."));
        self.current = Some((what.to_owned(), Instant::now()));
    }

    fn amount(&mut self, _: u64, _: u64) {}

    fn note(&mut self, text: &str) {
        say(&format!("mlx5emu: {text}"));
    }

    fn done(&mut self) {
        if let Some((what, since)) = self.current.take()
            && since.elapsed() >= WORTH_A_LINE
        {
            say(&format!("mlx5emu: {what}: done after {:.0} s", since.elapsed().as_secs_f64()));
        }
    }
}

/// Standard error may be closed; progress is not worth an error of its own.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A bar that moves.
#[derive(Debug, Default)]
struct Bar {
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn step(&mut self, what: &str) {
        self.done();
        let bar = ProgressBar::new_spinner();
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(what.to_owned());
        self.bar = Some(bar);
    }

    fn amount(&mut self, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if total == 0 {
            return;
        }
        if bar.length() != Some(total) {
            // A template that does not parse is our slip; the spinner then stays, which loses nothing.
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_length(total);
        }
        bar.set_position(done.min(total));
    }

    fn count(&mut self, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) {
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_length(total);
        }
        bar.set_position(done.min(total));
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(&format!("mlx5emu: {text}"))),
            None => say(&format!("mlx5emu: {text}")),
        }
    }

    fn done(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.done();
    }
}
