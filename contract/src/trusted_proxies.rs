//! Whose forwarding headers are believed.

use std::net::IpAddr;

use crate::client_policy::{AllowedClients, ClientIdentity, ClientPattern};
use crate::text::escape;

/// The word that stands for every client which presented a good certificate.
const ALLOWED_CLIENTS: &str = "allowed-clients";

/// The proxies in front of us that say truthfully whom they speak for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrustedProxies {
    all_verified: bool,
    clients: AllowedClients,
    networks: Vec<Network>,
}

/// A range of addresses (RFC 4632).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Whether this peer's forwarding headers are believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust {
    /// They are kept and extended.
    Trusted,
    /// They are taken out.
    Untrusted,
}

impl TrustedProxies {
    /// Reads client patterns, address ranges and the word `allowed-clients`.
    ///
    /// # Errors
    /// What is wrong with each entry, all at once.
    pub fn from_entries(entries: &[String]) -> Result<Self, Vec<String>> {
        let mut trusted = Self::default();
        let mut patterns = Vec::new();
        let mut errors = Vec::new();
        for entry in entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()) {
            match Entry::read(entry) {
                Ok(Entry::AllVerified) => trusted.all_verified = true,
                Ok(Entry::Network(network)) => trusted.networks.push(network),
                Ok(Entry::Pattern) => patterns.push(entry),
                Err(error) => errors.push(error),
            }
        }
        match AllowedClients::from_entries(patterns) {
            Ok(clients) => trusted.clients = clients,
            Err(wrong) => errors.extend(wrong.iter().map(ToString::to_string)),
        }
        if errors.is_empty() { Ok(trusted) } else { Err(errors) }
    }

    /// Whether trust follows a certificate, so that without certificates nobody is trusted.
    pub fn needs_certificates(&self) -> bool {
        self.all_verified || !self.clients.is_empty()
    }

    /// Whether anybody is trusted by address, which is all that there is before TLS.
    pub fn has_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether the peer at `address`, let in as `client`, is trusted.
    pub fn judge(&self, address: IpAddr, client: Option<&ClientIdentity>) -> Trust {
        let by_certificate = client.is_some_and(|client| {
            self.all_verified || self.clients.find(&client.certificate).is_some()
        });
        if by_certificate || self.networks.iter().any(|network| network.holds(address)) {
            Trust::Trusted
        } else {
            Trust::Untrusted
        }
    }
}

enum Entry {
    AllVerified,
    Network(Network),
    Pattern,
}

impl Entry {
    fn read(entry: &str) -> Result<Self, String> {
        if entry == ALLOWED_CLIENTS {
            return Ok(Self::AllVerified);
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Self::Network(Network::of_one(address)));
        }
        if let Some((address, prefix)) = entry.split_once('/')
            && let Ok(address) = address.parse::<IpAddr>()
        {
            return Network::new(address, prefix).map(Self::Network).ok_or_else(|| {
                format!(
                    "`{}`: after the slash stands the length of the prefix, such as `10.0.0.0/8`",
                    escape(entry)
                )
            });
        }
        // A bare `*` would believe anybody's headers; with certificates the word says the same.
        if entry.parse() == Ok(ClientPattern::Any) {
            return Err(format!(
                "`*`: for every client with a good certificate write `{ALLOWED_CLIENTS}`"
            ));
        }
        Ok(Self::Pattern)
    }
}

impl Network {
    fn of_one(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: bits(address) }
    }

    fn new(address: IpAddr, prefix: &str) -> Option<Self> {
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= bits(address))?;
        Some(Self { address, prefix })
    }

    fn holds(self, address: IpAddr) -> bool {
        let shift = u32::from(bits(self.address) - self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(entries: &[&str]) -> Result<TrustedProxies, Vec<String>> {
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        TrustedProxies::from_entries(&entries)
    }

    #[test]
    fn a_range_of_addresses_holds_what_it_says() {
        let proxies = trusted(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "0.0.0.0/0"]).unwrap();
        let only = trusted(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]).unwrap();
        for (address, expected) in [
            ("10.255.0.1", Trust::Trusted),
            ("::ffff:10.1.2.3", Trust::Trusted),
            ("192.0.2.7", Trust::Trusted),
            ("2001:db8:1::1", Trust::Trusted),
            ("11.0.0.1", Trust::Untrusted),
            ("192.0.2.8", Trust::Untrusted),
            ("2001:db9::1", Trust::Untrusted),
        ] {
            assert_eq!(only.judge(address.parse().unwrap(), None), expected, "{address}");
        }
        assert_eq!(proxies.judge("203.0.113.1".parse().unwrap(), None), Trust::Trusted);
        assert_eq!(proxies.judge("2001:db9::1".parse().unwrap(), None), Trust::Untrusted);
    }

    #[test]
    fn nobody_is_trusted_unless_named() {
        let nobody = TrustedProxies::default();
        assert_eq!(nobody.judge("127.0.0.1".parse().unwrap(), None), Trust::Untrusted);
        let by_word = trusted(&["allowed-clients"]).unwrap();
        assert_eq!(by_word.judge("127.0.0.1".parse().unwrap(), None), Trust::Untrusted);
        assert!(by_word.needs_certificates());
    }

    #[test]
    fn wrong_entries_are_told_all_at_once() {
        let errors =
            trusted(&["10.0.0.0/33", "alb.example.com", "*", "10.0.0.0/", "::/+1"]).unwrap_err();
        assert_eq!(errors.len(), 5, "{errors:?}");
    }
}
