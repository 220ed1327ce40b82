//! What a listener reads, looked up.

use std::sync::Arc;

use futures_util::future::join_all;
use lasthop_contract::sidecar_config::Terminate;

use super::listener::{Found, Listener};
use crate::check::SeenSecret;
use crate::inject::Mount;
use crate::object::Secret;
use crate::surroundings::{Sighting, Surroundings};

/// Looks at everything that the listener of `terminate` reads in `namespace`.
pub async fn look(surroundings: &Surroundings, namespace: &str, terminate: &Terminate) -> Found {
    let looks = Listener::mounts(terminate).into_iter().map(|mount| async move {
        let found = look_at(surroundings, namespace, &mount).await;
        (mount, found.map(|secret| Arc::new(SeenSecret::new(secret))))
    });
    join_all(looks).await.into_iter().collect()
}

async fn look_at(surroundings: &Surroundings, namespace: &str, mount: &Mount) -> Sighting<Secret> {
    match mount {
        Mount::CaConfigMap(name) | Mount::UpstreamCaConfigMap(name) => {
            surroundings.config_map(namespace, name).await
        }
        Mount::Tls(name) | Mount::Ca(name) | Mount::Crl(name) | Mount::UpstreamCa(name) => {
            surroundings.secret(namespace, name).await
        }
    }
}
