//! An originating listener of a sidecar: what it says to the next tier, and what it takes.

use std::sync::Arc;

use lasthop_contract::credential::{self, Certificate, Credential};
use lasthop_contract::server_policy::{
    Authorities, ServerNames, ServerPolicy, ServerPolicyError, asked_name,
};
use lasthop_contract::sidecar_config::Originate;
use lasthop_contract::tls::upstream_alpn;
use rustls_pki_types::ServerName;

use super::listener::{Found, Unfit, see};
use crate::inject::Mount;

/// An end that originates, made from the document that the injector writes.
#[derive(Clone, Debug)]
pub struct Originating {
    pub(super) credential: Option<Credential>,
    pub(super) policy: Arc<ServerPolicy>,
    pub(super) asked: ServerName<'static>,
    pub(super) alpn: &'static [&'static [u8]],
}

impl Originating {
    /// The listener of `originate`, with what was `found` of its Secrets.
    ///
    /// # Errors
    /// What keeps it from connecting, or from being known.
    pub fn new(originate: &Originate, found: &Found) -> Result<Self, Vec<Unfit>> {
        let Originate { listen: _, upstream, client_secret, ca_secret, server_names, sni } =
            originate;
        let mut unfit = Vec::new();
        let credential = client_secret.as_deref().and_then(Mount::of_directory).and_then(|mount| {
            let read = presented(&mount, found);
            read.map_err(|why| unfit.push(why)).ok()
        });
        let names = ServerNames::new(upstream, server_names.iter().map(String::as_str));
        let asked = asked_name(upstream, sni.as_deref());
        let policy = names.map_err(|errors| {
            unfit.extend(errors.iter().map(|error| Unfit::Unsafe(error.to_string())));
        });
        let policy = policy.and_then(|names| {
            let mount = ca_secret.as_deref().and_then(Mount::of_directory);
            policy_of(mount, names, found).map_err(|why| unfit.extend(why))
        });
        let asked = asked.map_err(|error| unfit.push(Unfit::Unsafe(error.to_string())));
        let alpn = upstream_alpn(upstream.scheme());
        match (policy, asked) {
            (Ok(policy), Ok(asked)) if unfit.is_empty() => {
                Ok(Self { credential, policy: Arc::new(policy), asked, alpn })
            }
            _ => Err(unfit),
        }
    }

    /// The Secrets that the listener of `originate` reads.
    pub fn mounts(originate: &Originate) -> Vec<Mount> {
        let directories = originate.client_secret.iter().chain(&originate.ca_secret);
        directories.filter_map(|directory| Mount::of_directory(directory)).collect()
    }

    /// The certificates that it presents, its own first.
    pub fn chain(&self) -> &[Certificate] {
        self.credential.as_ref().map_or(&[], Credential::chain)
    }
}

fn presented(mount: &Mount, found: &Found) -> Result<Credential, Unfit> {
    let reading = see(mount, found)?.reading();
    reading
        .credential
        .clone()
        .ok_or_else(|| Unfit::Broken { mount: mount.clone(), problems: reading.problems.clone() })
}

fn policy_of(
    mount: Option<Mount>,
    names: ServerNames,
    found: &Found,
) -> Result<ServerPolicy, Vec<Unfit>> {
    let of_policy = |errors: Vec<ServerPolicyError>| {
        errors.iter().map(|error| Unfit::Unsafe(error.to_string())).collect()
    };
    // The variable `SSL_CERT_FILE` is not among those of an injected sidecar.
    let Some(mount) = mount else {
        return ServerPolicy::new(Authorities::Mozilla, names).map_err(of_policy);
    };
    let seen = see(&mount, found).map_err(|why| vec![why])?;
    let trust = credential::read_authorities(&seen.secret.data);
    if !trust.is_usable() {
        return Err(vec![Unfit::Broken { mount, problems: trust.problems }]);
    }
    ServerPolicy::new(Authorities::These(&trust.authorities), names).map_err(of_policy)
}
