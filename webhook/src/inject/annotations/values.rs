//! The values of annotations, one reader a kind. A reader says everything that is wrong, at once.

use lasthop_contract::client_policy::{
    AllowedClients, ClientAuth, ClientEku, CrlDepth, CrlExpired, CrlUnknown,
};
use lasthop_contract::near::nearest;
use lasthop_contract::sidecar_config::{IdentityHeader, LogLevel, Protocol};
use lasthop_contract::text::escape;
use lasthop_contract::trusted_proxies::TrustedProxies;

use crate::inject::options::{Placement, PullPolicy};
use crate::inject::quantity::Quantity;

mod listener;
mod upstream;

pub(crate) use listener::{
    alpn, app_socket, exempt_paths, hsts, proxy_protocol, redirect_status, require_loopback,
};
pub(crate) use upstream::{server_names, sni, upstreams};

/// What is wrong with a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// The fact, to stand behind the annotation's name.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Wrong {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Vec<Self> {
        vec![Self { message: message.into(), help: help.into() }]
    }

    fn value(value: &str, help: impl Into<String>) -> Vec<Self> {
        Self::new(format!("cannot be `{}`", escape(value)), help)
    }
}

/// What `lasthop.dev/inject` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// With a sidecar.
    Inject,
    /// Never with one.
    Never,
}

/// A listening port and the app's port behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortPair {
    /// Where clients connect to.
    pub listen: u16,
    /// Where the app listens; absent where it does on a Unix socket.
    pub app: Option<u16>,
}

/// Where trusted CAs are kept.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CaSource {
    /// In a Secret.
    Secret(String),
    /// In a `ConfigMap`.
    ConfigMap(String),
}

/// Allowed clients, parsed and as written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Allowed {
    /// For who judges.
    pub clients: AllowedClients,
    /// For the sidecar, which parses them again.
    pub entries: Vec<String>,
}

pub(crate) fn wish(value: &str) -> Result<Wish, Vec<Wrong>> {
    let words = [
        ("true", Wish::Inject),
        ("enabled", Wish::Inject),
        ("false", Wish::Never),
        ("disabled", Wish::Never),
    ];
    word(value, &words)
}

pub(crate) fn native(value: &str) -> Result<Placement, Vec<Wrong>> {
    word(value, &[("true", Placement::Native), ("false", Placement::Ordinary)])
}

pub(crate) fn protocol(value: &str) -> Result<Protocol, Vec<Wrong>> {
    word(value, &[("http", Protocol::Http), ("h2c", Protocol::H2c), ("tcp", Protocol::Tcp)])
}

pub(crate) fn client_auth(value: &str) -> Result<ClientAuth, Vec<Wrong>> {
    let words = [
        ("none", ClientAuth::None),
        ("optional", ClientAuth::Optional),
        ("required", ClientAuth::Required),
    ];
    word(value, &words)
}

pub(crate) fn client_eku(value: &str) -> Result<ClientEku, Vec<Wrong>> {
    word(
        value,
        &[ClientEku::Client, ClientEku::Server, ClientEku::Either].map(|it| (it.word(), it)),
    )
}

pub(crate) fn crl_expired(value: &str) -> Result<CrlExpired, Vec<Wrong>> {
    word(value, &[("accept", CrlExpired::Accept), ("refuse", CrlExpired::Refuse)])
}

pub(crate) fn crl_unknown(value: &str) -> Result<CrlUnknown, Vec<Wrong>> {
    word(value, &[("accept", CrlUnknown::Accept), ("refuse", CrlUnknown::Refuse)])
}

pub(crate) fn crl_depth(value: &str) -> Result<CrlDepth, Vec<Wrong>> {
    word(value, &[("chain", CrlDepth::Chain), ("leaf", CrlDepth::Leaf)])
}

pub(crate) fn log_level(value: &str) -> Result<LogLevel, Vec<Wrong>> {
    let words = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
    word(value, &words)
}

pub(crate) fn pull_policy(value: &str) -> Result<PullPolicy, Vec<Wrong>> {
    let all = [PullPolicy::Always, PullPolicy::IfNotPresent, PullPolicy::Never];
    word(value, &all.map(|it| (it.word(), it)))
}

pub(crate) fn enforcement(value: &str) -> Result<(), Vec<Wrong>> {
    word(value, &["enforce", "warn", "off"].map(|it| (it, ())))
}

/// One of a few words.
fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, Vec<Wrong>> {
    let value = value.trim();
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == value) {
        return Ok(*meant);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let lower = value.to_ascii_lowercase();
    let near = known
        .iter()
        .copied()
        .find(|word| word.eq_ignore_ascii_case(value))
        .or_else(|| nearest(&lower, known.iter().copied()));
    let choice = either(&known);
    Err(Wrong::value(
        value,
        match near {
            Some(near) => format!("did you mean `{near}`? it is {choice}"),
            None => format!("write {choice}"),
        },
    ))
}

/// `a`, `b` or `c`.
fn either(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => quoted.concat(),
    }
}

/// Seconds: `90`, `90s`, `1m30s`.
pub(crate) fn seconds(value: &str) -> Result<u32, Vec<Wrong>> {
    let value = value.trim();
    let read = || {
        let mut total = 0_u32;
        let mut number = String::new();
        for character in value.chars() {
            let unit = match character {
                digit if digit.is_ascii_digit() => {
                    number.push(digit);
                    continue;
                }
                'h' => 3_600,
                'm' => 60,
                's' => 1,
                _ => return None,
            };
            total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(unit)?)?;
            number.clear();
        }
        match (number.is_empty(), value.is_empty()) {
            (true, empty) => (!empty).then_some(total),
            // A number alone is seconds; behind a unit it needs one of its own.
            (false, _) => (number.len() == value.len()).then(|| number.parse().ok())?,
        }
    };
    match read() {
        Some(seconds) if seconds <= 24 * 3_600 => Ok(seconds),
        Some(_) => Err(Wrong::value(value, "no more than a day is waited: `24h`")),
        None => Err(Wrong::value(value, "write a duration such as `5s` or `1m30s`")),
    }
}

pub(crate) fn cpu(value: &str) -> Result<Quantity, Vec<Wrong>> {
    let quantity: Quantity = value.parse().map_err(|help: String| Wrong::value(value, help))?;
    if !quantity.is_positive() {
        return Err(Wrong::value(value, "the sidecar needs some CPU: `10m`"));
    }
    Ok(quantity)
}

pub(crate) fn memory(value: &str) -> Result<Quantity, Vec<Wrong>> {
    let quantity: Quantity = value.parse().map_err(|help: String| Wrong::value(value, help))?;
    if quantity.is_milli() {
        let meant = value.trim().trim_end_matches('m');
        let help = format!("`m` is thousandths of a byte; did you mean `{}Mi`?", escape(meant));
        return Err(Wrong::value(value, help));
    }
    if !quantity.is_positive() {
        return Err(Wrong::value(value, "the sidecar needs some memory: `32Mi`"));
    }
    Ok(quantity)
}

pub(crate) fn image(value: &str) -> Result<String, Vec<Wrong>> {
    let value = value.trim();
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    if value.is_empty() || !value.bytes().all(is_plain) {
        return Err(Wrong::value(value, "write an image such as `registry.example.com/name:tag`"));
    }
    Ok(value.to_owned())
}

pub(crate) fn port(value: &str) -> Result<u16, Vec<Wrong>> {
    match value.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Wrong::value(value, "write a port from 1 to 65535")),
    }
}

/// No pod has more listeners, and no listener more Secrets, clients or ways of telling of them.
const MOST_LISTENERS: usize = 32;
pub(crate) const MOST_SECRETS: usize = 64;
const MOST_CLIENTS: usize = 4096;
const MOST_HEADERS: usize = 16;

/// Refuses a list that is longer than anybody needs, before it is read entry by entry.
fn expect_at_most(most: usize, value: &str) -> Result<(), Vec<Wrong>> {
    let count = entries(value).count();
    if count <= most {
        return Ok(());
    }
    Err(Wrong::new(format!("has {count} entries"), format!("{most} are the most")))
}

/// `8443:8080,9443:9090`; a listener before a Unix socket is a port alone.
pub(crate) fn ports(value: &str) -> Result<Vec<PortPair>, Vec<Wrong>> {
    expect_at_most(MOST_LISTENERS, value)?;
    let mut pairs: Vec<PortPair> = Vec::new();
    let mut wrongs = Vec::new();
    for entry in entries(value) {
        let read = match entry.split_once(':') {
            Some((listen, app)) => {
                port(listen).and_then(|listen| Ok(PortPair { listen, app: Some(port(app)?) }))
            }
            None => port(entry).map(|listen| PortPair { listen, app: None }),
        };
        let Ok(pair) = read else {
            let help = "write the port that the sidecar listens on, a colon, and the app's port: `8443:8080`";
            wrongs.extend(Wrong::value(entry, help));
            continue;
        };
        if pairs.iter().any(|other| other.listen == pair.listen) {
            let message = format!("names the listening port {} twice", pair.listen);
            wrongs.extend(Wrong::new(message, "each listener needs a port of its own"));
            continue;
        }
        pairs.push(pair);
    }
    if pairs.is_empty() && wrongs.is_empty() {
        wrongs = Wrong::new("is empty", "write `8443:8080`, or leave the annotation out");
    }
    if wrongs.is_empty() { Ok(pairs) } else { Err(wrongs) }
}

/// One Secret of the pod's own namespace.
pub(crate) fn secret_name(value: &str) -> Result<String, Vec<Wrong>> {
    let value = value.trim();
    if value.is_empty() {
        return Err(Wrong::new("is empty", "write the name of a Secret"));
    }
    if let Some((_, name)) = value.split_once('/') {
        let help = format!(
            "write `{}` alone: a pod mounts Secrets of its own namespace, so it has to be there",
            escape(name)
        );
        return Err(Wrong::value(value, help));
    }
    if !is_object_name(value) {
        let help = "a Secret's name has lower-case letters, digits, `-` and `.`";
        return Err(Wrong::value(value, help));
    }
    Ok(value.to_owned())
}

/// Several Secrets, each once.
pub(crate) fn secret_names(value: &str) -> Result<Vec<String>, Vec<Wrong>> {
    expect_at_most(MOST_SECRETS, value)?;
    let mut names: Vec<String> = Vec::new();
    let mut wrongs = Vec::new();
    for entry in entries(value) {
        match secret_name(entry) {
            Ok(name) if names.contains(&name) => {
                wrongs.extend(Wrong::new(format!("names `{name}` twice"), "once is enough"));
            }
            Ok(name) => names.push(name),
            Err(more) => wrongs.extend(more),
        }
    }
    if names.is_empty() && wrongs.is_empty() {
        wrongs = Wrong::new("is empty", "write the name of a Secret");
    }
    if wrongs.is_empty() { Ok(names) } else { Err(wrongs) }
}

/// What stands before the name of a `ConfigMap` where a Secret could be named as well.
pub(crate) const CONFIG_MAP: &str = "configmap/";

pub(crate) fn ca_source(value: &str) -> Result<CaSource, Vec<Wrong>> {
    match value.trim().strip_prefix(CONFIG_MAP) {
        Some(name) if is_object_name(name) => Ok(CaSource::ConfigMap(name.to_owned())),
        Some(_) => Err(Wrong::value(value, "write `configmap/NAME`")),
        None => secret_name(value).map(CaSource::Secret),
    }
}

pub(crate) fn allowed(value: &str) -> Result<Allowed, Vec<Wrong>> {
    expect_at_most(MOST_CLIENTS, value)?;
    match AllowedClients::parse(value) {
        Ok(clients) => {
            Ok(Allowed { clients, entries: entries(value).map(ToOwned::to_owned).collect() })
        }
        Err(errors) => Err(errors
            .into_iter()
            .flat_map(|error| {
                let message = format!("holds `{}`", escape(&error.entry));
                Wrong::new(message, error.reason)
            })
            .collect()),
    }
}

/// Client patterns, CIDRs, or the word `allowed-clients`; as written, for the sidecar parses them
/// again.
pub(crate) fn trusted_proxies(value: &str) -> Result<Vec<String>, Vec<Wrong>> {
    expect_at_most(MOST_CLIENTS, value)?;
    let proxies: Vec<String> = entries(value).map(ToOwned::to_owned).collect();
    match TrustedProxies::from_entries(&proxies) {
        Ok(_) => Ok(proxies),
        Err(reasons) => Err(reasons
            .into_iter()
            .flat_map(|reason| Wrong::new("has an entry that cannot be read", reason))
            .collect()),
    }
}

/// Those that need no certificate: networks.
pub(crate) fn without_certificates(proxies: &[String]) -> Vec<String> {
    let needs_none = |proxy: &&String| {
        TrustedProxies::from_entries(std::slice::from_ref(*proxy))
            .is_ok_and(|trusted| !trusted.needs_certificates())
    };
    proxies.iter().filter(needs_none).cloned().collect()
}

/// `none`, or some of `xfcc`, `rfc9440`, `aws`.
pub(crate) fn identity_headers(value: &str) -> Result<Vec<IdentityHeader>, Vec<Wrong>> {
    expect_at_most(MOST_HEADERS, value)?;
    let words = [
        ("none", None),
        ("xfcc", Some(IdentityHeader::Xfcc)),
        ("rfc9440", Some(IdentityHeader::Rfc9440)),
        ("aws", Some(IdentityHeader::Aws)),
        ("forwarded", Some(IdentityHeader::Forwarded)),
    ];
    let mut headers = Vec::new();
    let mut wrongs = Vec::new();
    for entry in entries(value) {
        match word(entry, &words) {
            Ok(header) => headers.push(header),
            Err(more) => wrongs.extend(more),
        }
    }
    if headers.contains(&None) && headers.len() > 1 {
        wrongs.extend(Wrong::new("has `none` beside others", "write `none` alone, or the others"));
    }
    if headers.is_empty() && wrongs.is_empty() {
        wrongs = Wrong::new("is empty", "write `none` where the app is to be told nothing");
    }
    if !wrongs.is_empty() {
        return Err(wrongs);
    }
    let mut headers: Vec<IdentityHeader> = headers.into_iter().flatten().collect();
    headers.sort_unstable();
    headers.dedup();
    Ok(headers)
}

/// The parts between commas and line breaks that are not empty.
pub(crate) fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty())
}

/// A DNS-1123 subdomain, as names of Secrets and `ConfigMaps` are.
pub(crate) fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_answered_with_the_nearest() {
        let wrongs = client_auth("requierd").unwrap_err();
        assert_eq!(wrongs[0].message, "cannot be `requierd`");
        assert_eq!(
            wrongs[0].help,
            "did you mean `required`? it is `none`, `optional` or `required`"
        );
        assert!(client_auth("TRUE").unwrap_err()[0].help.starts_with("write "));
        assert!(pull_policy("always").unwrap_err()[0].help.contains("`Always`?"));
        assert!(wish("yes").unwrap_err()[0].help.contains("`true`"));
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds(" 1m30s "), Ok(90));
        assert_eq!(seconds("0s"), Ok(0));
        for wrong in ["", "s", "1m30", "5 s", "-5s", "1.5s", "99999999999", "25h", "5ms"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn thousandths_of_a_byte_are_a_slip() {
        assert!(memory("128m").unwrap_err()[0].help.contains("`128Mi`"));
        assert!(memory("128Mi").is_ok());
        assert!(cpu("0").is_err());
    }

    #[test]
    fn every_wrong_pair_of_ports_is_named() {
        let wrongs = ports("8443:8080, 8443:9090,x,1:0,70000:1").unwrap_err();
        assert_eq!(wrongs.len(), 4, "{wrongs:?}");
        assert_eq!(ports(" 8443:8080,\n9443:9090 ,").unwrap().len(), 2);
        assert_eq!(ports("8443").unwrap(), [PortPair { listen: 8443, app: None }]);
        assert!(ports(" , ").is_err());
    }

    #[test]
    fn secrets_are_of_the_own_namespace() {
        assert!(secret_name("ns/web-tls").unwrap_err()[0].help.contains("`web-tls`"));
        assert!(secret_name("Web_TLS").is_err());
        assert!(secret_name("-a").is_err());
        assert_eq!(secret_names("a, b.c").unwrap(), ["a", "b.c"]);
        assert!(secret_names("a,a").is_err());
        assert_eq!(ca_source("configmap/roots"), Ok(CaSource::ConfigMap("roots".to_owned())));
        assert!(ca_source("configmap/").is_err());
    }

    #[test]
    fn trusted_proxies_are_patterns_networks_or_the_word() {
        let value = "allowed-clients,10.0.0.0/8,fd00::/8,dns:a.example.com,uri:spiffe://x/y";
        assert_eq!(trusted_proxies(value).unwrap().len(), 5);
        let networks = without_certificates(&trusted_proxies(value).unwrap());
        assert_eq!(networks, ["10.0.0.0/8", "fd00::/8"]);
        for wrong in ["*", "10.0.0.0/33", "10.0.0/8", "example.com", "allowed-client", "fd00::/129"]
        {
            assert!(trusted_proxies(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn identity_headers_are_none_or_some() {
        assert_eq!(identity_headers("none"), Ok(vec![]));
        assert_eq!(
            identity_headers("aws,xfcc,xfcc"),
            Ok(vec![IdentityHeader::Xfcc, IdentityHeader::Aws])
        );
        assert_eq!(identity_headers("forwarded"), Ok(vec![IdentityHeader::Forwarded]));
        assert!(identity_headers("none,xfcc").is_err());
        assert!(identity_headers("").is_err());
    }
}
