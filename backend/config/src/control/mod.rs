//! The protocol of `control.sock`: one JSON object a line, both ways.
//!
//! The server speaks first: a [`Hello`]. Then every [`Call`] of the client is answered with one [`Answer`] that carries the
//! call's `id`; a call that follows (`commands` with `follow`, `capture`) is answered again and again until the client hangs
//! up. Lines are
//! bounded ([`MAX_CALL`], [`MAX_ANSWER`]): the longer one ends the connection.
//!
//! A guest may be given `guest.sock` as a port ([`GUEST_PORT`]): the same calls and answers, less those that do not end
//! ([`Request::for_guests`]), and without a greeting, because programs of the guest take turns on one connection. Empty
//! lines are skipped there, and every line that is an object with an `id` is answered with it.

mod capture;
mod client;
mod event;
mod fault;
mod line;
mod port;
mod record;

pub use capture::{Bytes, CapturedFrame, Direction, MAX_SNAPLEN};
pub use client::{Client, ClientError};
pub use event::{EqKind, Event, FORMS, MAX_DEGREES, MAX_LOST_INTERRUPTS, MODULE_ERRORS, Module, PagesOf, Severity};
pub use fault::{FaultState, Held, MAX_HELD};
pub use line::{LineError, read_line, write_line};
pub use port::turn;
pub use record::CommandRecord;

use serde::{Deserialize, Serialize};

use crate::function::FunctionName;
use crate::placement::Placement;

/// The version of this protocol. A client refuses a server of another version.
pub const PROTOCOL: u32 = 2;

/// The longest line that a server reads, in bytes, line break included.
pub const MAX_CALL: usize = 64 << 10;

/// The longest line that a client reads, in bytes, line break included.
pub const MAX_ANSWER: usize = 4 << 20;

/// The most command records in one answer; the rest follows with the next call.
pub const MAX_RECORDS: usize = 1024;

/// The name of the virtio port by which a guest reaches its card: `/dev/virtio-ports/mlx5emu.control`.
pub const GUEST_PORT: &str = "mlx5emu.control";

/// The first line of every connection, from the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the server.
    pub protocol: u32,
    /// The version of the `mlx5emu` that serves.
    pub version: String,
    /// The card's name.
    pub card: String,
    /// The functions that it has.
    pub functions: Vec<FunctionName>,
    /// Where they are plugged into a guest that has all of them.
    pub placement: Placement,
}

impl Hello {
    /// The greeting of a server of this version for a card.
    pub fn of(card: &crate::Card) -> Hello {
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_string(),
            card: card.name.clone(),
            functions: card.functions(),
            placement: Placement::of(card),
        }
    }
}

/// One request with the number that its answers carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Answered with [`Reply::Pong`] by a card that lives.
    Ping {},
    /// The part of the card's state below a path.
    Inspect {
        /// Names separated by `/`, for example `pf0/pages`; empty for everything.
        #[serde(default)]
        path: String,
    },
    /// Recorded firmware commands, oldest first.
    Commands {
        /// Only records with this sequence number or a later one.
        #[serde(default)]
        since: u64,
        /// Keep answering as new commands are recorded.
        #[serde(default)]
        follow: bool,
        /// Only those of one function.
        #[serde(default)]
        function: Option<FunctionName>,
    },
    /// Brings an event about. Answered with [`Reply::Injected`] when it has happened.
    Inject {
        /// Its name, one of [`FORMS`].
        event: String,
        /// What follows the name.
        #[serde(default)]
        args: Vec<String>,
    },
    /// Adds fault rules, all of them or none. Answered with [`Reply::FaultsAdded`].
    FaultAdd {
        /// The rules, one each: see [`crate::fault`].
        rules: Vec<String>,
    },
    /// The fault rules and what they did. Answered with [`Reply::Faults`].
    FaultList {
        /// Only this one.
        #[serde(default)]
        name: Option<String>,
    },
    /// Takes fault rules away; what they hold goes on. Answered with [`Reply::FaultsCleared`].
    FaultClear {
        /// Only this one.
        #[serde(default)]
        name: Option<String>,
    },
    /// What a fault rule holds goes on. Answered with [`Reply::Released`].
    Release {
        /// The rule.
        name: String,
    },
    /// The frames that pass a port or a vport from now on, answered again and again with [`Reply::Captured`], the first
    /// time at once. When the client shuts down its sending side the capture ends, with a last answer.
    Capture {
        /// A port (`p0`) or a function, for its vport (`pf0`).
        at: String,
        /// Bytes kept of each frame, [`MAX_SNAPLEN`] at most.
        #[serde(default = "max_snaplen")]
        snaplen: u32,
        /// The capture ends after this many frames.
        #[serde(default)]
        count: Option<u64>,
        /// Only the last so many frames: between the first answer and the end of the capture there are no others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u32>,
    },
    /// Begins a capture whose frames are fetched with [`Request::CaptureTake`]; only for guests. Answered with
    /// [`Reply::CaptureBegun`]. It ends when it has not been asked for a while.
    CaptureBegin {
        /// As for [`Request::Capture`].
        at: String,
        /// As for [`Request::Capture`].
        #[serde(default = "max_snaplen")]
        snaplen: u32,
        /// As for [`Request::Capture`].
        #[serde(default)]
        count: Option<u64>,
    },
    /// The frames of a capture that have passed since it was last asked for. Answered with [`Reply::Captured`].
    CaptureTake {
        /// The number of the capture.
        capture: u64,
        /// Nothing that passes from now on is wanted.
        #[serde(default)]
        end: bool,
    },
}

impl Request {
    /// Whether a guest may ask this: what is answered once, and names nothing of the host.
    pub fn for_guests(&self) -> bool {
        match self {
            Request::Capture { .. } | Request::Commands { follow: true, .. } => false,
            Request::Ping {}
            | Request::Inspect { .. }
            | Request::Commands { .. }
            | Request::Inject { .. }
            | Request::FaultAdd { .. }
            | Request::FaultList { .. }
            | Request::FaultClear { .. }
            | Request::Release { .. }
            | Request::CaptureBegin { .. }
            | Request::CaptureTake { .. } => true,
        }
    }
}

fn max_snaplen() -> u32 {
    MAX_SNAPLEN
}

/// One answer with the number of the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The call's `id`; 0 when the line could not be read as a call.
    pub id: u64,
    /// What is answered.
    pub reply: Reply,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reply {
    /// The card lives.
    Pong {},
    /// The state below the path that was asked for.
    Inspect {
        /// Objects, arrays, numbers and texts. Counts are numbers, addresses are numbers.
        tree: serde_json::Value,
    },
    /// Firmware commands.
    Commands {
        /// At most [`MAX_RECORDS`], in order of their sequence numbers.
        records: Vec<CommandRecord>,
        /// Where to go on: `since` of the next call.
        next: u64,
        /// Records that `since` asked for and that were already overwritten.
        lost: u64,
        /// Whether more records were there at the time of the answer.
        more: bool,
    },
    /// The event has happened.
    Injected {
        /// What else there is to do, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A capture has begun.
    CaptureBegun {
        /// Its number.
        capture: u64,
    },
    /// The rules are there.
    FaultsAdded {
        /// Their names, in order: for a rule without one, the name that it got.
        names: Vec<String>,
    },
    /// Fault rules, in the order in which they came.
    Faults {
        /// One each.
        rules: Vec<FaultState>,
    },
    /// Fault rules are gone.
    FaultsCleared {
        /// How many.
        cleared: u64,
        /// How many commands and events that they held go on.
        released: u64,
    },
    /// What was held goes on.
    Released {
        /// How many commands and events.
        count: u64,
    },
    /// Frames that passed.
    Captured {
        /// In the order in which they passed.
        frames: Vec<CapturedFrame>,
        /// Frames that passed so far, those that were lost included.
        seen: u64,
        /// Frames so far that were lost because they were not taken in time.
        lost: u64,
        /// This is the last answer.
        done: bool,
    },
    /// The call was not carried out.
    Error {
        /// What kind of error.
        code: ErrorCode,
        /// One sentence for people.
        message: String,
    },
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The line is not a call.
    BadCall,
    /// The path, function or object does not exist.
    NotFound,
    /// Too many clients, or an answer longer than [`MAX_ANSWER`].
    TooMuch,
    /// The server failed.
    Internal,
}

impl Reply {
    /// An error reply.
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Reply {
        Reply::Error { code, message: message.into() }
    }
}

/// The part of `tree` below `path` (names separated by `/`; an index into an array is a number). `None` when a name is missing;
/// the error text then is the caller's to write, with [`nearest_name`].
pub fn select<'a>(tree: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    path.split('/').filter(|name| !name.is_empty()).try_fold(tree, step)
}

fn step<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map.get(name),
        serde_json::Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The name nearest to `name` among `known`, if one is near enough to be worth offering.
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(64).collect();
    let scored = known.into_iter().map(|k| (strsim::damerau_levenshtein(&name, k), k));
    scored.min_by_key(|(distance, _)| *distance).filter(|(d, k)| *d <= (k.len() / 2).max(1)).map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wire_form_is_stable() {
        let call =
            Call { id: 7, request: Request::Commands { since: 3, follow: true, function: Some(FunctionName::pf(1)) } };
        let text = json!({"id": 7, "request": {"verb": "commands", "since": 3, "follow": true, "function": "pf1"}});
        assert_eq!(serde_json::to_value(&call).unwrap(), text);
        assert_eq!(serde_json::from_value::<Call>(text).unwrap(), call);
        let short: Call = serde_json::from_str(r#"{"id":1,"request":{"verb":"inspect"}}"#).unwrap();
        assert_eq!(short.request, Request::Inspect { path: String::new() });
        let reply = Reply::error(ErrorCode::NotFound, "no such path");
        let text = json!({"kind": "error", "code": "not-found", "message": "no such path"});
        assert_eq!(serde_json::to_value(&reply).unwrap(), text);
        assert_eq!(serde_json::from_value::<Reply>(text).unwrap(), reply);
    }

    #[test]
    fn calls_that_are_none_are_errors() {
        for text in [
            "",
            "[]",
            r#"{"id":1}"#,
            r#"{"id":-1,"request":{"verb":"ping"}}"#,
            r#"{"id":1,"request":{"verb":"shutdown"}}"#,
            r#"{"id":1,"request":{"verb":"inspect","path":1}}"#,
            r#"{"id":1,"request":{"verb":"inspect","file":"/etc/passwd"}}"#,
            r#"{"id":1,"request":{"verb":"commands","function":"pf01"}}"#,
        ] {
            assert!(serde_json::from_str::<Call>(text).is_err(), "{text} was read as a call");
        }
    }

    #[test]
    fn paths_select() {
        let tree = json!({"pf0": {"pages": {"given": 5}, "eqs": [{"n": 1}, {"n": 2}]}});
        assert_eq!(select(&tree, ""), Some(&tree));
        assert_eq!(select(&tree, "/pf0/pages/given"), Some(&json!(5)));
        assert_eq!(select(&tree, "pf0/eqs/1/n"), Some(&json!(2)));
        for path in ["pf1", "pf0/eqs/2", "pf0/eqs/x", "pf0/pages/given/more"] {
            assert_eq!(select(&tree, path), None, "{path}");
        }
        assert_eq!(nearest_name("page", ["eqs", "pages"]), Some("pages"));
        assert_eq!(nearest_name("zzzzzz", ["eqs", "pages"]), None);
    }
}
