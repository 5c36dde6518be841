//! Frames that a capture gives.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a frame that a capture keeps when it is not told otherwise, and at most.
pub const MAX_SNAPLEN: u32 = 262_144;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// It is received.
    Inbound,
    /// It is sent.
    Outbound,
}

/// A frame that passed the place that is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedFrame {
    /// When, in nanoseconds since 1970-01-01 00:00 UTC.
    pub time_ns: u64,
    /// Which way.
    pub direction: Direction,
    /// Its length in bytes, without frame check sequence.
    pub len: u32,
    /// Its first bytes, on the line as hexadecimal digits.
    pub data: Bytes,
    /// Why the card dropped it, in words; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// Frames right before this one that were lost because nobody took them in time.
    #[serde(default)]
    pub lost: u64,
}

/// Bytes that are written as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
        }
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |d: u8| (d as char).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an even number of hexadecimal digits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                from_hex(text).map(Bytes).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str("…"), &self))
            }
        }
        from.deserialize_str(Hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_digits_on_the_line() {
        let frame = CapturedFrame {
            time_ns: 7,
            direction: Direction::Inbound,
            len: 3,
            data: Bytes(vec![0x00, 0xff, 0x1a]),
            dropped: None,
            lost: 0,
        };
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, r#"{"time_ns":7,"direction":"inbound","len":3,"data":"00ff1a","lost":0}"#);
        assert_eq!(serde_json::from_str::<CapturedFrame>(&text).unwrap(), frame);
        for wrong in ["0", "0g", "é", "+1"] {
            assert!(serde_json::from_str::<Bytes>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
        }
    }
}
