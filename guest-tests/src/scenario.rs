//! What a scenario says of itself: the comments at the head of its script.

use std::time::Duration;

use mlx5emu_config::FunctionName;

/// When a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// With every change.
    Ci,
    /// Before a release, and at night.
    Full,
}

/// A machine of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// What it has of the card; a PF stands for its VFs too.
    pub functions: Vec<FunctionName>,
}

/// The head of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it shows, in one line.
    pub shows: String,
    /// When it is run.
    pub tier: Tier,
    /// How long it may take, before `MLX5EMU_TIMEOUT_SCALE`.
    pub timeout: Duration,
    /// The card file that it needs, line by line; empty for the default card.
    pub card: String,
    /// What the kernel and the runner must have; `src/needs.rs` reads them.
    pub needs: Vec<String>,
    /// A machine of its own, freshly booted.
    pub fresh: bool,
    /// Its machines, if it says so; the script runs in the first.
    pub vms: Vec<Vm>,
    /// The guest's kernel dies, and this (a regular expression) is what its console must say then.
    pub dies: Option<String>,
    /// Its kernel is known to die with this (a regular expression), which is no failure; one that is repaired lives, and is
    /// judged by its points.
    pub known_death: Option<String>,
    /// Objects that the driver is known to leave in a function when it tears that down, at most so many of a kind.
    pub leaves: Vec<(u64, String)>,
    /// Further kernel parameters.
    pub append: Vec<String>,
}

/// How long a scenario may ask for.
const LONGEST: u64 = 24 * 3600;
/// The most machines of a scenario.
const MAX_VMS: usize = 8;

impl Header {
    /// Reads the head of `script`: the comments before its first command.
    ///
    /// # Errors
    /// A sentence about the line that is wrong or missing.
    pub fn parse(script: &str) -> Result<Header, String> {
        let mut header = Header {
            shows: String::new(),
            tier: Tier::Ci,
            timeout: Duration::ZERO,
            card: String::new(),
            needs: Vec::new(),
            fresh: false,
            vms: Vec::new(),
            dies: None,
            known_death: None,
            leaves: Vec::new(),
            append: Vec::new(),
        };
        let mut tier = None;
        for line in script.lines().take_while(|line| line.is_empty() || line.starts_with('#')) {
            let Some(text) = line.strip_prefix("# ") else { continue };
            if text.trim() == "fresh" {
                header.fresh = true;
                continue;
            }
            let Some((key, value)) = text.split_once(':') else { continue };
            let value = value.trim();
            match key {
                "shows" => header.shows = value.to_string(),
                "tier" => {
                    tier = Some(match value {
                        "ci" => Tier::Ci,
                        "full" => Tier::Full,
                        _ => return Err(format!("the header says 'tier: {value}': it must be ci or full")),
                    });
                }
                "timeout" => match value.parse() {
                    Ok(seconds @ 1..=LONGEST) => header.timeout = Duration::from_secs(seconds),
                    _ => {
                        return Err(format!(
                            "the header says 'timeout: {value}': it must be seconds, at most {LONGEST}"
                        ));
                    }
                },
                "card" => header.card += &format!("{value}\n"),
                "needs" => header.needs.extend(value.split(',').map(|need| need.trim().to_string())),
                "fresh" => header.fresh = !matches!(value, "no" | "false"),
                "vms" => header.vms = machines(value)?,
                "dies" => header.dies = Some(value.to_string()),
                "known-death" => header.known_death = Some(value.to_string()),
                "leaves" => header.leaves.push(leaves(value)?),
                "append" => header.append.push(value.to_string()),
                _ => {}
            }
        }
        header.tier = tier.ok_or("the header has no 'tier: ci' or 'tier: full'")?;
        if header.timeout.is_zero() {
            return Err("the header has no 'timeout: SECONDS'".into());
        }
        if header.shows.is_empty() {
            return Err("the header has no 'shows: WHAT IT SHOWS'".into());
        }
        header.needs.retain(|need| !need.is_empty());
        Ok(header)
    }

    /// Whether it needs a machine of its own.
    pub fn alone(&self) -> bool {
        self.fresh || self.dies.is_some() || self.known_death.is_some() || !self.vms.is_empty()
    }
}

/// `COUNT KIND`, as the card calls it.
fn leaves(value: &str) -> Result<(u64, String), String> {
    let parsed = value.split_once(' ').and_then(|(count, kind)| Some((count.parse().ok()?, kind.trim().to_string())));
    parsed
        .ok_or_else(|| format!("the header says 'leaves: {value}': it must be COUNT KIND, for example 1 modify header"))
}

/// `NAME` or `NAME=FUNCTION,…`; without functions, the n-th machine has the n-th PF.
fn machines(value: &str) -> Result<Vec<Vm>, String> {
    let wrong = |what: &str| Err(format!("the header says 'vms: {value}': {what}"));
    let mut all: Vec<Vm> = Vec::new();
    for (n, word) in value.split_whitespace().take(MAX_VMS + 1).enumerate() {
        let (name, functions) = match word.split_once('=') {
            None => (word, Ok(vec![FunctionName::Pf(n as u8)])),
            Some((name, list)) => (name, list.split(',').map(str::parse).collect()),
        };
        let Ok(functions) = functions else {
            return wrong(&format!("'{word}' must be NAME=FUNCTION,…, for example a=pf0,pf1"));
        };
        if name.is_empty() || name.len() > 16 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return wrong("names have 1 to 16 letters and digits");
        }
        if all.iter().any(|vm| vm.name == name) {
            return wrong(&format!("there are two machines '{name}'"));
        }
        all.push(Vm { name: name.to_string(), functions });
    }
    if (1..=MAX_VMS).contains(&all.len()) { Ok(all) } else { wrong(&format!("it must be 1 to {MAX_VMS} machines")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "#!/bin/sh\n# shows: that it works\n# tier: ci\n# timeout: 90\n";

    #[test]
    fn every_line_of_a_header_is_understood() {
        let text = format!(
            "{HEAD}# card: vfs = 2\n# card: ports = 1\n# needs: CONFIG_KASAN, kernel >= 6.12\n# vms: a b\n# fresh\n\
             # dies: Kernel panic\n# leaves: 2 flow table\n# append: nosmp\n# broken: something: else\n\nexit 0\n# tier: full\n"
        );
        let header = Header::parse(&text).unwrap();
        assert_eq!((header.shows.as_str(), header.tier, header.timeout.as_secs()), ("that it works", Tier::Ci, 90));
        assert_eq!(header.card, "vfs = 2\nports = 1\n");
        assert_eq!(header.needs, ["CONFIG_KASAN", "kernel >= 6.12"]);
        assert_eq!((header.vms.len(), header.fresh, header.alone()), (2, true, true));
        assert_eq!(
            (header.dies.as_deref(), header.append.as_slice()),
            (Some("Kernel panic"), &["nosmp".to_string()][..])
        );
        assert_eq!(header.leaves, [(2, "flow table".to_string())]);
        assert!(!Header::parse(HEAD).unwrap().alone());
    }

    #[test]
    fn machines_have_what_they_are_given_or_a_pf_each() {
        let header = Header::parse(&format!("{HEAD}# vms: a b=pf0vf1,pf2 c\n")).unwrap();
        let said: Vec<_> = header.vms.iter().map(|vm| (vm.name.as_str(), vm.functions.clone())).collect();
        let vf = FunctionName::Vf { pf: 0, vf: 1 };
        let pf = FunctionName::pf;
        assert_eq!(said, [("a", vec![pf(0)]), ("b", vec![vf, pf(2)]), ("c", vec![pf(2)])]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, word) in [
            ("# tier: sometimes\n", "ci or full"),
            ("# timeout: soon\n", "seconds"),
            ("# timeout: 0\n", "seconds"),
            ("# vms: a a\n", "two machines 'a'"),
            ("# vms: ../x\n", "letters and digits"),
            ("# vms: a b=pf\n", "a=pf0,pf1"),
            ("# vms:\n", "1 to 8"),
            ("# vms: a b c d e f g h i\n", "1 to 8"),
        ] {
            let error = Header::parse(&format!("{HEAD}{line}")).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
        for (text, word) in [("", "tier"), ("# tier: ci\n", "timeout"), ("# tier: ci\n# timeout: 1\n", "shows")] {
            assert!(Header::parse(text).unwrap_err().contains(word), "{text}");
        }
    }
}
