//! Frames: send and receive.

use mlx5emu_prm::field::Field;

use crate::cq::Cqe;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::rq::Arrival;
pub use crate::sq::SendOptions;

/// A frame that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The channel that it came through.
    pub channel: usize,
    /// Its bytes, from the destination address on.
    pub frame: Vec<u8>,
    /// Its completion.
    pub cqe: Cqe,
}

impl Received {
    /// A field of the completion (`prm::layouts::mlx5_cqe64`).
    pub fn field(&self, field: Field) -> u32 {
        field.get32(&self.cqe)
    }
}

impl<H: Host> Driver<H> {
    /// Sends a frame through channel 0.
    ///
    /// # Errors
    /// See [`Driver::send_on`].
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.send_on(0, frame, &SendOptions::default())
    }

    /// Sends a frame; waits while the queue is full, but not for the completion.
    ///
    /// # Errors
    /// The queue stays full; no such channel; no memory.
    pub fn send_on(&mut self, channel: usize, frame: &[u8], options: &SendOptions) -> Result<()> {
        self.post(channel, frame, options)?;
        self.ring(channel)
    }

    /// Sends frames with one doorbell, or as few as the queue's size allows. Only the last of them is signaled.
    ///
    /// # Errors
    /// As [`Driver::send_on`].
    pub fn send_batch(&mut self, channel: usize, frames: &[Vec<u8>]) -> Result<()> {
        for (n, frame) in frames.iter().enumerate() {
            // A queue that fills up with unsignaled WQEs would never be retired: now and then one is signaled.
            let unsignaled = n + 1 != frames.len() && n % 4 != 3;
            self.post(channel, frame, &SendOptions { unsignaled, ..SendOptions::default() })?;
        }
        self.ring(channel)
    }

    /// Writes a WQE without ringing; rings and waits when the queue is full.
    ///
    /// # Errors
    /// As [`Driver::send_on`].
    pub fn post(&mut self, channel: usize, frame: &[u8], options: &SendOptions) -> Result<()> {
        let mut waited = 0;
        loop {
            let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
            let Some(pair) = net.channels.get_mut(channel) else { return Err(closed()) };
            match pair.sq.post(&mut self.host, frame, options) {
                Err(Error::Full) => {}
                other => return other,
            }
            if waited == 0 {
                pair.sq.ring(&mut self.host);
            }
            self.service()?;
            if !self.host.relax(waited) {
                return Err(Error::Timeout("room in the send queue".into()));
            }
            waited += 1;
        }
    }

    /// Rings a channel's send doorbell.
    ///
    /// # Errors
    /// No such channel.
    pub fn ring(&mut self, channel: usize) -> Result<()> {
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        let Some(pair) = net.channels.get_mut(channel) else { return Err(closed()) };
        pair.sq.ring(&mut self.host);
        Ok(())
    }

    /// Consumes send completions of the queues whose event came.
    pub(crate) fn poll_sends(&mut self) -> Result<()> {
        let Some(net) = self.net.as_deref_mut() else { return Ok(()) };
        for pair in &mut net.channels {
            if pair.sq.cq.pending {
                pair.sq.poll(&mut self.host)?;
                pair.sq.cq.pending = false;
                pair.sq.cq.arm(&mut self.host);
            }
            pair.rq.poll_umr(&mut self.host)?;
        }
        Ok(())
    }

    /// The next frame that came in, without waiting.
    ///
    /// # Errors
    /// The device misbehaves.
    pub fn recv(&mut self) -> Result<Option<Received>> {
        self.service()?;
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        let count = net.channels.len();
        for step in 0..count {
            let channel = (net.next_channel + step) % count;
            let rq = &mut net.channels[channel].rq;
            while rq.cq.pending {
                match rq.poll(&mut self.host)? {
                    None => {
                        rq.cq.pending = false;
                        rq.cq.arm(&mut self.host);
                    }
                    Some(arrival) => {
                        if net.config.refill {
                            rq.refill(&mut self.host, 1);
                        }
                        match arrival {
                            Arrival::Frame(frame, cqe) => {
                                net.next_channel = channel;
                                return Ok(Some(Received { channel, frame, cqe }));
                            }
                            Arrival::Filler => {}
                            Arrival::Error(_) => net.receive_errors += 1,
                        }
                    }
                }
            }
        }
        net.next_channel = 0;
        Ok(None)
    }

    /// Waits for a frame.
    ///
    /// # Errors
    /// None comes; the device misbehaves.
    pub fn recv_wait(&mut self) -> Result<Received> {
        let mut waited = 0;
        loop {
            if let Some(received) = self.recv()? {
                return Ok(received);
            }
            if !self.host.relax(waited) {
                return Err(Error::Timeout("a frame".into()));
            }
            waited += 1;
        }
    }

    /// The next [`Driver::recv`] looks at all receive queues, without an event, and arms those in which nothing is left: as the kernel
    /// does when it polls of itself.
    ///
    /// # Errors
    /// Nothing is open.
    pub fn look(&mut self) -> Result<()> {
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        net.channels.iter_mut().for_each(|channel| channel.rq.cq.pending = true);
        Ok(())
    }

    /// Gives the device receive WQEs: up to `count` in `channel`.
    ///
    /// # Errors
    /// No such channel.
    pub fn refill(&mut self, channel: usize, count: usize) -> Result<()> {
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        let Some(pair) = net.channels.get_mut(channel) else { return Err(closed()) };
        pair.rq.refill(&mut self.host, count);
        Ok(())
    }

    /// The machine and a channel's send queue together, for tests that write WQEs by hand.
    ///
    /// # Errors
    /// No such channel.
    pub fn sq_and_host(&mut self, channel: usize) -> Result<(&mut crate::sq::Sq, &mut H)> {
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        let Some(pair) = net.channels.get_mut(channel) else { return Err(closed()) };
        Ok((&mut pair.sq, &mut self.host))
    }

    /// The machine and a channel's receive queue together.
    ///
    /// # Errors
    /// No such channel.
    pub fn rq_and_host(&mut self, channel: usize) -> Result<(&mut crate::rq::Rq, &mut H)> {
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        let Some(pair) = net.channels.get_mut(channel) else { return Err(closed()) };
        Ok((&mut pair.rq, &mut self.host))
    }

    /// The machine and the send queue for UMR of a channel whose receive queue is a striding one.
    ///
    /// # Errors
    /// No such channel.
    pub fn icosq_and_host(&mut self, channel: usize) -> Result<(&mut crate::sq::Sq, &mut H)> {
        let Some(net) = self.net.as_deref_mut() else { return Err(closed()) };
        let strides = net.channels.get_mut(channel).and_then(|pair| pair.rq.strides_mut());
        Ok((&mut strides.ok_or_else(closed)?.icosq, &mut self.host))
    }
}

fn closed() -> Error {
    Error::Usage("the interface or the channel is not open".into())
}
