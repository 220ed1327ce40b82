//! Raw JSON to and from the API server.
//!
//! Not the typed requests of the `kube` crate: they drop fields that they do not know, and one of
//! their error paths logs what it could not parse, which here may be a Secret.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use lasthop_contract::text::escape;
use serde_json::{Value, json};

use super::looks::Looks;
use crate::object::Object;

/// No request takes longer, whatever the caller would wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer longer than this is read.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Objects of one page of a list.
const PAGE: usize = 250;

/// Objects of all pages of a list.
const MOST_OBJECTS: usize = 5_000;

/// A connection to the API server, cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    client: kube::Client,
    looks: Arc<Looks>,
}

/// Why the API server did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// 404.
    #[error("it is not there")]
    Missing,
    /// 409: it is there already, or has changed meanwhile.
    #[error("it was changed by somebody else meanwhile")]
    Conflict,
    /// 401 or 403; what the API server says.
    #[error("the API server does not let lasthop: {0}")]
    Forbidden(String),
    /// Any other status.
    #[error("the API server answered {code}: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// What the API server says.
        message: String,
    },
    /// No answer, or none that can be understood.
    #[error("{0}")]
    Unreachable(String),
}

impl ApiServer {
    /// Finds the API server as kubectl does: the file `kubeconfig`, else `KUBECONFIG` or
    /// `~/.kube/config`, else the service account of the pod. Does not talk to it yet.
    ///
    /// # Errors
    /// There is no usable configuration.
    pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
                kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| unusable(&error))?
            }
            None if has_kubeconfig() => {
                let found = kube::Config::from_kubeconfig(&KubeConfigOptions::default()).await;
                found.map_err(|error| unusable(&error))?
            }
            None => kube::Config::incluster().map_err(|error| {
                anyhow!(
                    "there is no API server to be found, neither by a kubeconfig (--kubeconfig, \
                     KUBECONFIG, ~/.kube/config) nor by the service account of a pod ({error}); \
                     --surroundings serves from files instead"
                )
            })?,
        };
        config.connect_timeout = Some(Duration::from_secs(3));
        let client = kube::Client::try_from(config).context("cannot make a client")?;
        Ok(Self { client, looks: Arc::default() })
    }

    /// An API server that has `answer` at a path: an object, or a status.
    #[cfg(test)]
    pub(crate) fn scripted(
        answer: impl Fn(&Method, &str) -> Result<Value, StatusCode> + Send + Sync + 'static,
    ) -> Self {
        let service = tower::service_fn(move |request: Request<Body>| {
            let (status, body) = match answer(request.method(), request.uri().path()) {
                Ok(object) => (StatusCode::OK, object),
                Err(status) => (status, json!({"kind": "Status", "message": "no"})),
            };
            async move {
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, kube::Error>(http::Response::builder().status(status).body(body).unwrap())
            }
        });
        Self { client: kube::Client::new(service, "default"), looks: Arc::default() }
    }

    /// The same API server for one review: what it takes to answer is added up in `looks`.
    pub(super) fn timing(&self, looks: &Arc<Looks>) -> Self {
        Self { client: self.client.clone(), looks: Arc::clone(looks) }
    }

    /// One object.
    pub async fn get(&self, path: &str) -> Result<Object, ApiError> {
        self.send(Method::GET, path, None).await.map(Object)
    }

    /// All objects of a kind under `path`. In a list they lack `apiVersion` and `kind`, which are
    /// filled in.
    pub async fn list(
        &self,
        path: &str,
        api_version: &str,
        kind: &str,
    ) -> Result<Vec<Object>, ApiError> {
        self.list_up_to(path, (api_version, kind), MOST_OBJECTS).await
    }

    /// Of the objects in the collection `path` those that `keep` wants; of a long list no more than one page is
    /// held besides.
    pub async fn list_where(
        &self,
        path: &str,
        of: (&str, &str),
        keep: impl Fn(&Object) -> bool,
    ) -> Result<Vec<Object>, ApiError> {
        self.pages(path, of, MOST_OBJECTS, keep).await
    }

    /// The same for at most so many of them.
    pub async fn list_up_to(
        &self,
        path: &str,
        of: (&str, &str),
        most: usize,
    ) -> Result<Vec<Object>, ApiError> {
        self.pages(path, of, most, |_| true).await
    }

    async fn pages(
        &self,
        path: &str,
        (api_version, kind): (&str, &str),
        most: usize,
        keep: impl Fn(&Object) -> bool,
    ) -> Result<Vec<Object>, ApiError> {
        let mut objects = Vec::new();
        let mut seen = 0;
        let mut next = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}{next}");
            let mut list = self.send(Method::GET, &page, None).await?;
            let items = list.get_mut("items").map(Value::take);
            let Some(Value::Array(items)) = items else { return Ok(objects) };
            seen += items.len();
            let named = items.into_iter().map(|mut item| {
                if let Some(members) = item.as_object_mut() {
                    members.insert("apiVersion".to_owned(), json!(api_version));
                    members.insert("kind".to_owned(), json!(kind));
                }
                Object(item)
            });
            objects.extend(named.filter(&keep));
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                None | Some("") => return Ok(objects),
                Some(_) if seen >= most => {
                    let reason = format!("there are more than {most} objects");
                    return Err(ApiError::Unreachable(reason));
                }
                // The token is base64url, sometimes padded.
                Some(token) => next = format!("&continue={}", token.replace('=', "%3D")),
            }
        }
    }

    /// The names of the objects in the collection `path`, and nothing else of them.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>
    pub async fn names(&self, path: &str) -> Result<Vec<String>, ApiError> {
        let path = format!("{path}?limit={MOST_OBJECTS}");
        self.metadata(path, "/metadata/name").await
    }

    /// The namespaces of the objects in the collection `path` with the labels of `selector`, which is
    /// percent-encoded.
    pub async fn namespaces(&self, path: &str, selector: &str) -> Result<Vec<String>, ApiError> {
        let path = format!("{path}?limit={MOST_OBJECTS}&labelSelector={selector}");
        self.metadata(path, "/metadata/namespace").await
    }

    /// The objects in the collection `path`, of each the metadata alone.
    pub async fn metadata_of(&self, path: &str) -> Result<Vec<Object>, ApiError> {
        let items = self.partial(format!("{path}?limit={MOST_OBJECTS}")).await?;
        Ok(items.into_iter().map(Object).collect())
    }

    /// One text of the metadata of each object in a collection.
    async fn metadata(&self, path: String, pointer: &str) -> Result<Vec<String>, ApiError> {
        let items = self.partial(path).await?;
        let texts = items.iter().filter_map(|item| item.pointer(pointer)?.as_str());
        Ok(texts.map(str::to_owned).collect())
    }

    async fn partial(&self, path: String) -> Result<Vec<Value>, ApiError> {
        let kind = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let request = Request::get(path).header(header::ACCEPT, kind);
        let mut list = self.answer(request, Vec::new()).await?;
        Ok(match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
    }

    /// Creates `object` under the collection `path`; [`ApiError::Conflict`] where it is there.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Object, ApiError> {
        let body = Some(("application/json", object));
        self.send(Method::POST, path, body).await.map(Object)
    }

    /// Replaces an object; [`ApiError::Conflict`] where its `resourceVersion` is not the last one.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Object, ApiError> {
        let body = Some(("application/json", object));
        self.send(Method::PUT, path, body).await.map(Object)
    }

    /// Server-side apply as `manager`, taking fields over from other managers.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/server-side-apply/>
    pub async fn apply(
        &self,
        path: &str,
        manager: &str,
        fields: &Value,
    ) -> Result<Object, ApiError> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        // JSON is YAML.
        let body = Some(("application/apply-patch+yaml", fields));
        self.send(Method::PATCH, &path, body).await.map(Object)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, ApiError> {
        let request =
            Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        let (request, body) = match body {
            None => (request, Vec::new()),
            Some((kind, value)) => {
                (request.header(header::CONTENT_TYPE, kind), value.to_string().into_bytes())
            }
        };
        self.answer(request, body).await
    }

    async fn answer(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        let request = request
            .header(header::USER_AGENT, concat!("lasthop/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body))
            .map_err(|error| ApiError::Unreachable(format!("the path is not usable: {error}")))?;
        let _under_way = self.looks.request();
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(unreachable("did not answer in time")),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Value, ApiError> {
        let response = self.client.send(request).await.map_err(|error| {
            tracing::debug!(error = causes(&error), "the API server cannot be reached");
            unreachable("cannot be reached")
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let bytes = body.map_err(|_broken| unreachable("broke off its answer"))?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = value.get("message").and_then(Value::as_str).unwrap_or("without a reason");
        match status {
            status if status.is_success() && value.is_object() => Ok(value),
            status if status.is_success() => {
                Err(unreachable("answered with something else than JSON"))
            }
            StatusCode::NOT_FOUND => Err(ApiError::Missing),
            StatusCode::CONFLICT => Err(ApiError::Conflict),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                Err(ApiError::Forbidden(escape(message)))
            }
            status => Err(ApiError::Refused { code: status.as_u16(), message: escape(message) }),
        }
    }
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

/// Whether kubectl would find a kubeconfig.
fn has_kubeconfig() -> bool {
    let home = || Some(Path::new(&std::env::var_os("HOME")?).join(".kube/config"));
    std::env::var_os("KUBECONFIG").is_some_and(|it| !it.is_empty())
        || home().is_some_and(|file| file.is_file())
}

/// Why a kubeconfig cannot be used. An error of syntax quotes the text, which holds keys and tokens:
/// of that only the place is told.
fn unusable(error: &KubeconfigError) -> anyhow::Error {
    match error {
        KubeconfigError::Parse(syntax) => {
            let text = syntax.to_string();
            let place = text.find("line ").and_then(|at| text.get(at..)?.split(':').next());
            anyhow!("the kubeconfig is not YAML of the kind Config, {}", place.unwrap_or_default())
        }
        KubeconfigError::ReadConfig(why, path) => {
            let path = escape(&path.display().to_string());
            anyhow!("the kubeconfig `{path}` cannot be read: {why}")
        }
        KubeconfigError::CurrentContextNotSet => anyhow!(
            "the kubeconfig has no `current-context`: `kubectl config get-contexts` lists what it has, \
             `kubectl config use-context NAME` chooses one"
        ),
        KubeconfigError::LoadContext(name) | KubeconfigError::LoadClusterOfContext(name) => {
            anyhow!(
                "the kubeconfig has no context or no cluster `{}`: `kubectl config get-contexts` lists what \
             it has",
                escape(name)
            )
        }
        error => anyhow!("{error}"),
    }
}

/// Whether an object can have this name (RFC 1123 subdomain); any other could lead a path astray,
/// and nothing is there under it.
pub fn is_name(name: &str) -> bool {
    let is_inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    name.len() <= 253
        && name.bytes().all(is_inside)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
}

fn unreachable(what: &str) -> ApiError {
    ApiError::Unreachable(format!("the API server {what}"))
}

/// An error with everything behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    escape(&text)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn tells_names_from_ways_out_of_a_path() {
        assert!(is_name("web-tls"));
        assert!(is_name("a.b"));
        for bad in ["", "..", "a/../b", "a?b", "a%2f", "-a", "a-", "A", "a b", "ä", "."] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&"a".repeat(254)));
    }
}
