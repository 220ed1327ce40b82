//! AdmissionReview in and out.
//!
//! Both stay raw JSON: <https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/> is
//! read by pointer, so that no field of an object gets lost on the way.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_contract::text::escape;
use serde_json::{Map, Value, json};

use crate::check::{DryRun, Operation, Requester};
use crate::object::Object;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The request of an AdmissionReview.
#[derive(Clone, Debug)]
pub struct Question {
    /// Tells requests apart; the answer carries it back.
    pub uid: String,
    /// What happens to the object; [`None`] for an operation that nobody here judges (CONNECT).
    pub operation: Option<Operation>,
    /// The object as it is going to be; for a deletion, as it was.
    pub object: Object,
    /// As it was before an update.
    pub old: Option<Object>,
    /// The kind of the request, where the object itself does not say.
    pub kind: String,
    /// The namespace; empty for what is cluster-wide.
    pub namespace: String,
    /// The name; empty where `generateName` is going to make one.
    pub name: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// Whether it is meant.
    pub dry_run: DryRun,
    /// Who asks.
    pub requester: Requester,
}

impl Question {
    /// The name to show: before `generateName` has made one, what the object says.
    pub fn displayed_name(&self) -> &str {
        let of_object = [self.object.name(), self.object.text("/metadata/generateName")];
        let mut names = std::iter::once(self.name.as_str()).chain(of_object);
        names.find(|name| !name.is_empty()).unwrap_or_default()
    }
}

/// Why a body is no question. Each is the sender's fault: HTTP status 400.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// JSON, but of another kind.
    #[error("the body is not an AdmissionReview but {0}")]
    NotAReview(String),
    /// An AdmissionReview of a version that is not spoken here.
    #[error(
        "the AdmissionReview has apiVersion `{0}`, lasthop speaks `admission.k8s.io/v1`; write \
         `admissionReviewVersions: [v1]` in the webhook configuration"
    )]
    Version(String),
    /// A part that every request has is missing or of another type.
    #[error("the AdmissionReview cannot be answered: {0}")]
    Malformed(String),
}

/// Reads an AdmissionReview.
///
/// # Errors
/// Whatever keeps it from being answered; never because of a kind or operation that is not known
/// here.
pub fn read(body: &[u8]) -> Result<Question, ReviewError> {
    // serde_json's errors name line and column, and nothing of the content.
    let mut review: Value =
        serde_json::from_slice(body).map_err(|error| ReviewError::NotJson(error.to_string()))?;
    expect_review(&review)?;
    let Some(Value::Object(request)) = review.get_mut("request").map(Value::take) else {
        return Err(malformed("`request` is missing"));
    };
    question(request)
}

fn expect_review(review: &Value) -> Result<(), ReviewError> {
    let Some(members) = review.as_object() else {
        return Err(ReviewError::NotAReview(json_type(review).to_owned()));
    };
    let text = |name| members.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("kind"), text("apiVersion")) {
        (KIND, API_VERSION) => Ok(()),
        (KIND, version) => Err(ReviewError::Version(escape(version))),
        ("", _) => Err(ReviewError::NotAReview("an object without `kind`".to_owned())),
        (kind, version) => {
            Err(ReviewError::NotAReview(format!("`{}` of `{}`", escape(kind), escape(version))))
        }
    }
}

fn question(mut request: Map<String, Value>) -> Result<Question, ReviewError> {
    let mut object = object(&mut request, "object")?;
    let mut old = object_or_none(&mut request, "oldObject")?;
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let uid = text("uid").to_owned();
    if uid.is_empty() {
        return Err(malformed("`request.uid` is missing"));
    }
    let operation = match text("operation") {
        "CREATE" => Some(Operation::Create),
        "UPDATE" => Some(Operation::Update),
        "DELETE" => Some(Operation::Delete),
        "" => return Err(malformed("`request.operation` is missing")),
        _ => None,
    };
    if operation == Some(Operation::Delete) {
        object = old.take();
    }
    let object = match (object, operation) {
        (Some(object), _) => object,
        // API servers before 1.15 sent no object along with DELETE; there is nothing to judge then.
        (None, None | Some(Operation::Delete)) => Object::default(),
        (None, Some(_)) => return Err(malformed("`request.object` is missing")),
    };
    Ok(Question {
        uid,
        operation,
        kind: pointer_text(&request, &["kind", "kind"]).to_owned(),
        namespace: text("namespace").to_owned(),
        name: text("name").to_owned(),
        subresource: text("subResource").to_owned(),
        dry_run: match request.get("dryRun") {
            Some(Value::Bool(true)) => DryRun::Yes,
            _ => DryRun::No,
        },
        requester: requester(request.get("userInfo")),
        object,
        old,
    })
}

/// An object that is there, or [`None`] for `null`.
fn object_or_none(
    request: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<Object>, ReviewError> {
    match request.get_mut(name).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(_)) if value.get("metadata").is_some_and(Value::is_object) => {
            Ok(Some(Object(value)))
        }
        Some(Value::Object(_)) => Err(malformed(&format!("`request.{name}.metadata` is missing"))),
        Some(other) => {
            Err(malformed(&format!("`request.{name}` is {}, no object", json_type(&other))))
        }
    }
}

/// As [`object_or_none`], but what CONNECT carries (such as `PodExecOptions`) has no metadata.
fn object(request: &mut Map<String, Value>, name: &str) -> Result<Option<Object>, ReviewError> {
    if request.get("operation").and_then(Value::as_str) == Some("CONNECT") {
        return Ok(None);
    }
    object_or_none(request, name)
}

fn requester(user: Option<&Value>) -> Requester {
    let Some(user) = user.and_then(Value::as_object) else { return Requester::default() };
    let text = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let extra = user.get("extra").and_then(Value::as_object).into_iter().flatten();
    Requester {
        name: text("username"),
        uid: text("uid"),
        groups: texts(user.get("groups")),
        extra: extra.map(|(key, values)| (key.clone(), texts(Some(values)))).collect(),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pointer_text<'v>(members: &'v Map<String, Value>, keys: &[&str; 2]) -> &'v str {
    let [first, second] = keys;
    members.get(*first).and_then(|it| it.get(second)).and_then(Value::as_str).unwrap_or_default()
}

fn malformed(reason: &str) -> ReviewError {
    ReviewError::Malformed(reason.to_owned())
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// What a question is answered with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The text of a refusal.
    pub refusal: Option<String>,
    /// What kubectl prints behind `Warning:`, a line each.
    pub warnings: Vec<String>,
    /// What the API server's audit log keeps; it puts the webhook's name before each key.
    pub audit: BTreeMap<String, String>,
    /// Operations of RFC 6902; none where nothing changes.
    pub patch: Option<Value>,
}

/// The AdmissionReview that answers the question `uid`.
pub fn answer(uid: &str, answer: Answer) -> Value {
    let Answer { refusal, warnings, audit, patch } = answer;
    let mut response = Map::new();
    response.insert("uid".to_owned(), json!(uid));
    response.insert("allowed".to_owned(), json!(refusal.is_none()));
    if let Some(message) = refusal {
        // With the reason `Invalid`, kubectl prints the causes alone.
        let status = json!({
            "status": "Failure", "code": 403, "reason": "Forbidden", "message": message,
        });
        response.insert("status".to_owned(), status);
    } else if let Some(patch) = patch {
        response.insert("patchType".to_owned(), json!("JSONPatch"));
        response.insert("patch".to_owned(), json!(STANDARD.encode(patch.to_string())));
    }
    if !warnings.is_empty() {
        response.insert("warnings".to_owned(), json!(warnings));
    }
    if !audit.is_empty() {
        response.insert("auditAnnotations".to_owned(), json!(audit));
    }
    json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
}
