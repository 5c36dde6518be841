//! Events that `ctl inject` brings about in a running card.
//!
//! An event is a name and words, in the command line and on the control socket alike; [`Event::parse`] is the only place
//! that knows their form. A further event is a variant here, its line in [`FORMS`], and its method in the card.

use crate::function::FunctionName;

/// The most interrupts that one event can lose.
pub const MAX_LOST_INTERRUPTS: u32 = 1_000_000;

/// Every event: its name, what follows it, and what it does.
pub const FORMS: [(&str, &str, &str); 15] = [
    ("health", "FUNCTION|all SYND [report]", "its firmware fails with health syndrome SYND and waits for a reset"),
    ("heartbeat", "FUNCTION off|on", "its health counter stands still, or moves again"),
    ("link", "PORT up|down", "the cable of a port (p0, p1, …) is cut, or mended"),
    ("bus", "FUNCTION off|on", "it answers nothing, reads are all-ones; or it is back, started anew"),
    (
        "pages",
        "FUNCTION|[PF/]ID N|release-all",
        "its firmware asks for N pages more, or (N negative) offers as many, or gives all up at once; ID may be nobody's",
    ),
    (
        "canaries",
        "FUNCTION forget",
        "those of its pages that were found broken are taken note of: their count begins anew",
    ),
    ("msi-loss", "FUNCTION N [comp|cmd|async|pages]", "the next N interrupts of its EQs of that kind (comp) are lost"),
    ("stall", "FUNCTION SQN", "its send queue SQN executes nothing more until it is reset"),
    ("aer", "FUNCTION correctable|nonfatal|fatal", "it logs an error in its AER capability"),
    ("temperature", "DEGREES", "the chip is that warm (degrees Celsius); from 105 on its firmware warns"),
    (
        "module",
        "PORT plugged|unplugged|disabled|ERROR",
        "the cable of a port is plugged in or pulled out, or the firmware does not accept it; the link follows",
    ),
    ("vport-change", "FUNCTION", "the context of its vport changed, its PF is told"),
    ("command-event", "FUNCTION SLOT", "a command event names a slot, whatever is in it"),
    ("eq-overrun", "FUNCTION EQN", "an event queue overruns: what comes after that is lost until it is destroyed"),
    (
        "host-functions",
        "FUNCTION N",
        "the host of an embedded CPU (embedded_cpu in the card file) has N VFs from now on",
    ),
];

/// Why firmware does not accept a cable: `error_type` of a port module event, with the names here (the driver has them in
/// its `lib/events.h`, `MLX5_MODULE_EVENT_ERROR_*`).
pub const MODULE_ERRORS: [(&str, u8); 9] = [
    ("power-budget", 0x0),
    ("long-range", 0x1),
    ("bus-stuck", 0x2),
    ("no-eeprom", 0x3),
    ("part-number", 0x4),
    ("unknown-identifier", 0x5),
    ("high-temperature", 0x6),
    ("bad-cable", 0x7),
    ("pcie-power", 0xc),
];

/// The hottest that a chip can be made, in degrees Celsius.
pub const MAX_DEGREES: u8 = 250;

/// What is in the cage of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// A cable.
    Plugged,
    /// Nothing.
    Unplugged,
    /// A cable that is switched off.
    Disabled,
    /// A cable that the firmware does not accept: one of [`MODULE_ERRORS`].
    Error(u8),
}

/// Severity of an error that a function logs in its AER capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Mended by hardware: Bad TLP.
    Correctable,
    /// Something is lost, the link is not: Completion Timeout.
    NonFatal,
    /// The link must be reset: Malformed TLP.
    Fatal,
}

/// Whose pages a page request event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagesOf {
    /// A function's; for a VF the event goes to its PF.
    Function(FunctionName),
    /// Those of an id in an event to a PF: a VHCA id or function id, as the mode is, or one that is no function's.
    Id {
        /// The PF.
        pf: FunctionName,
        /// The id.
        id: u16,
    },
}

impl std::str::FromStr for PagesOf {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(function) = text.parse() {
            return Ok(PagesOf::Function(function));
        }
        let (pf, id) = text.split_once('/').unwrap_or(("pf0", text));
        let pf = pf.parse().map_err(|_| ())?;
        let id = number(id).and_then(|id| u16::try_from(id).ok()).ok_or(())?;
        if matches!(pf, FunctionName::Pf(_)) { Ok(PagesOf::Id { pf, id }) } else { Err(()) }
    }
}

/// EQs of a kind, by the events that they asked for, named as in the driver (`struct mlx5_eq_table`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EqKind {
    /// Completions of CQs.
    Comp,
    /// Completions of commands.
    Cmd,
    /// Asynchronous events.
    Async,
    /// Requests for pages.
    Pages,
}

impl EqKind {
    /// Every kind, by its name.
    const NAMES: [(&str, EqKind); 4] =
        [("comp", EqKind::Comp), ("cmd", EqKind::Cmd), ("async", EqKind::Async), ("pages", EqKind::Pages)];
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The firmware of a function fails, or reports something.
    Health {
        /// The function; all functions if `None`, for the firmware is one.
        function: Option<FunctionName>,
        /// `synd` of the health buffer (`MLX5_INITIAL_SEG_HEALTH_SYNDROME_*`). 0 with `report` clears the buffer.
        synd: u8,
        /// It is only reported; the firmware goes on.
        report: bool,
    },
    /// The health counter of a function stands still or moves again.
    Heartbeat {
        /// The function.
        function: FunctionName,
        /// It moves.
        on: bool,
    },
    /// The cable of a port is cut or mended.
    Link {
        /// The port's number.
        port: u8,
        /// Mended.
        up: bool,
    },
    /// A function goes off the bus, or comes back.
    Bus {
        /// The function.
        function: FunctionName,
        /// It comes back.
        on: bool,
    },
    /// A page request event.
    Pages {
        /// Whose pages.
        of: PagesOf,
        /// How many more, or (negative) fewer; all of them, without a command, if `None`.
        count: Option<i32>,
    },
    /// The count of broken canaries begins anew.
    CanariesForget {
        /// The function.
        function: FunctionName,
    },
    /// Interrupts of EQs are lost.
    MsiLoss {
        /// The function.
        function: FunctionName,
        /// How many; it replaces what is left of an earlier event for these EQs.
        count: u32,
        /// Whose.
        kind: EqKind,
    },
    /// A send queue executes nothing more until it is reset.
    Stall {
        /// The function.
        function: FunctionName,
        /// The queue's number.
        sqn: u32,
    },
    /// A function logs an error.
    Aer {
        /// The function.
        function: FunctionName,
        /// How bad it is.
        severity: Severity,
    },
    /// The temperature of the chip.
    Temperature {
        /// Degrees Celsius, [`MAX_DEGREES`] at most.
        degrees: u8,
    },
    /// A cable is plugged in, pulled out or refused.
    Module {
        /// The port's number.
        port: u8,
        /// What there is now.
        module: Module,
    },
    /// A vport's context changed.
    VportChange {
        /// The vport's function.
        function: FunctionName,
    },
    /// A command event.
    CommandEvent {
        /// The function.
        function: FunctionName,
        /// The slot that it names, 0 to 31.
        slot: u8,
    },
    /// An event queue overruns.
    EqOverrun {
        /// The function.
        function: FunctionName,
        /// Its number.
        eqn: u32,
    },
    /// The number of functions of a host changed.
    HostFunctions {
        /// The function of the embedded CPU, which is told.
        function: FunctionName,
        /// How many VFs the host has.
        count: u16,
    },
}

impl Event {
    /// The event `name` with these words.
    ///
    /// # Errors
    /// One sentence: no such event, or words that do not fit it.
    pub fn parse(name: &str, words: &[String]) -> Result<Event, String> {
        let Some((_, form, _)) = FORMS.iter().find(|(known, _, _)| *known == name) else {
            let shown: String = name.chars().take(64).collect();
            let names = FORMS.map(|(name, _, _)| name);
            return Err(match super::nearest_name(name, names) {
                Some(near) => format!("there is no event '{shown}'; did you mean '{near}'?"),
                None => format!("there is no event '{shown}': there are {}", names.join(", ")),
            });
        };
        let usage = || format!("the event '{name}' is written '{name} {form}'");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(notice) = notice(name, &words, &usage) {
            return notice;
        }
        let (first, second, option) = match *words.as_slice() {
            [first, second] => (first, second, None),
            [first, second, option] if matches!(name, "health" | "msi-loss") => (first, second, Some(option)),
            _ => return Err(usage()),
        };
        let function = || first.parse::<FunctionName>().map_err(|error| format!("{}: {error}", usage()));
        let choice = |yes: &str, no: &str| match second {
            word if word == yes => Ok(true),
            word if word == no => Ok(false),
            _ => Err(usage()),
        };
        Ok(match name {
            "health" => {
                let report = option.map_or(Ok(false), |word| (word == "report").then_some(true).ok_or_else(usage))?;
                let synd = number(second).and_then(|n| u8::try_from(n).ok()).filter(|n| report || *n != 0);
                let function = if first == "all" { None } else { Some(function()?) };
                Event::Health { function, synd: synd.ok_or_else(usage)?, report }
            }
            "heartbeat" => Event::Heartbeat { function: function()?, on: choice("on", "off")? },
            "link" => {
                let port = first.strip_prefix('p').and_then(|n| n.parse().ok());
                Event::Link { port: port.ok_or_else(usage)?, up: choice("up", "down")? }
            }
            "bus" => Event::Bus { function: function()?, on: choice("on", "off")? },
            "canaries" if second == "forget" => Event::CanariesForget { function: function()? },
            "canaries" => return Err(usage()),
            "pages" => {
                let count = if second == "release-all" { None } else { Some(second.parse().map_err(|_| usage())?) };
                Event::Pages { of: first.parse().map_err(|()| usage())?, count }
            }
            "msi-loss" => {
                let count = number(second).filter(|n| *n <= MAX_LOST_INTERRUPTS);
                let named = |word| EqKind::NAMES.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
                let kind = option.map_or(Some(EqKind::Comp), named);
                Event::MsiLoss { function: function()?, count: count.ok_or_else(usage)?, kind: kind.ok_or_else(usage)? }
            }
            "stall" => {
                let sqn = number(second).filter(|n| *n < 1 << 24);
                Event::Stall { function: function()?, sqn: sqn.ok_or_else(usage)? }
            }
            _ => {
                let severity = match second {
                    "correctable" => Severity::Correctable,
                    "nonfatal" => Severity::NonFatal,
                    "fatal" => Severity::Fatal,
                    _ => return Err(usage()),
                };
                Event::Aer { function: function()?, severity }
            }
        })
    }
}

/// Events that the firmware tells of, and no more. `None`: `name` is another one.
fn notice(name: &str, words: &[&str], usage: &dyn Fn() -> String) -> Option<Result<Event, String>> {
    let function = |word: &str| word.parse::<FunctionName>().map_err(|error| format!("{}: {error}", usage()));
    let small = |word: &str, max: u32| number(word).filter(|n| *n <= max).ok_or_else(usage);
    let event = match (name, words) {
        ("temperature", [degrees]) => {
            small(degrees, MAX_DEGREES.into()).map(|degrees| Event::Temperature { degrees: degrees as u8 })
        }
        ("module", [port, module]) => {
            let port = port.strip_prefix('p').and_then(|n| n.parse().ok()).ok_or_else(usage);
            port.and_then(|port| Ok(Event::Module { port, module: module_of(module)? }))
        }
        ("vport-change", [name]) => function(name).map(|function| Event::VportChange { function }),
        ("command-event", [name, slot]) => {
            function(name).and_then(|function| Ok(Event::CommandEvent { function, slot: small(slot, 31)? as u8 }))
        }
        ("eq-overrun", [name, eqn]) => {
            function(name).and_then(|function| Ok(Event::EqOverrun { function, eqn: small(eqn, 255)? }))
        }
        ("host-functions", [name, count]) => function(name)
            .and_then(|function| Ok(Event::HostFunctions { function, count: small(count, 0xffff)? as u16 })),
        ("temperature" | "module" | "vport-change" | "command-event" | "eq-overrun" | "host-functions", _) => {
            Err(usage())
        }
        _ => return None,
    };
    Some(event)
}

fn module_of(word: &str) -> Result<Module, String> {
    Ok(match word {
        "plugged" => Module::Plugged,
        "unplugged" => Module::Unplugged,
        "disabled" => Module::Disabled,
        error => match MODULE_ERRORS.iter().find(|(name, _)| *name == error) {
            Some((_, number)) => Module::Error(*number),
            None => {
                let names = MODULE_ERRORS.map(|(name, _)| name).join(", ");
                return Err(format!("a module is plugged, unplugged, disabled, or has one of the errors {names}"));
            }
        },
    })
}

/// A number, decimal or with `0x`.
fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Event, String> {
        let words: Vec<String> = text.split(' ').map(str::to_string).collect();
        Event::parse(&words[0], &words[1..])
    }

    #[test]
    fn events_are_read() {
        let function = FunctionName::pf(1);
        for (text, event) in [
            ("health pf1 0x10", Event::Health { function: Some(function), synd: 16, report: false }),
            ("health all 1", Event::Health { function: None, synd: 1, report: false }),
            ("health pf1 0 report", Event::Health { function: Some(function), synd: 0, report: true }),
            ("heartbeat pf1 off", Event::Heartbeat { function, on: false }),
            ("link p3 down", Event::Link { port: 3, up: false }),
            ("bus pf1 on", Event::Bus { function, on: true }),
            ("canaries pf1 forget", Event::CanariesForget { function }),
            ("pages pf1 -5", Event::Pages { of: PagesOf::Function(function), count: Some(-5) }),
            (
                "pages pf1/0x77 536870913",
                Event::Pages { of: PagesOf::Id { pf: function, id: 0x77 }, count: Some(0x2000_0001) },
            ),
            ("pages 3 release-all", Event::Pages { of: PagesOf::Id { pf: FunctionName::pf(0), id: 3 }, count: None }),
            ("msi-loss pf1 5", Event::MsiLoss { function, count: 5, kind: EqKind::Comp }),
            ("msi-loss pf1 1 cmd", Event::MsiLoss { function, count: 1, kind: EqKind::Cmd }),
            ("stall pf1 0x2a", Event::Stall { function, sqn: 42 }),
            ("aer pf1 nonfatal", Event::Aer { function, severity: Severity::NonFatal }),
            ("temperature 110", Event::Temperature { degrees: 110 }),
            ("module p1 unplugged", Event::Module { port: 1, module: Module::Unplugged }),
            ("module p0 bad-cable", Event::Module { port: 0, module: Module::Error(7) }),
            ("vport-change pf1", Event::VportChange { function }),
            ("command-event pf1 31", Event::CommandEvent { function, slot: 31 }),
            ("eq-overrun pf1 0x2", Event::EqOverrun { function, eqn: 2 }),
            ("host-functions pf1 4", Event::HostFunctions { function, count: 4 }),
        ] {
            assert_eq!(parse(text), Ok(event), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_one_sentence_with_the_remedy() {
        for (text, part) in [
            ("helth pf0 1", "did you mean 'health'"),
            ("zzzzzzzzz pf0", "there are health, heartbeat, link"),
            ("health pf0", "'health FUNCTION|all SYND [report]'"),
            ("health pf0 report", "'health FUNCTION|all SYND [report]'"),
            ("health pf0 0", "'health FUNCTION|all SYND [report]'"),
            ("health pf0 256", "'health FUNCTION|all SYND [report]'"),
            ("health eth0 1", "'eth0' is not a function name"),
            ("heartbeat all off", "'all' is not a function name"),
            ("link pf0 up", "'link PORT up|down'"),
            ("link p0 left", "'link PORT up|down'"),
            ("link p0 up report", "'link PORT up|down'"),
            ("bus pf0 off now", "'bus FUNCTION off|on'"),
            ("health pf0 1 reports", "'health FUNCTION|all SYND [report]'"),
            ("msi-loss pf0 4294967295", "'msi-loss FUNCTION N [comp|cmd|async|pages]'"),
            ("msi-loss pf0 1 command", "'msi-loss FUNCTION N [comp|cmd|async|pages]'"),
            ("stall pf0 0x1000000", "'stall FUNCTION SQN'"),
            ("aer pf0 bad", "'aer FUNCTION correctable|nonfatal|fatal'"),
            ("temperature 251", "'temperature DEGREES'"),
            ("temperature 20 30", "'temperature DEGREES'"),
            ("module p0 broken", "has one of the errors power-budget, long-range"),
            ("module pf0 plugged", "'module PORT plugged|unplugged|disabled|ERROR'"),
            ("vport-change p0", "'p0' is not a function name"),
            ("command-event pf0 32", "'command-event FUNCTION SLOT'"),
            ("eq-overrun pf0", "'eq-overrun FUNCTION EQN'"),
            ("host-functions pf0 65536", "'host-functions FUNCTION N'"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
