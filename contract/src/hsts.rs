//! Strict Transport Security (RFC 6797): what browsers are told, over TLS, so that they come over TLS
//! the next time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value of `Strict-Transport-Security`, written in one way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hsts {
    max_age: u64,
    include_subdomains: bool,
    preload: bool,
}

/// What is wrong with a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HstsError {
    /// It does not say for how long.
    NoMaxAge,
    /// The time is no number of seconds.
    BadMaxAge,
    /// There is no such directive, or it takes no value.
    Unknown(String),
    /// A directive stands there twice.
    Twice(&'static str),
    /// The lists of browsers take no such host (<https://hstspreload.org/#submission-requirements>).
    NotForPreload,
}

/// A year, which the lists of browsers want.
const YEAR: u64 = 31_536_000;

/// Longer times mean nothing and overflow in some browsers.
const MOST: u64 = 100 * YEAR;

impl fmt::Display for HstsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMaxAge => f.write_str("`max-age` is missing; write `max-age=31536000`"),
            Self::BadMaxAge => {
                write!(f, "`max-age` is a number of seconds up to {MOST}: `max-age=31536000`")
            }
            Self::Unknown(word) => write!(
                f,
                "`{}` is unknown; there are `max-age=SECONDS`, `includeSubDomains` and `preload`",
                crate::text::escape(word)
            ),
            Self::Twice(name) => write!(f, "`{name}` stands there twice"),
            Self::NotForPreload => f.write_str(
                "`preload` needs `includeSubDomains` and a `max-age` of a year, 31536000",
            ),
        }
    }
}

impl std::error::Error for HstsError {}

impl FromStr for Hsts {
    type Err = HstsError;

    fn from_str(text: &str) -> Result<Self, HstsError> {
        let mut max_age = None;
        let mut include_subdomains = false;
        let mut preload = false;
        for directive in text.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (directive, None),
            };
            let was_there = match (name.to_ascii_lowercase().as_str(), value) {
                ("max-age", Some(value)) => {
                    let plain = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
                    let value = plain.unwrap_or(value);
                    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
                    let seconds = value.parse().ok().filter(|it| is_number && *it <= MOST);
                    let seconds = seconds.ok_or(HstsError::BadMaxAge)?;
                    max_age.replace(seconds).map(|_first| "max-age")
                }
                ("includesubdomains", None) => {
                    std::mem::replace(&mut include_subdomains, true).then_some("includeSubDomains")
                }
                ("preload", None) => std::mem::replace(&mut preload, true).then_some("preload"),
                ("max-age", None) => return Err(HstsError::BadMaxAge),
                _ => return Err(HstsError::Unknown(directive.to_owned())),
            };
            if let Some(name) = was_there {
                return Err(HstsError::Twice(name));
            }
        }
        let max_age = max_age.ok_or(HstsError::NoMaxAge)?;
        if preload && !(include_subdomains && max_age >= YEAR) {
            return Err(HstsError::NotForPreload);
        }
        Ok(Self { max_age, include_subdomains, preload })
    }
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_age, include_subdomains, preload } = self;
        write!(f, "max-age={max_age}")?;
        if *include_subdomains {
            f.write_str("; includeSubDomains")?;
        }
        if *preload {
            f.write_str("; preload")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Hsts {
    type Error = HstsError;

    fn try_from(text: String) -> Result<Self, HstsError> {
        text.parse()
    }
}

impl From<Hsts> for String {
    fn from(hsts: Hsts) -> Self {
        hsts.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_are_told_is_written_in_one_way() {
        for (text, written) in [
            ("max-age=31536000", "max-age=31536000"),
            ("max-age=0", "max-age=0"),
            ("MAX-AGE=\"60\" ;", "max-age=60"),
            ("includesubdomains;max-age=60", "max-age=60; includeSubDomains"),
            (
                "max-age=63072000; includeSubDomains; preload",
                "max-age=63072000; includeSubDomains; preload",
            ),
        ] {
            assert_eq!(text.parse::<Hsts>().map(|it| it.to_string()), Ok(written.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_told_apart() {
        for (text, expected) in [
            ("", HstsError::NoMaxAge),
            ("includeSubDomains", HstsError::NoMaxAge),
            ("max-age", HstsError::BadMaxAge),
            ("max-age=", HstsError::BadMaxAge),
            ("max-age=+1", HstsError::BadMaxAge),
            ("max-age=1y", HstsError::BadMaxAge),
            ("max-age=99999999999999999999", HstsError::BadMaxAge),
            ("max-age=1; max-age=2", HstsError::Twice("max-age")),
            ("max-age=1; preload; preload", HstsError::Twice("preload")),
            ("max-age=1; subdomains", HstsError::Unknown("subdomains".to_owned())),
            ("max-age=1; preload=1", HstsError::Unknown("preload=1".to_owned())),
            ("max-age=1\r\nX: y", HstsError::BadMaxAge),
            ("max-age=31536000; preload", HstsError::NotForPreload),
            ("max-age=60; includeSubDomains; preload", HstsError::NotForPreload),
        ] {
            assert_eq!(text.parse::<Hsts>(), Err(expected), "{text}");
        }
    }
}
