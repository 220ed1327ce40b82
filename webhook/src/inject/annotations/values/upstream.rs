//! The next tier: where it is, and which names it may have.

use std::net::IpAddr;

use lasthop_contract::server_policy::ServerNames;
use lasthop_contract::sidecar_config::Upstream;
use lasthop_contract::text::escape;

use super::{Wrong, entries, expect_at_most, port};

/// No pod has more of them, and no next tier more names.
const MOST_UPSTREAMS: usize = 32;
const MOST_NAMES: usize = 256;

/// `9001=https://db.example.com:443`: the port on localhost, and where it leads.
pub(crate) fn upstreams(value: &str) -> Result<Vec<(u16, Upstream)>, Vec<Wrong>> {
    expect_at_most(MOST_UPSTREAMS, value)?;
    let mut upstreams: Vec<(u16, Upstream)> = Vec::new();
    let mut wrongs = Vec::new();
    for entry in entries(value) {
        let read = entry.split_once('=').map(|(local, upstream)| (local.trim(), upstream.trim()));
        let Some((Ok(local), upstream)) = read.map(|(local, upstream)| (port(local), upstream))
        else {
            let help = "write the port on localhost, `=`, and where it leads: `9001=https://db.example.com:443`";
            wrongs.extend(Wrong::value(entry, help));
            continue;
        };
        match upstream.parse::<Upstream>() {
            Ok(_) if upstreams.iter().any(|(other, _)| *other == local) => {
                let message = format!("names the local port {local} twice");
                wrongs.extend(Wrong::new(message, "each next tier needs a local port of its own"));
            }
            Ok(upstream) if is_itself(local, &upstream) => {
                let message = format!("leads from port {local} to itself");
                wrongs.extend(Wrong::new(message, "give the local port another number"));
            }
            // Not every host that can be connected to can stand in a certificate.
            Ok(upstream) => match ServerNames::new(&upstream, []) {
                Ok(_) => upstreams.push((local, upstream)),
                Err(errors) => wrongs.extend(errors.into_iter().flat_map(|error| {
                    Wrong::new(format!("leads to `{}`", escape(&error.entry)), error.reason)
                })),
            },
            Err(error) => {
                let message = format!("leads to `{}`", escape(upstream));
                wrongs.extend(Wrong::new(message, format!("the next tier {error}")));
            }
        }
    }
    if upstreams.is_empty() && wrongs.is_empty() {
        wrongs = Wrong::new("is empty", "write `9001=https://db.example.com:443`, or leave it out");
    }
    if wrongs.is_empty() { Ok(upstreams) } else { Err(wrongs) }
}

fn is_itself(local: u16, upstream: &Upstream) -> bool {
    upstream.port() == local && ["localhost", "127.0.0.1"].contains(&upstream.host())
}

/// Patterns, in which a bare name or address stands for itself.
pub(crate) fn server_names(value: &str) -> Result<Vec<String>, Vec<Wrong>> {
    expect_at_most(MOST_NAMES, value)?;
    let with_kind = |entry: &str| match entry.parse::<IpAddr>() {
        Ok(_) => format!("ip:{entry}"),
        Err(_) if entry.contains(':') || entry == "*" => entry.to_owned(),
        Err(_) => format!("dns:{entry}"),
    };
    let names: Vec<String> = entries(value).map(with_kind).collect();
    if names.is_empty() {
        return Err(Wrong::new("is empty", "write a name such as `db.internal.example.com`"));
    }
    let anywhere: Upstream = "tls://host.invalid:443".parse().expect("it has all its parts");
    match ServerNames::new(&anywhere, names.iter().map(String::as_str)) {
        Ok(_) => Ok(names),
        Err(errors) => Err(errors
            .into_iter()
            .flat_map(|error| Wrong::new(format!("holds `{}`", escape(&error.entry)), error.reason))
            .collect()),
    }
}

/// The server name of a `ClientHello`, which is never an address (RFC 6066, 3).
pub(crate) fn sni(value: &str) -> Result<String, Vec<Wrong>> {
    let value = value.trim();
    let is_name = format!("tls://{value}:443").parse::<Upstream>().is_ok()
        && value.trim_end_matches('.').parse::<IpAddr>().is_err()
        && !value.starts_with('[');
    if is_name {
        return Ok(value.trim_end_matches('.').to_ascii_lowercase());
    }
    Err(Wrong::value(value, "write one DNS name: `db.internal.example.com`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_upstream_is_named_with_its_part() {
        let read = upstreams("9001=https://db.example.com:443,\n9002 = tls://[::1]:5432").unwrap();
        assert_eq!((read.len(), read[1].0), (2, 9002));
        let wrongs = upstreams(
            "db:443,9001=http://db:80,9002=https://db,0=tls://a:1,9003=tls://a:1,9003=tls://b:1",
        );
        let wrongs = wrongs.unwrap_err();
        assert_eq!(wrongs.len(), 5, "{wrongs:?}");
        assert!(wrongs[1].help.contains("`https://`"), "{wrongs:?}");
        assert!(upstreams("").is_err());
        assert!(upstreams("9001=https://localhost:9001").is_err());
        assert!(upstreams("9001=https://localhost:9002").is_ok());
    }

    #[test]
    fn names_of_servers_may_be_bare() {
        let names = server_names("db.example.com, 10.0.0.1,uri:spiffe://x/y,fd00::1").unwrap();
        assert_eq!(names, ["dns:db.example.com", "ip:10.0.0.1", "uri:spiffe://x/y", "ip:fd00::1"]);
        assert!(server_names("").is_err());
        for wrong in ["sha256:zz", "*", "cn:db", "email:a@example.com", "db.example.com,*"] {
            assert!(server_names(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_server_name_is_a_name() {
        assert_eq!(sni("DB.example.com."), Ok("db.example.com".to_owned()));
        for wrong in ["", "10.0.0.1", "::1", "[::1]", "a b", "db:443", "*.example.com"] {
            assert!(sni(wrong).is_err(), "{wrong}");
        }
    }
}
