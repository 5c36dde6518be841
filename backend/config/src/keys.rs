//! The tables and values of a card file, with the keys that lead to them, and what can be wrong with them.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest card file that is read, in bytes.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// What is wrong with a card file: one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The file could not be read.
    #[error("cannot read card file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is too long to be a card file.
    #[error("{} is not a card file: it is longer than {MAX_FILE} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("{at}: {message}")]
    Syntax {
        /// Where.
        at: At,
        /// What the TOML reader says.
        message: String,
    },
    /// A key that no card has.
    #[error("{at}: unknown key '{key}'{}", nearest_text(.nearest))]
    UnknownKey {
        /// Where.
        at: At,
        /// The key with the tables around it, for example `firmware.pages.boto`.
        key: String,
        /// The nearest key that would have been right there.
        nearest: Option<String>,
    },
    /// A value that the key cannot have.
    #[error("{at}: {key} = {value}: {expected}")]
    Value {
        /// Where.
        at: At,
        /// The key with the tables around it.
        key: String,
        /// The value as the file has it.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

/// A place in a card file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

fn nearest_text(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(", did you mean '{n}'?")).unwrap_or_default()
}

/// The text of a card file, to turn byte ranges into lines.
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) file: &'a str,
}

impl Source<'_> {
    pub(crate) fn at(&self, span: Range<usize>) -> At {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        At { file: self.file.to_string(), line: 1 + before.iter().filter(|b| **b == b'\n').count() }
    }
}

/// One table of the file with the keys that lead to it.
pub(crate) struct Table<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) path: String,
    pub(crate) inner: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Refuses every key that is not in `known`; of several, the first in the file.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), CardError> {
        let unknown = self.inner.keys().filter(|k| !known.contains(&k.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|k| k.span().start) else { return Ok(()) };
        let name = key.get_ref().as_ref();
        let near = |k: &&str| strsim::damerau_levenshtein(&name.chars().take(64).collect::<String>(), k);
        let nearest = known.iter().copied().min_by_key(near).filter(|k| near(k) <= (k.len() / 2).max(1));
        Err(CardError::UnknownKey {
            at: self.source.at(key.span()),
            key: self.join(name),
            nearest: nearest.map(|n| self.join(n)),
        })
    }

    pub(crate) fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        let value = self.inner.get(key)?;
        Some(Value { source: self.source, path: self.join(key), inner: value })
    }

    pub(crate) fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, CardError> {
        self.get(key).map(|v| v.number(range)).transpose()
    }
}

/// One value of the file with the keys that lead to it.
pub(crate) struct Value<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) path: String,
    pub(crate) inner: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(crate) fn wrong(&self, expected: impl Into<String>) -> CardError {
        let span = self.inner.span();
        let written = self.source.text.get(span.clone()).unwrap_or("?");
        let mut value: String = written.chars().take_while(|c| *c != '\n').take(60).collect();
        if value.len() < written.len() {
            value.push('…');
        }
        CardError::Value { at: self.source.at(span), key: self.path.clone(), value, expected: expected.into() }
    }

    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> Result<u64, CardError> {
        let expected = || format!("a number from {} to {} is needed", range.start(), range.end());
        let DeValue::Integer(integer) = self.inner.get_ref() else { return Err(self.wrong(expected())) };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|n| range.contains(n)).ok_or_else(|| self.wrong(expected()))
    }

    pub(crate) fn truth(&self) -> Result<bool, CardError> {
        match self.inner.get_ref() {
            DeValue::Boolean(truth) => Ok(*truth),
            _ => Err(self.wrong("true or false is needed")),
        }
    }

    pub(crate) fn text(&self) -> Result<String, CardError> {
        match self.inner.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.wrong("a text in quotes is needed")),
        }
    }

    pub(crate) fn text_where(&self, expected: &str, good: impl Fn(&str) -> bool) -> Result<String, CardError> {
        let text = self.text()?;
        if good(&text) { Ok(text) } else { Err(self.wrong(expected)) }
    }

    pub(crate) fn parsed<T: std::str::FromStr>(&self, expected: &str) -> Result<T, CardError> {
        self.text()?.parse().map_err(|_| self.wrong(expected))
    }

    pub(crate) fn items(&self, expected: &str) -> Result<Vec<Value<'a>>, CardError> {
        let DeValue::Array(items) = self.inner.get_ref() else { return Err(self.wrong(expected)) };
        let item = |(n, inner)| Value { source: self.source, path: format!("{}[{n}]", self.path), inner };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(crate) fn table(&self) -> Result<Table<'a>, CardError> {
        match self.inner.get_ref() {
            DeValue::Table(inner) => Ok(Table { source: self.source, path: self.path.clone(), inner }),
            _ => Err(self.wrong("a table is needed")),
        }
    }
}
