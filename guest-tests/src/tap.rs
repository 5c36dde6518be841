//! What a scenario prints: TAP 13 (testanything.org/tap-version-13-specification.html), as far as scenarios use it.

/// One test point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    /// Its number, as printed or counted.
    pub(crate) number: u64,
    /// What it shows.
    pub(crate) what: String,
    /// Whether it holds.
    pub(crate) ok: bool,
    /// It is known not to hold, and why (`# TODO`).
    pub(crate) todo: Option<String>,
    /// It was not tried, and why (`# SKIP`).
    pub(crate) skip: Option<String>,
    /// The comments that follow it, the first few.
    pub(crate) comments: Vec<String>,
}

/// What is understood of a scenario's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tap {
    /// The test points, in order.
    pub(crate) points: Vec<Point>,
    /// How many there should be.
    pub(crate) plan: Option<u64>,
    /// Why nothing was tried (`1..0 # SKIP`).
    pub(crate) skipped: Option<String>,
    /// Why the scenario gave up (`Bail out!`).
    pub(crate) bailed: Option<String>,
}

/// Test points of one scenario that are remembered: a script gone wild must not fill our memory.
const MAX_POINTS: usize = 20_000;
/// Comments that are kept of each point.
const MAX_COMMENTS: usize = 20;

impl Point {
    /// One of the runner's own that is known not to hold.
    pub(crate) fn known(what: String, ok: bool) -> Point {
        Point { number: 0, what, ok, todo: Some("known".into()), skip: None, comments: Vec::new() }
    }
}

impl Tap {
    /// Understands a whole output. Lines that are not TAP are skipped, as a TAP reader does.
    pub(crate) fn parse(text: &str) -> Tap {
        let mut tap = Tap::default();
        for line in text.lines() {
            let line = line.trim_end();
            if let Some(rest) = word(line, "ok").or_else(|| word(line, "not ok")) {
                if tap.points.len() < MAX_POINTS {
                    tap.point(rest, line.starts_with("ok"));
                }
            } else if let Some(plan) = line.strip_prefix("1..") {
                let (count, directive) = plan.split_once('#').map_or((plan, None), |(count, rest)| (count, Some(rest)));
                tap.plan = count.trim().parse().ok().or(tap.plan);
                if tap.plan == Some(0) {
                    let why = directive.and_then(|text| named(text, "skip"));
                    tap.skipped = Some(why.unwrap_or_default());
                }
            } else if let Some(why) = line.strip_prefix("Bail out!") {
                tap.bailed = Some(why.trim().to_string());
            } else if let Some(comment) = line.strip_prefix('#')
                && let Some(last) = tap.points.last_mut()
                && last.comments.len() < MAX_COMMENTS
            {
                last.comments.push(comment.trim().to_string());
            }
        }
        tap
    }

    fn point(&mut self, rest: &str, ok: bool) {
        let rest = rest.trim_start();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = rest[..digits].parse().unwrap_or(self.points.len() as u64 + 1);
        let rest = rest[digits..].trim_start().trim_start_matches('-').trim_start();
        // A directive is the last thing of the line; a '#' in the text itself is not one.
        let (what, directive) = match rest.rfind(" # ") {
            Some(at) if named(&rest[at + 3..], "todo").or(named(&rest[at + 3..], "skip")).is_some() => {
                (&rest[..at], &rest[at + 3..])
            }
            _ => (rest, ""),
        };
        self.points.push(Point {
            number,
            what: what.trim_end().to_string(),
            ok,
            todo: named(directive, "todo"),
            skip: named(directive, "skip"),
            comments: Vec::new(),
        });
    }

    /// The first point that does not hold and should.
    pub(crate) fn first_failure(&self) -> Option<&Point> {
        self.points.iter().find(|point| !point.ok && point.todo.is_none())
    }

    /// Points that are known not to hold and hold.
    pub(crate) fn unexpected_passes(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.ok && point.todo.is_some())
    }

    /// What is wrong with it, in one line; `None` if everything holds. `status` is the script's.
    pub(crate) fn wrong(&self, status: u8) -> Option<String> {
        if let Some(why) = &self.bailed {
            return Some(format!("it gave up: {why}"));
        }
        if let Some(point) = self.first_failure() {
            let shown = point.comments.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
            let shown = if shown.is_empty() { shown } else { format!(" ({shown})") };
            return Some(format!("not ok {} - {}{shown}", point.number, point.what));
        }
        if self.skipped.is_some() {
            return (status != 0).then(|| format!("it says SKIP and ends with {status}"));
        }
        match self.plan {
            None if self.points.is_empty() => Some(format!("it printed no test point and ended with {status}")),
            None => Some(format!("it ended with {status} before its plan, after {}", self.last())),
            Some(plan) if plan != self.points.len() as u64 => {
                Some(format!("{} test points of {plan} came, the last was {}", self.points.len(), self.last()))
            }
            Some(_) if status != 0 => Some(format!("every test point holds and it ended with {status}")),
            Some(_) => None,
        }
    }

    /// The last point, for sentences.
    pub(crate) fn last(&self) -> String {
        self.points
            .last()
            .map_or("the start".to_string(), |point| format!("test point {} '{}'", point.number, point.what))
    }
}

/// What follows `name` at the start of `line`.
fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// What follows a directive's name, in any case.
fn named(text: &str, name: &str) -> Option<String> {
    let text = text.trim_start();
    let head = text.get(..name.len())?;
    let rest = &text[name.len()..];
    let ends = rest.is_empty() || rest.starts_with(|c: char| !c.is_alphanumeric());
    (head.eq_ignore_ascii_case(name) && ends).then(|| rest.trim_start_matches(':').trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_comments_and_plan() {
        let tap = Tap::parse(
            "TAP version 13\nok 1 - a # 1 thing\nnoise\nnot ok 2 - b\n# why\n# more\nok 3 - c # TODO later\n1..3\n",
        );
        assert_eq!(tap.points.len(), 3);
        assert_eq!((tap.points[0].what.as_str(), tap.points[0].todo.as_deref()), ("a # 1 thing", None));
        assert_eq!(tap.points[1].comments, ["why", "more"]);
        assert_eq!(tap.unexpected_passes().count(), 1);
        assert_eq!(tap.wrong(1).unwrap(), "not ok 2 - b (why more)");
    }

    #[test]
    fn what_is_expected_to_fail_is_no_failure() {
        let tap = Tap::parse("not ok 1 - x # TODO the kernel forgets it\n1..1\n");
        assert_eq!((tap.wrong(0), tap.points[0].todo.as_deref()), (None, Some("the kernel forgets it")));
    }

    #[test]
    fn an_output_that_is_cut_short_is_wrong() {
        assert!(Tap::parse("").wrong(1).unwrap().contains("no test point"));
        assert!(Tap::parse("ok 1 - a\n").wrong(0).unwrap().contains("before its plan, after test point 1 'a'"));
        assert!(Tap::parse("ok 1 - a\n1..2\n").wrong(0).unwrap().contains("1 test points of 2"));
        assert!(Tap::parse("ok 1 - a\n1..1\n").wrong(3).unwrap().contains("ended with 3"));
        assert_eq!(Tap::parse("1..1\nok 1\n").wrong(0), None);
        assert!(Tap::parse("ok 1\nBail out! no card\n").wrong(0).unwrap().contains("no card"));
    }

    #[test]
    fn a_skip_says_why() {
        let tap = Tap::parse("TAP version 13\n1..0 # SKIP no VFs here\n");
        assert_eq!((tap.skipped.as_deref(), tap.wrong(0)), (Some("no VFs here"), None));
        assert_eq!(Tap::parse("ok 1 - a # skip not today\n1..1\n").points[0].skip.as_deref(), Some("not today"));
    }

    #[test]
    fn odd_bytes_are_no_trouble() {
        for text in
            ["ok", "not ok", "ok é", "1..99999999999999999999999", "ok 99999999999999999999999999 x", "# é", "ok 1 # é"]
        {
            Tap::parse(text).wrong(0);
        }
    }
}
