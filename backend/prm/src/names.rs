//! Numbers with names: open enumerations. A value that has no name is legal, prints as a number and passes through.

use std::fmt;

/// A named value of an open enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The name here.
    pub name: &'static str,
    /// The value.
    pub value: u64,
    /// The kernel's name of it, in full; empty where the kernel has a bare number.
    pub kernel: &'static str,
}

/// An open enumeration: what it is called, the kernel's prefix of its names, and its values.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// What one value is, for messages.
    pub what: &'static str,
    /// The prefix that most of the kernel's names have.
    pub prefix: &'static str,
    /// The named values.
    pub values: &'static [Named],
}

/// A name that no value has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// What was looked for.
    pub what: &'static str,
    /// The name given.
    pub given: String,
    /// The most similar name that there is.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} called '{}'", self.what, self.given)?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownName {}

impl Names {
    /// The name of `value`.
    pub fn name(&self, value: u64) -> Option<&'static str> {
        self.values.iter().find(|v| v.value == value).map(|v| v.name)
    }

    /// The value called `name`: the name here or the kernel's, with or without its prefix, in any case, or a number
    /// (`0x904`, `12`).
    ///
    /// # Errors
    /// The nearest name, when there is none.
    pub fn value(&self, name: &str) -> Result<u64, UnknownName> {
        let same = |v: &&Named| {
            [v.name, v.kernel, v.kernel.strip_prefix(self.prefix).unwrap_or(v.name)]
                .iter()
                .any(|known| !known.is_empty() && known.eq_ignore_ascii_case(name))
        };
        if let Some(v) = self.values.iter().find(same) {
            return Ok(v.value);
        }
        let number = match name.strip_prefix("0x").or_else(|| name.strip_prefix("0X")) {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => name.parse().ok(),
        };
        number.ok_or_else(|| UnknownName {
            what: self.what,
            given: name.to_owned(),
            nearest: nearest(&name.to_ascii_uppercase(), self.values.iter().map(|v| v.name)),
        })
    }
}

/// The one of `names` that is most like `given`, if any is at all alike.
pub fn nearest(given: &str, names: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A single constant, to be checked against the kernel's.
pub(crate) const fn constant(name: &'static str, value: u64, kernel: &'static str) -> Named {
    Named { name, value, kernel }
}

/// Declares open enumerations: a newtype over the number, with a constant for each named value.
///
/// `Type(number, "what it is", "kernel prefix") { NAME = value, NAME = value ["KERNEL_NAME"], … }`; the kernel's name is
/// prefix and name unless it is given. All of them are checked against the kernel's headers.
macro_rules! open_enums {
    ($(
        $(#[$doc:meta])*
        $ty:ident ( $int:ident, $what:literal, $prefix:literal ) {
            $( $(#[$vdoc:meta])* $name:ident = $value:literal $([ $kernel:literal ])? ),* $(,)?
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
            pub struct $ty(pub $int);

            #[allow(missing_docs)]
            impl $ty {
                $( $(#[$vdoc])* pub const $name: Self = Self($value); )*
            }

            impl $ty {
                /// The named values.
                pub const NAMES: $crate::names::Names = $crate::names::Names {
                    what: $what,
                    prefix: $prefix,
                    values: &[ $( $crate::names::Named {
                        name: stringify!($name),
                        value: $value,
                        kernel: $crate::names::open_enums!(@kernel $prefix, $name $(, $kernel)?),
                    } ),* ],
                };

                /// The value's name, if it has one.
                pub fn name(self) -> Option<&'static str> {
                    Self::NAMES.name(self.0.into())
                }
            }

            impl std::fmt::Display for $ty {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    match self.name() {
                        Some(name) => f.pad(name),
                        None => f.pad(&format!("{:#x}", self.0)),
                    }
                }
            }

            impl std::fmt::Debug for $ty {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    std::fmt::Display::fmt(self, f)
                }
            }

            impl std::str::FromStr for $ty {
                type Err = $crate::names::UnknownName;

                /// By name (see [`Names::value`](crate::names::Names::value)) or number.
                fn from_str(name: &str) -> Result<Self, Self::Err> {
                    let value = Self::NAMES.value(name)?;
                    $int::try_from(value).map(Self).map_err(|_| $crate::names::UnknownName {
                        what: $what,
                        given: name.to_owned(),
                        nearest: None,
                    })
                }
            }
        )*

        /// The enumerations declared here.
        pub(crate) static ENUMS: &[$crate::names::Names] = &[ $( $ty::NAMES ),* ];
    };
    (@kernel $prefix:literal, $name:ident) => { concat!($prefix, stringify!($name)) };
    (@kernel $prefix:literal, $name:ident, $kernel:literal) => { $kernel };
}

pub(crate) use open_enums;

/// Every open enumeration of this crate.
pub fn all() -> impl Iterator<Item = &'static Names> {
    [
        crate::opcode::ENUMS,
        crate::event::ENUMS,
        crate::register::ENUMS,
        crate::states::ENUMS,
        crate::capability::ENUMS,
        crate::steering::ENUMS,
        crate::scheduling::ENUMS,
        crate::wqe::ENUMS,
    ]
    .into_iter()
    .flatten()
}

/// Every named number that the kernel has a name for: the enumerations' values and the single constants.
pub fn kernel_constants() -> impl Iterator<Item = &'static Named> {
    let single = [crate::uar::CONSTANTS, crate::wqe::CONSTANTS].into_iter().flatten();
    all().flat_map(|names| names.values).chain(single).filter(|named| !named.kernel.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::{Opcode, Status};

    #[test]
    fn unknown_values_print_as_numbers() {
        assert_eq!(Opcode(0x904).to_string(), "CREATE_SQ");
        assert_eq!(Opcode(0x999).to_string(), "0x999");
        assert_eq!(format!("{:?} {:>12}|", Status(0xee), Status::OK), "0xee           OK|");
    }

    #[test]
    fn names_are_found_in_any_of_their_forms() {
        for name in
            ["BAD_RES_STATE", "bad_res_state", "BAD_RES_STATE_ERR", "MLX5_CMD_STAT_BAD_RES_STATE_ERR", "0x9", "9"]
        {
            assert_eq!(name.parse(), Ok(Status::BAD_RES_STATE), "{name}");
        }
        assert_eq!("2ERR_QP".parse(), Ok(Opcode::QP_2ERR));
        assert_eq!("QUERY_DELEGATED_VHCA".parse(), Ok(Opcode::QUERY_DELEGATED_VHCA));
    }

    #[test]
    fn a_wrong_name_offers_the_nearest() {
        let error = "CREAT_SQ".parse::<Opcode>().unwrap_err();
        assert_eq!(error.to_string(), "there is no command called 'CREAT_SQ'; did you mean CREATE_SQ?");
        assert_eq!("zzz".parse::<Opcode>().unwrap_err().nearest, None);
        assert!("".parse::<Opcode>().is_err());
        assert!("0x10000".parse::<Opcode>().is_err());
        assert!("0x100".parse::<Status>().is_err());
    }

    #[test]
    fn names_and_values_are_unique() {
        for names in all() {
            for (n, a) in names.values.iter().enumerate() {
                for b in &names.values[n + 1..] {
                    assert!(a.name != b.name && a.value != b.value, "{}: {} and {}", names.what, a.name, b.name);
                }
            }
        }
    }
}
