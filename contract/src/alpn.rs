//! Names of protocols for ALPN (RFC 7301), as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a protocol: `h2`, `http/1.1`, `mqtt` or another of the registry of IANA, or one's own.
///
/// <https://www.iana.org/assignments/tls-extensiontype-values/tls-extensiontype-values.xhtml#alpn-protocol-ids>
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlpnName(String);

/// The longest name, in bytes (RFC 7301, 3.1).
const MOST: usize = 255;

impl AlpnName {
    /// The name as it goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for AlpnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AlpnName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // On the wire it may be any bytes; nobody registered a name that cannot be printed.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if !text.is_empty() && text.len() <= MOST && text.bytes().all(is_plain) {
            return Ok(Self(text));
        }
        Err("a name for ALPN is 1 to 255 printable characters of ASCII, such as `h2` or `mqtt`")
    }
}

impl FromStr for AlpnName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<AlpnName> for String {
    fn from(name: AlpnName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable_and_not_too_long() {
        for name in ["h2", "http/1.1", "acme-tls/1", "x"] {
            assert_eq!(name.parse::<AlpnName>().unwrap().as_bytes(), name.as_bytes());
        }
        let long = "x".repeat(MOST);
        assert!(long.parse::<AlpnName>().is_ok());
        for name in ["", " ", "h2 ", "h2,mqtt", "h\u{e9}", "a\0", &format!("{long}x")] {
            assert!(name.parse::<AlpnName>().is_err(), "{name:?}");
        }
    }
}
