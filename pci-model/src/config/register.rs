//! Registers as data: where, how wide, what they read after reset, which bits software changes and how.

/// A register, one to four bytes wide, described rather than programmed.
///
/// The attributes are those of PCI Express Base 6.0, section 7.4 (configuration register types): a bit is RO unless
/// `writable` (RW) or `w1c` (RW1C) names it; `sticky` turns these into ROS, RWS, RW1CS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    pub(crate) offset: u16,
    pub(crate) width: u8,
    pub(crate) reset: u32,
    pub(crate) writable: u32,
    pub(crate) w1c: u32,
    pub(crate) sticky: u32,
    pub(crate) flr_keep: u32,
}

impl Register {
    const fn new(offset: u16, width: u8, reset: u32) -> Self {
        Self { offset, width, reset, writable: 0, w1c: 0, sticky: 0, flr_keep: 0 }
    }

    /// An 8-bit read-only register at `offset` (from the start of its capability), reading `reset`.
    #[must_use]
    pub const fn u8(offset: u16, reset: u8) -> Self {
        Self::new(offset, 1, reset as u32)
    }

    /// A 16-bit read-only register.
    #[must_use]
    pub const fn u16(offset: u16, reset: u16) -> Self {
        Self::new(offset, 2, reset as u32)
    }

    /// A 32-bit read-only register.
    #[must_use]
    pub const fn u32(offset: u16, reset: u32) -> Self {
        Self::new(offset, 4, reset)
    }

    /// Makes the bits of `mask` read-write (RW).
    #[must_use]
    pub const fn writable(mut self, mask: u32) -> Self {
        self.writable |= mask;
        self
    }

    /// Makes the bits of `mask` clear when software writes 1 to them (RW1C).
    #[must_use]
    pub const fn w1c(mut self, mask: u32) -> Self {
        self.w1c |= mask;
        self
    }

    /// Makes the bits of `mask` survive a hot reset and an FLR (ROS, RWS, RW1CS).
    #[must_use]
    pub const fn sticky(mut self, mask: u32) -> Self {
        self.sticky |= mask;
        self
    }

    /// Makes the bits of `mask` survive an FLR, but no other reset (PCI Express Base 6.0, section 6.6.2 lists them).
    #[must_use]
    pub const fn kept_by_flr(mut self, mask: u32) -> Self {
        self.flr_keep |= mask;
        self
    }

    /// One past the register's last byte, from the start of its capability.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.offset as usize + self.width as usize
    }

    /// The register with its offset counted from `base` more.
    pub(crate) const fn moved(mut self, base: u16) -> Self {
        self.offset += base;
        self
    }

    /// The bits that keep their value through a reset of `kind`.
    pub(crate) const fn kept(&self, kind: ResetKind) -> u32 {
        match kind {
            ResetKind::Flr => self.sticky | self.flr_keep,
            ResetKind::Conventional => self.sticky,
            ResetKind::Fundamental => 0,
        }
    }
}

/// The resets of PCI Express Base 6.0, section 6.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// Function Level Reset (section 6.6.2): this function only; sticky bits and the link's settings survive.
    Flr,
    /// A Conventional Reset that comes over the link, that is a hot reset (section 6.6.1): sticky bits survive.
    Conventional,
    /// A Fundamental Reset (cold or warm, section 6.6.1): as after power-on, nothing survives.
    Fundamental,
}
