//! What stands on both sides of a listener: the application's door, the PROXY protocol, paths that
//! need no certificate.

use lasthop_contract::alpn::AlpnName;
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::hsts::{Hsts, HstsError};
use lasthop_contract::sidecar_config::{
    PlaintextDoor, ProxyAccept, ProxyProtocol, ProxyVersion, RedirectStatus, SocketPath,
};

use super::{Wrong, entries, expect_at_most, word};

/// No listener has more of them.
const MOST_PATHS: usize = 64;
const MOST_NAMES: usize = 16;
const MOST_WAYS: usize = 4;

/// Whether the pod is unready while the app's port answers beside the sidecar.
pub(crate) fn require_loopback(value: &str) -> Result<PlaintextDoor, Vec<Wrong>> {
    word(value, &[("true", PlaintextDoor::NotReady), ("false", PlaintextDoor::Told)])
}

/// The status of a redirect.
pub(crate) fn redirect_status(value: &str) -> Result<RedirectStatus, Vec<Wrong>> {
    let codes = RedirectStatus::ALL.map(|it| (it.code().to_string(), it));
    word(value, &codes.each_ref().map(|(code, status)| (code.as_str(), *status)))
}

/// A value of `Strict-Transport-Security`.
pub(crate) fn hsts(value: &str) -> Result<Hsts, Vec<Wrong>> {
    value.parse().map_err(|error: HstsError| Wrong::value(value, error.to_string()))
}

/// Names of protocols for ALPN, the preferred first.
pub(crate) fn alpn(value: &str) -> Result<Vec<AlpnName>, Vec<Wrong>> {
    expect_at_most(MOST_NAMES, value)?;
    let (mut names, mut wrongs) = (Vec::<AlpnName>::new(), Vec::new());
    for entry in entries(value) {
        match entry.parse() {
            Ok(name) if names.contains(&name) => {
                let fact = format!("names `{name}` twice");
                wrongs.extend(Wrong::new(fact, "leave one of them out"));
            }
            Ok(name) => names.push(name),
            Err(expected) => wrongs.extend(Wrong::value(entry, expected.to_owned())),
        }
    }
    if names.is_empty() && wrongs.is_empty() {
        wrongs = Wrong::new("is empty", "write `h2,http/1.1`, or leave it out");
    }
    if wrongs.is_empty() { Ok(names) } else { Err(wrongs) }
}

/// `off`, or `accept` and `send`.
pub(crate) fn proxy_protocol(value: &str) -> Result<ProxyProtocol, Vec<Wrong>> {
    #[derive(Clone, Copy, Eq, PartialEq)]
    enum Way {
        Off,
        Accept,
        Send,
    }
    expect_at_most(MOST_WAYS, value)?;
    let words = [("off", Way::Off), ("accept", Way::Accept), ("send", Way::Send)];
    let mut ways = Vec::new();
    let mut wrongs = Vec::new();
    for entry in entries(value) {
        match word(entry, &words) {
            Ok(way) => ways.push(way),
            Err(more) => wrongs.extend(more),
        }
    }
    if ways.contains(&Way::Off) && ways.iter().any(|way| *way != Way::Off) {
        wrongs.extend(Wrong::new("has `off` beside others", "write `off` alone, or the others"));
    }
    if ways.is_empty() && wrongs.is_empty() {
        wrongs = Wrong::new("is empty", "write `off`, `accept` or `send`");
    }
    if !wrongs.is_empty() {
        return Err(wrongs);
    }
    let accepts = ways.contains(&Way::Accept);
    Ok(ProxyProtocol {
        accept: if accepts { ProxyAccept::FromTrusted } else { ProxyAccept::Never },
        send: ways.contains(&Way::Send).then_some(ProxyVersion::V2),
    })
}

/// The absolute path of a Unix socket.
pub(crate) fn app_socket(value: &str) -> Result<SocketPath, Vec<Wrong>> {
    let value = value.trim();
    let plain = value.strip_prefix("unix:").unwrap_or(value);
    // A socket in the root folder lies in no volume.
    let in_folder = plain.rfind('/').is_some_and(|at| at > 0);
    let is_text = !plain.contains(char::is_control);
    match SocketPath::new(plain).filter(|_| in_folder && is_text && !plain.contains("//")) {
        Some(path) => Ok(path),
        None => Err(Wrong::value(
            value,
            format!(
                "write an absolute path in a folder of its own, of at most {} bytes and without `..`: \
                 `/run/app/app.sock`",
                SocketPath::MAX_BYTES
            ),
        )),
    }
}

/// Raw paths, as a request line has them before its query.
pub(crate) fn exempt_paths(value: &str) -> Result<Vec<String>, Vec<Wrong>> {
    expect_at_most(MOST_PATHS, value)?;
    let paths: Vec<String> = entries(value).map(ToOwned::to_owned).collect();
    if paths.is_empty() {
        return Err(Wrong::new("is empty", "write a path such as `/healthz`, or leave it out"));
    }
    match ExemptPaths::from_entries(&paths) {
        Ok(_) => Ok(paths),
        Err(reasons) => Err(reasons
            .into_iter()
            .flat_map(|reason| Wrong::new("has an entry that cannot be exempt", reason))
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_protocol_is_off_or_goes_either_way() {
        assert_eq!(proxy_protocol("off"), Ok(ProxyProtocol::default()));
        let both = proxy_protocol("accept, send").unwrap();
        assert_eq!(both.accept, ProxyAccept::FromTrusted);
        assert_eq!(both.send, Some(ProxyVersion::V2));
        assert!(proxy_protocol("off,send").is_err());
        assert!(proxy_protocol(" ").is_err());
        assert!(proxy_protocol("acept").unwrap_err()[0].help.contains("`accept`"));
    }

    #[test]
    fn a_socket_is_in_a_folder() {
        for right in ["/run/app/app.sock", " /a/b ", "unix:/run/app.sock"] {
            assert!(app_socket(right).is_ok(), "{right}");
        }
        let long = format!("/run/{}", "a".repeat(103));
        for wrong in ["", "app.sock", "/app.sock", "/run/../x/y", "/run/", "/run//a", &long] {
            assert!(app_socket(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exempt_paths_mean_the_same_to_everybody() {
        assert_eq!(exempt_paths("/healthz,/a/b-c.d~e").unwrap(), ["/healthz", "/a/b-c.d~e"]);
        for wrong in [
            "healthz", "/a?b", "/a#b", "/a%2e", "//a", "/a/../b", "/a;b", "/a\\b", "/*", "/ä",
            "/a b", "/a/./b", "/a/.", "",
        ] {
            assert!(exempt_paths(wrong).is_err(), "{wrong}");
        }
    }
}
