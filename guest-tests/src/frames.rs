//! What a card's ports saw last, kept for when something fails.
//!
//! The card keeps the beginnings of the last frames of each port, and gives them when they are asked for: as long as nothing
//! fails they cost it a copy, and this process nothing.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlx5emu_config::control::{CapturedFrame, Client, ClientError, Reply, Request};
use mlx5emu_qemu::boot::scaled;

use crate::pcapng::PcapFile;

/// Frames of each port.
const FRAMES: u32 = 256;
/// Bytes of each frame.
const BYTES: u32 = 128;
/// Ports of a card that are watched: each takes one of the server's connections.
const MAX_PORTS: usize = 4;
/// How long a card may take to give the frames.
const PATIENCE: Duration = Duration::from_secs(10);

/// The captures of a card.
pub(crate) struct LastFrames {
    card: String,
    ports: Vec<(String, Client)>,
}

impl LastFrames {
    /// Has the card that serves from `dir` keep the last frames of its ports.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn begin(dir: &Path, card: &str, ports: usize) -> Result<LastFrames, ClientError> {
        let mut all = Vec::new();
        for port in (0..ports.min(MAX_PORTS)).map(|n| format!("p{n}")) {
            let mut client = Client::connect(dir)?;
            client.call(Request::Capture { at: port.clone(), snaplen: BYTES, count: None, last: Some(FRAMES) })?;
            all.push((port, client));
        }
        Ok(LastFrames { card: card.to_string(), ports: all })
    }

    /// Writes what came after `since` into `to`; that is the end of the captures. No file if there is none left.
    pub(crate) fn keep(&mut self, since: SystemTime, to: &Path) -> io::Result<()> {
        if self.ports.is_empty() {
            return Ok(());
        }
        let since = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut file = PcapFile::begin(File::create(to)?, &self.card)?;
        let mut interfaces = Vec::new();
        for (port, _) in &self.ports {
            interfaces.push(file.interface(port, BYTES)?);
        }
        for (interface, (port, mut client)) in interfaces.into_iter().zip(self.ports.drain(..)) {
            match rest(&mut client) {
                Ok((mut frames, seen, lost)) => {
                    frames.retain(|frame| frame.time_ns >= since);
                    file.add(interface, &frames, seen, lost)?;
                }
                Err(error) => log::debug!("the last frames of {port}: {error}"),
            }
        }
        file.end().map(drop)
    }
}

/// Ends a capture; its frames, and the card's counts.
fn rest(client: &mut Client) -> Result<(Vec<CapturedFrame>, u64, u64), ClientError> {
    client.finish()?;
    let mut all = Vec::new();
    loop {
        if !client.answer_comes(scaled(PATIENCE))? {
            return Err(ClientError::Gone);
        }
        let Reply::Captured { frames, seen, lost, done } = client.follow()? else { return Err(ClientError::Gone) };
        all.extend(frames);
        if done {
            return Ok((all, seen, lost));
        }
    }
}
