//! The `caBundle` of the webhook configurations: whom API servers trust when they call.
//!
//! It is written by server-side apply under a field manager of its own and owns nothing but these
//! fields, so that whoever applies the configurations sees no difference. A configuration that is
//! not there is never created: an apply would do just that, therefore it names the `uid` that was
//! seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::object::Object;
use crate::surroundings::{ApiError, ApiServer};

/// Who owns the fields.
const MANAGER: &str = "lasthop-ca-bundle";

/// Attempts where somebody else writes at the same time.
const ATTEMPTS: usize = 3;

const API_VERSION: &str = "admissionregistration.k8s.io/v1";

/// The kinds of webhook configurations, with their resources.
const KINDS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
];

/// Puts `bundle` (PEM) into every entry of the two configurations called `name`, where they differ.
/// Returns the bundles that are live afterwards, of each entry of each configuration that is there.
///
/// # Errors
/// A configuration is there and could not be read or written.
pub(super) async fn publish(
    api: &ApiServer,
    name: &str,
    bundle: &str,
) -> Result<Vec<String>, ApiError> {
    let mut live = Vec::new();
    for kind in KINDS {
        live.extend(publish_one(api, kind, name, bundle).await?);
    }
    Ok(live)
}

async fn publish_one(
    api: &ApiServer,
    (kind, resource): (&str, &str),
    name: &str,
    bundle: &str,
) -> Result<Vec<String>, ApiError> {
    let path = format!("/apis/{API_VERSION}/{resource}/{name}");
    for _attempt in 0..ATTEMPTS {
        let configuration = match api.get(&path).await {
            Ok(configuration) => configuration,
            Err(ApiError::Missing) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let live = bundles(&configuration);
        if live.iter().all(|it| it == bundle) {
            return Ok(live);
        }
        match api.apply(&path, MANAGER, &fields(kind, &configuration, bundle)).await {
            Ok(applied) => {
                tracing::info!(kind, name, "published the CA bundle");
                return Ok(bundles(&applied));
            }
            // It changed or went meanwhile: look again.
            Err(ApiError::Conflict | ApiError::Missing) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::Conflict)
}

/// The fields that are applied.
fn fields(kind: &str, configuration: &Object, bundle: &str) -> Value {
    let bundle = STANDARD.encode(bundle);
    let entries: Vec<Value> = configuration
        .list("/webhooks")
        .iter()
        .filter_map(|entry| entry.get("name"))
        .map(|name| json!({ "name": name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": configuration.name(),
            "uid": configuration.text("/metadata/uid"),
            "resourceVersion": configuration.text("/metadata/resourceVersion"),
        },
        "webhooks": entries,
    })
}

/// The bundle of each entry; empty where there is none or none that can be read.
fn bundles(configuration: &Object) -> Vec<String> {
    let entries = configuration.list("/webhooks").iter();
    entries
        .map(|entry| {
            let text = entry.pointer("/clientConfig/caBundle").and_then(Value::as_str);
            let bytes = text.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        })
        .collect()
}
