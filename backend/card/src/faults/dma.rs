//! Rules for memory requests: completions with an error, writes that do not arrive.

use std::sync::Arc;

use mlx5emu_config::fault::FaultKind;
use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};

use super::{Faults, What};
use crate::card::FunctionIndex;

/// What a rule looks for in a memory request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DmaMatch {
    /// A request that is completed: memory read, AtomicOp. Else a memory write.
    pub(super) read: bool,
    /// Any byte between these, both included.
    pub(super) range: Option<(u64, u64)>,
}

/// What a rule does with a memory request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DmaAct {
    /// It is completed with Unsupported Request.
    Unsupported,
    /// It is completed with Completer Abort.
    Aborted,
    /// A posted write does not arrive, and nobody tells.
    Lost,
}

impl DmaMatch {
    fn fits(&self, read: bool, addr: u64, len: u64) -> bool {
        let last = addr.saturating_add(len.saturating_sub(1));
        self.read == read && self.range.is_none_or(|(first, end)| addr <= end && last >= first)
    }
}

/// A function's memory, watched by rules.
pub struct Watched<M> {
    inner: M,
    faults: Arc<Faults>,
    function: FunctionIndex,
}

impl<M> Watched<M> {
    pub(crate) fn new(inner: M, faults: &Arc<Faults>, function: FunctionIndex) -> Self {
        Self { inner, faults: Arc::clone(faults), function }
    }

    pub(crate) fn inner(&self) -> &M {
        &self.inner
    }

    pub(crate) fn inner_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    #[inline]
    fn rule(&self, read: bool, addr: u64, len: usize) -> Option<DmaAct> {
        if self.faults.armed(FaultKind::Dma) { self.asked(read, addr, len) } else { None }
    }

    #[cold]
    fn asked(&self, read: bool, addr: u64, len: usize) -> Option<DmaAct> {
        let fits =
            |what: &What| if let What::Dma(wanted, _) = what { wanted.fits(read, addr, len as u64) } else { false };
        match self.faults.ask(FaultKind::Dma, self.function, fits)?.what {
            What::Dma(_, act) => Some(act),
            _ => None,
        }
    }

    /// A request that is completed.
    #[inline]
    fn completed(&self, addr: u64, len: usize) -> Result<(), DmaError> {
        match self.rule(true, addr, len) {
            None | Some(DmaAct::Lost) => Ok(()),
            Some(DmaAct::Unsupported) => Err(DmaError::Unmapped { addr }),
            Some(DmaAct::Aborted) => Err(DmaError::Denied { addr }),
        }
    }

    /// Whether a posted write gets lost.
    #[inline]
    fn is_lost(&self, addr: u64, len: usize) -> bool {
        self.rule(false, addr, len) == Some(DmaAct::Lost)
    }
}

impl<M: DmaSpace> DmaSpace for Watched<M> {
    #[inline]
    fn read(&self, attrs: Attrs, addr: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        self.completed(addr, buf.len())?;
        self.inner.read(attrs, addr, buf)
    }

    #[inline]
    fn write(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        if self.is_lost(addr, buf.len()) { Ok(()) } else { self.inner.write(attrs, addr, buf) }
    }

    fn load_be32(&self, attrs: Attrs, addr: u64) -> Result<u32, DmaError> {
        self.completed(addr, 4)?;
        self.inner.load_be32(attrs, addr)
    }

    #[inline]
    fn write_release(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        if self.is_lost(addr, buf.len()) { Ok(()) } else { self.inner.write_release(attrs, addr, buf) }
    }

    fn fetch_add_u64(&self, attrs: Attrs, addr: u64, add: u64) -> Result<u64, DmaError> {
        self.completed(addr, 8)?;
        self.inner.fetch_add_u64(attrs, addr, add)
    }

    fn compare_swap_u64(&self, attrs: Attrs, addr: u64, compare: u64, swap: u64) -> Result<u64, DmaError> {
        self.completed(addr, 8)?;
        self.inner.compare_swap_u64(attrs, addr, compare, swap)
    }

    fn copy(
        &self,
        src_attrs: Attrs,
        src: u64,
        to: &Self,
        dst_attrs: Attrs,
        dst: u64,
        len: usize,
    ) -> Result<(), DmaError> {
        self.completed(src, len)?;
        if to.is_lost(dst, len) {
            return Ok(());
        }
        self.inner.copy(src_attrs, src, &to.inner, dst_attrs, dst, len)
    }

    fn msi(&self, vector: u16) {
        self.inner.msi(vector);
    }
}
