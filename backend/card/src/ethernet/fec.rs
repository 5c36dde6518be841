//! Forward error correction: which there is at each speed, and what two ends agree on.

/// A set of codes, as PPLM has them (`MLX5E_FEC_*`): bit 0 none, bit 1 Firecode, bit 2 Reed-Solomon (528, 514). Empty: the
/// port chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fec(pub u8);

impl Fec {
    /// The port chooses.
    pub const AUTO: Self = Self(0);
    const NONE: Self = Self(1);
    const FIRECODE: Self = Self(1 << 1);
    /// Reed-Solomon (528, 514).
    pub const RS: Self = Self(1 << 2);

    /// Whether all of `other` are among these.
    pub fn has(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// Symbols of a codeword of Reed-Solomon (528, 514) that can be corrected: half of its 14 check symbols (IEEE 802.3, 91.5.3).
pub const CORRECTABLE: usize = 7;
/// Bytes of frames that such a codeword carries: 80 blocks of 64 bits.
pub const CODEWORD_BYTES: u64 = 640;

/// Link modes that share a setting.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// The bits of `eth_proto`.
    modes: u32,
    /// The codes that are possible.
    pub possible: Fec,
    /// What the port chooses.
    auto: Fec,
}

/// The settings: 100, 50, 25, and 10 and 40 Gbit/s.
pub const SPEEDS: [Speed; 4] = [
    Speed { modes: 1 << 20, possible: Fec(Fec::NONE.0 | Fec::RS.0), auto: Fec::RS },
    Speed { modes: 1 << 30, possible: Fec(Fec::NONE.0 | Fec::FIRECODE.0 | Fec::RS.0), auto: Fec::RS },
    Speed { modes: 1 << 27, possible: Fec(Fec::NONE.0 | Fec::FIRECODE.0 | Fec::RS.0), auto: Fec::RS },
    Speed { modes: 1 << 6 | 1 << 12, possible: Fec(Fec::NONE.0 | Fec::FIRECODE.0), auto: Fec::NONE },
];

/// The code of a link at `mode` (a bit of `eth_proto`) whose ends ask for `a` and `b`; none if they contradict each other.
pub fn agree(mode: u32, a: &[Fec; SPEEDS.len()], b: &[Fec; SPEEDS.len()]) -> Option<Fec> {
    let (n, speed) = SPEEDS.iter().enumerate().find(|(_, speed)| speed.modes & mode != 0)?;
    match (*a.get(n)?, *b.get(n)?) {
        (Fec::AUTO, Fec::AUTO) => Some(speed.auto),
        (Fec::AUTO, one) | (one, Fec::AUTO) => Some(one),
        (a, b) => Some(Fec(a.0 & b.0)).filter(|both| *both != Fec::AUTO),
    }
    // Of several that both want, the strongest.
    .map(|set| Fec(1 << set.0.checked_ilog2().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_chooses_for_both_and_two_may_contradict() {
        let auto = [Fec::AUTO; 4];
        let with = |fec| [fec, Fec::AUTO, Fec::AUTO, Fec::AUTO];
        assert_eq!(agree(1 << 20, &auto, &auto), Some(Fec::RS));
        assert_eq!(agree(1 << 12, &auto, &auto), Some(Fec::NONE));
        assert_eq!(agree(1 << 20, &with(Fec::NONE), &auto), Some(Fec::NONE));
        assert_eq!(agree(1 << 20, &with(Fec::NONE), &with(Fec::RS)), None);
        assert_eq!(agree(1 << 27, &with(Fec::NONE), &with(Fec::RS)), Some(Fec::RS), "another speed's setting");
    }
}
