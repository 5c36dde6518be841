//! Names of functions: `pf0`, `pf0host`, `pf0vf3`, `pf0sf1`, `pf0adj0`, `ep0`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One function of a card.
///
/// The text form is what file names, scenarios and `--function` use: `pf1`, `pf0host`, `pf0vf3`, `pf0sf1`, `pf0adj0`, `ep0`. The
/// order is PFs, then hosts' PFs, then VFs (by PF, then by number), then SFs, then those of others, then endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FunctionName {
    /// A physical function; the number is that of its port.
    Pf(u8),
    /// The physical function of the host of an embedded CPU, which has the PF of that number. Nobody drives it.
    HostPf(u8),
    /// A virtual function of a physical function.
    Vf {
        /// The physical function's number.
        pf: u8,
        /// The virtual function's number, from 0.
        vf: u16,
    },
    /// A subfunction of a physical function: no PCI function of its own, but a window of its PF's BAR2.
    Sf {
        /// The physical function's number.
        pf: u8,
        /// The subfunction's number, from 0. It is not the `sfnum` that a user gives it.
        sf: u16,
    },
    /// A virtual function of a PF that is elsewhere, which is delegated to the e-switch of the PF of that number. Nobody drives
    /// it.
    Adjacent {
        /// The number of the physical function whose e-switch it is.
        pf: u8,
        /// Its own number, from 0.
        vf: u16,
    },
    /// A plain PCI Express endpoint beside the NIC (a peer for TLPs).
    Endpoint(u8),
}

/// A function name that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a function name: write pf0, pf0host, pf0vf3, pf0sf1, pf0adj0 or ep0")]
pub struct FunctionNameError(String);

impl FunctionName {
    /// The physical function of port `n`.
    pub const fn pf(n: u8) -> Self {
        FunctionName::Pf(n)
    }

    /// Virtual function `vf` of physical function `pf`.
    pub const fn vf(pf: u8, vf: u16) -> Self {
        FunctionName::Vf { pf, vf }
    }

    /// Subfunction `sf` of physical function `pf`.
    pub const fn sf(pf: u8, sf: u16) -> Self {
        FunctionName::Sf { pf, sf }
    }

    /// The file name of this function's socket inside the card's directory, for example `pf0.sock`.
    pub fn socket_name(self) -> String {
        format!("{self}.sock")
    }

    /// The file name of the socket of the shadow that takes this function's place, for example `pf0vf1-shadow.sock`.
    pub fn shadow_socket_name(self) -> String {
        format!("{self}-shadow.sock")
    }

    /// The physical function that this function is or belongs to; `None` for an endpoint.
    pub fn parent_pf(self) -> Option<u8> {
        match self {
            FunctionName::Pf(pf)
            | FunctionName::HostPf(pf)
            | FunctionName::Vf { pf, .. }
            | FunctionName::Sf { pf, .. }
            | FunctionName::Adjacent { pf, .. } => Some(pf),
            FunctionName::Endpoint(_) => None,
        }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FunctionName::Pf(n) => f.pad(&format!("pf{n}")),
            FunctionName::HostPf(n) => f.pad(&format!("pf{n}host")),
            FunctionName::Vf { pf, vf } => f.pad(&format!("pf{pf}vf{vf}")),
            FunctionName::Sf { pf, sf } => f.pad(&format!("pf{pf}sf{sf}")),
            FunctionName::Adjacent { pf, vf } => f.pad(&format!("pf{pf}adj{vf}")),
            FunctionName::Endpoint(n) => f.pad(&format!("ep{n}")),
        }
    }
}

impl FromStr for FunctionName {
    type Err = FunctionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| FunctionNameError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<FunctionName> {
    if let Some(rest) = text.strip_prefix("ep") {
        return Some(FunctionName::Endpoint(number(rest)?));
    }
    let rest = text.strip_prefix("pf")?;
    if let Some(pf) = rest.strip_suffix("host") {
        return Some(FunctionName::HostPf(number(pf)?));
    }
    if let Some((pf, vf)) = rest.split_once("vf") {
        return Some(FunctionName::Vf { pf: number(pf)?, vf: number(vf)? });
    }
    if let Some((pf, vf)) = rest.split_once("adj") {
        return Some(FunctionName::Adjacent { pf: number(pf)?, vf: number(vf)? });
    }
    if let Some((pf, sf)) = rest.split_once("sf") {
        return Some(FunctionName::Sf { pf: number(pf)?, sf: number(sf)? });
    }
    Some(FunctionName::Pf(number(rest)?))
}

/// A decimal number in its only spelling: no sign, no leading zero. Names are file names, so each must have one form.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for FunctionName {
    type Error = FunctionNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            FunctionName::pf(0),
            FunctionName::pf(7),
            FunctionName::HostPf(1),
            FunctionName::Adjacent { pf: 0, vf: 3 },
            FunctionName::vf(1, 126),
            FunctionName::sf(0, 9),
            FunctionName::Endpoint(3),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(FunctionName::vf(0, 3).socket_name(), "pf0vf3.sock");
        assert_eq!(format!("{:>5}|", FunctionName::pf(1)), "  pf1|");
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "pf",
            "pf00",
            "pf+1",
            "pf256",
            "pf0vf",
            "vf0",
            "pf0vf-1",
            "ep",
            "PF0",
            "pf0vf1vf2",
            "pf0sf",
            "pf0sf1vf2",
            "pf 0",
            "pfhost",
            "pf0host0",
        ] {
            assert!(text.parse::<FunctionName>().is_err(), "{text:?} parsed");
        }
    }

    #[test]
    fn order_is_pfs_hosts_vfs_sfs_others_endpoints() {
        let mut names = [
            FunctionName::Endpoint(0),
            FunctionName::Adjacent { pf: 0, vf: 0 },
            FunctionName::HostPf(0),
            FunctionName::sf(0, 0),
            FunctionName::vf(0, 10),
            FunctionName::vf(0, 2),
            FunctionName::pf(1),
        ];
        names.sort();
        assert_eq!(names.map(|n| n.to_string()), ["pf1", "pf0host", "pf0vf2", "pf0vf10", "pf0sf0", "pf0adj0", "ep0"]);
    }
}
