//! The originating listeners.

use lasthop_contract::annotation as name;

use super::{Originate, Reader, values};
use crate::inject::code;

/// What says nothing without a next tier.
const NEEDS_UPSTREAMS: [&str; 4] = [
    name::UPSTREAM_CLIENT_SECRET,
    name::UPSTREAM_CA_SECRET,
    name::UPSTREAM_SERVER_NAMES,
    name::UPSTREAM_SNI,
];

impl Reader<'_> {
    /// The originating listeners, as written.
    pub(super) fn upstreams(&mut self) -> Vec<Originate> {
        let Some(held) = self.held(name::UPSTREAMS, None) else {
            self.check_idle_upstreams();
            return Vec::new();
        };
        let upstreams = values::upstreams(held.value).unwrap_or_default();
        upstreams
            .into_iter()
            .map(|(listen, upstream)| {
                let port = Some(listen);
                Originate {
                    listen,
                    upstream,
                    client_secret: self.get(
                        name::UPSTREAM_CLIENT_SECRET,
                        port,
                        values::secret_name,
                    ),
                    ca: self.get(name::UPSTREAM_CA_SECRET, port, values::ca_source),
                    server_names: self
                        .get(name::UPSTREAM_SERVER_NAMES, port, values::server_names)
                        .unwrap_or_default(),
                    sni: self.get(name::UPSTREAM_SNI, port, values::sni),
                }
            })
            .collect()
    }

    fn check_idle_upstreams(&mut self) {
        for base in NEEDS_UPSTREAMS {
            let ports: Vec<Option<u16>> =
                self.written.keys().filter(|(it, _)| *it == base).map(|(_, port)| *port).collect();
            for port in ports {
                let key = port.map_or_else(|| base.to_owned(), |port| format!("{base}.{port}"));
                let message = format!("`{key}` does nothing without a next tier");
                let help =
                    format!("name it: `{}: \"9001=https://db.example.com:443\"`", name::UPSTREAMS);
                self.object(code::CONFLICT, &key, message, help);
            }
        }
    }
}
