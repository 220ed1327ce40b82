//! A Secret to what a balancer presents and trusts.

use std::sync::Arc;

use lasthop_contract::client_policy::ClientPattern;
use lasthop_contract::credential::{self, Certificate, Form, SecretData};
use lasthop_contract::server_policy::{Authorities, ServerNames, ServerPolicy};
use rustls_pki_types::ServerName;

use super::handshake::{Client, Trusts};
use crate::check::SeenSecret;

/// The client that presents what is in `secret` (nothing where there is none, or where that holds
/// only CAs), verifies with the CAs in `trusts`, and `(looks for one of, asks for)` these names.
///
/// [`None`] where the Secret holds what cannot be presented: that is told where the Secret is judged.
pub fn client_of(
    secret: Option<&SeenSecret>,
    trusts: Option<&SecretData>,
    (expects, asks_for): (&[String], Option<&str>),
) -> Option<Client> {
    let presents = match secret {
        Some(secret) if holds_chain(&secret.secret.data) => {
            let credential = secret.reading().credential.as_ref()?;
            Some(Arc::clone(credential.certified_key()))
        }
        Some(_) | None => None,
    };
    let trusts = match trusts {
        Some(data) => trust(data, expects)?,
        None => Trusts::Anything,
    };
    let asks_for = asks_for.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    Some(Client { presents, trusts, asks_for })
}

fn holds_chain(data: &SecretData) -> bool {
    Form::ALL.iter().any(|form| data.contains_key(form.chain_key()))
}

/// What is verified with the CAs of a Secret; [`None`] where they cannot be used. A Secret without any
/// verifies nothing.
fn trust(data: &SecretData, expects: &[String]) -> Option<Trusts> {
    if credential::CA_KEYS.iter().all(|key| data.get(*key).is_none_or(Vec::is_empty)) {
        return Some(Trusts::Anything);
    }
    let trust = credential::read_authorities(data);
    if !trust.is_usable() {
        return None;
    }
    let policy = |names| {
        let policy = ServerPolicy::new(Authorities::These(&trust.authorities), names);
        policy.ok().map(Arc::new)
    };
    if expects.is_empty() {
        return policy(ServerNames::Listed(Vec::new())).map(Trusts::Chain);
    }
    let policies: Option<Vec<_>> = expects.iter().map(|name| policy(server_name(name))).collect();
    policies.map(Trusts::ChainAndName)
}

/// A DNS name or an address as TLS clients compare it; else a URI, or a wildcard of which the
/// certificate has to have the text.
fn server_name(written: &str) -> ServerNames {
    let pattern = || {
        if written.contains("://") {
            return ClientPattern::Uri(written.to_owned());
        }
        // No certificate can have another such name.
        ClientPattern::Dns(written.to_owned())
    };
    match ServerName::try_from(written.to_owned()) {
        Ok(name) => ServerNames::Host(name),
        Err(_syntax) => ServerNames::Listed(vec![pattern()]),
    }
}

impl Client {
    /// The certificates that it presents, its own first.
    pub fn chain(&self) -> Vec<Certificate> {
        let chain = self.presents.iter().flat_map(|it| &it.cert);
        chain.filter_map(|der| Certificate::from_der(der).ok()).collect()
    }
}
