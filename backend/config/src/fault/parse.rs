//! From a line to a rule. Every error is one sentence that names the word and offers the nearest.

use super::forms::{EVERYWHERE, FORMS, Form};
use super::{Action, FaultKind, FaultRule, MAX_DELAY_NS, MAX_NAME, MAX_RULE, Occasions, Stage, good_name};
use crate::control::nearest_name;

/// Command slots of a function.
const SLOTS: u64 = 32;
/// Units of a delay with their nanoseconds.
const UNITS: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
const EXAMPLE: &str = "cmd op=CREATE_QP nth=1 => status=BAD_RES_STATE";

impl FaultRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// One sentence: what is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<FaultRule, String> {
        if text.len() > MAX_RULE {
            return Err(format!("a rule has at most {MAX_RULE} bytes, this one has {}", text.len()));
        }
        if let Some(c) = text.chars().find(|c| c.is_control() && !c.is_ascii_whitespace()) {
            return Err(format!("a rule cannot have the character {c:?}"));
        }
        let Some((left, right)) = text.split_once("=>") else {
            return Err(format!("a rule is written [NAME:] KIND MATCH… => ACTION…, for example '{EXAMPLE}'"));
        };
        let (name, left) = named(left)?;
        let mut words = left.split_whitespace();
        let kind = kind(words.next())?;
        let form = Form::of(kind);
        let mut rule = FaultRule {
            name,
            kind,
            function: None,
            matches: Vec::new(),
            occasions: Occasions { nth: 0, every: 0, chance: None, times: Some(1) },
            stage: None,
            actions: Vec::new(),
            text: one_blank(left) + " => " + &one_blank(right),
        };
        let mut seen = Vec::new();
        for word in words {
            rule.take_match(&form, word, &mut seen)?;
        }
        seen.clear();
        for word in right.split_whitespace() {
            rule.take_action(&form, word, &mut seen)?;
        }
        rule.settle()
    }

    fn take_match<'a>(&mut self, form: &Form, word: &'a str, seen: &mut Vec<&'a str>) -> Result<(), String> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let kind = form.kind;
        let known = || EVERYWHERE.iter().chain(form.matches).map(|(key, _)| *key);
        let field = form.fields.is_some_and(|head| key.strip_prefix(head).is_some_and(|rest| !rest.is_empty()));
        if !field && !known().any(|known| known == key) {
            let mut names: Vec<String> = known().map(|name| format!("{name}=")).collect();
            names.extend(form.fields.map(|head| format!("{head}FIELD=")));
            return Err(unknown(&format!("{kind} rules match no"), key, known(), &names));
        }
        once(key, seen)?;
        if value.is_empty() {
            let what = EVERYWHERE.iter().chain(form.matches).find(|(known, _)| *known == key);
            return Err(format!("'{key}' has no value: write {key}={}", what.map_or("VALUE", |(_, what)| what)));
        }
        match key {
            "fn" => self.function = Some(value.parse().map_err(|error| format!("fn={value}: {error}"))?),
            "nth" => self.occasions.nth = count(key, value)?,
            "every" => self.occasions.every = count(key, value)?,
            "p" => self.occasions.chance = Some(chance(value)?),
            _ => self.matches.push((key.to_string(), value.to_string())),
        }
        Ok(())
    }

    fn take_action<'a>(&mut self, form: &Form, word: &'a str, seen: &mut Vec<&'a str>) -> Result<(), String> {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let wanted = match value {
            _ if key.len() > 4 && key.starts_with("out.") => "out.".to_string(),
            Some(_) => format!("{key}="),
            None => key.to_string(),
        };
        if !form.has_action(&wanted) {
            let bare = key.trim_end_matches('=');
            let fits = form.actions.iter().find(|a| **a != "out." && a.trim_end_matches('=') == bare);
            return Err(match (fits, value) {
                (Some(action), None) if action.ends_with('=') => format!("'{key}' has no value: write {key}=VALUE"),
                (Some(_), Some(_)) => format!("'{key}' has no value of its own: write {key}"),
                _ => {
                    let names = form.actions.map_names();
                    let near = form.actions.iter().map(|action| action.trim_end_matches('='));
                    unknown(&format!("{} rules have no action", form.kind), key, near, &names)
                }
            });
        }
        once(key, seen)?;
        let value = value.unwrap_or("");
        if value.is_empty() && wanted.ends_with(['=', '.']) {
            return Err(format!("'{key}' has no value: write {key}=VALUE"));
        }
        let text = value.to_string();
        self.actions.push(match key {
            "before" | "after" => {
                if self.stage.is_some() {
                    return Err("a rule acts 'before' or 'after', not both".into());
                }
                self.stage = Some(if key == "before" { Stage::Before } else { Stage::After });
                return Ok(());
            }
            "times" => {
                self.occasions.times = if value == "all" { None } else { Some(count(key, value)?) };
                return Ok(());
            }
            "status" => Action::Status(text),
            "syndrome" => Action::Syndrome(text),
            "delivery" => Action::Delivery(text),
            "error" => Action::Error(text),
            "delay" => Action::Delay(time(value)?),
            "idle-slot" => Action::IdleSlot(slot(value)?),
            "drop" => Action::Drop,
            "hold" => Action::Hold,
            "twice" => Action::Twice,
            "hang" => Action::Hang,
            "report" => Action::Report,
            path => Action::Field { path: path.to_string(), value: text },
        });
        Ok(())
    }

    /// What does not go together, and what follows from what was said.
    fn settle(mut self) -> Result<FaultRule, String> {
        if self.actions.is_empty() {
            let actions = Form::of(self.kind).actions.map_names().join(", ");
            return Err(format!("the rule does nothing: after '=>' write what happens, of {actions}"));
        }
        let has = |wanted: fn(&Action) -> bool| self.actions.iter().any(wanted);
        let drop = has(|a| matches!(a, Action::Drop));
        let hang = has(|a| matches!(a, Action::Hang));
        let hold = has(|a| matches!(a, Action::Hold));
        let delay = has(|a| matches!(a, Action::Delay(_)));
        let answer = has(|a| matches!(a, Action::Status(_) | Action::Delivery(_) | Action::Field { .. }));
        let error = has(|a| matches!(a, Action::Status(_) | Action::Syndrome(_) | Action::Error(_)));
        let twice = has(|a| matches!(a, Action::Twice | Action::IdleSlot(_)));
        let clash = |a: bool, b: bool, text: &str| if a && b { Err(text.to_string()) } else { Ok(()) };
        clash(hold, delay, "'hold' and 'delay' do not go together: one ends with a release, the other by itself")?;
        clash(drop, hang, "'drop' and 'hang' do not go together: what hangs is lost as well")?;
        clash(
            drop || hang,
            answer || error,
            "what is dropped or hangs gets no answer: leave the one or the other out",
        )?;
        clash(drop || hang, twice, "what is dropped or hangs is not announced: leave the one or the other out")?;
        clash(
            hang,
            hold || delay,
            "'hang' ends with a reset, 'hold' and 'delay' sooner: leave the one or the other out",
        )?;
        match self.kind {
            FaultKind::Cmd => {
                let syndrome = has(|a| matches!(a, Action::Syndrome(_)));
                let status = has(|a| matches!(a, Action::Status(_)));
                clash(syndrome, !status, "a syndrome says more of a status: write status=STATUS too")?;
                let by_field = self.matches.iter().find(|(key, _)| key.starts_with("in."));
                let by_field = by_field.map(|(key, _)| key.as_str()).or_else(|| self.actions.iter().find_map(field));
                if let Some(path) = by_field.filter(|_| self.matched("op").is_none()) {
                    return Err(format!("'{path}' is a field of one command: write op=COMMAND too"));
                }
            }
            FaultKind::Event => {
                let by_field = self.matches.iter().find(|(key, _)| key.starts_with("data."));
                if let Some((path, _)) = by_field.filter(|_| self.matched("type").is_none()) {
                    return Err(format!("'{path}' is a field of one type of event: write type=EVENT too"));
                }
            }
            FaultKind::Packet if self.function.is_some() == self.matched("port").is_some() => {
                return Err(
                    "a packet rule is about one place: write port=p0, or fn=pf0 for that function's vport".into()
                );
            }
            FaultKind::Health => {
                let (report, synd) = (has(|a| matches!(a, Action::Report)), error);
                clash(report, !synd, "'report' says how a syndrome is told: write syndrome=SYND too")?;
            }
            _ => {}
        }
        self.occasions.every = if self.occasions.every == 0 { 1 } else { self.occasions.every };
        if self.occasions.nth == 0 {
            // Every third: the third, the sixth …
            self.occasions.nth = self.occasions.every;
        }
        Ok(self)
    }
}

trait ActionNames {
    fn map_names(&self) -> Vec<String>;
}

impl ActionNames for &[&str] {
    fn map_names(&self) -> Vec<String> {
        self.iter()
            .map(|action| if *action == "out." { "out.FIELD=".to_string() } else { (*action).to_string() })
            .collect()
    }
}

fn field(action: &Action) -> Option<&str> {
    if let Action::Field { path, .. } = action { Some(path) } else { None }
}

/// `NAME:` before the kind, and what comes after it.
fn named(left: &str) -> Result<(Option<String>, &str), String> {
    let first = left.split_whitespace().next().unwrap_or_default();
    let Some((name, _)) = first.split_once(':') else { return Ok((None, left)) };
    if !good_name(name) {
        return Err(format!(
            "'{}' cannot be the name of a rule: 1 to {MAX_NAME} letters, digits, '-' and '_', a letter first",
            shown(name)
        ));
    }
    Ok((Some(name.to_string()), left.split_once(':').map_or("", |(_, rest)| rest)))
}

fn kind(word: Option<&str>) -> Result<FaultKind, String> {
    let names = FORMS.map(|form| form.kind.word());
    let Some(word) = word else {
        return Err(format!("the rule does not say what it is about: begin with one of {}", names.join(", ")));
    };
    let found = FaultKind::ALL.into_iter().find(|kind| kind.word() == word);
    found.ok_or_else(|| unknown("there is no kind of rule", word, names, &names.map(str::to_string)))
}

/// `WHAT 'GIVEN'; did you mean …`.
fn unknown<'a>(what: &str, given: &str, known: impl IntoIterator<Item = &'a str>, names: &[String]) -> String {
    match nearest_name(given, known) {
        Some(near) => format!("{what} '{}'; did you mean '{near}'?", shown(given)),
        None => format!("{what} '{}': there are {}", shown(given), names.join(", ")),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn once<'a>(key: &'a str, seen: &mut Vec<&'a str>) -> Result<(), String> {
    if seen.contains(&key) {
        return Err(format!("'{}' stands twice", shown(key)));
    }
    seen.push(key);
    Ok(())
}

fn count(key: &str, value: &str) -> Result<u64, String> {
    let number = value.parse().ok().filter(|n| *n >= 1);
    number.ok_or_else(|| {
        let all = if key == "times" { " or 'all'" } else { "" };
        format!("{key}={}: write a whole number from 1 on{all}", shown(value))
    })
}

fn chance(value: &str) -> Result<(u32, u32), String> {
    let parts = value.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let good = parts.filter(|(a, b): &(u32, u32)| *a >= 1 && a <= b);
    good.ok_or_else(|| format!("p={}: write a share as A/B, for example 1/100", shown(value)))
}

fn slot(value: &str) -> Result<u8, String> {
    let number = value.parse::<u64>().ok().filter(|n| *n < SLOTS);
    number.map(|n| n as u8).ok_or_else(|| format!("idle-slot={}: write a slot from 0 to {}", shown(value), SLOTS - 1))
}

fn time(value: &str) -> Result<u64, String> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ns)| *ns);
    let ns = unit.and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit));
    ns.filter(|ns| (1..=MAX_DELAY_NS).contains(ns))
        .ok_or_else(|| format!("delay={}: write a time like 50us, 20ms or 3s, ten minutes at most", shown(value)))
}

fn one_blank(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
