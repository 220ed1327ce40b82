//! Admission reviews, as an API server sends them.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::curl::{Answer, Curl};

/// A review to be sent.
#[derive(Clone, Debug)]
pub struct Review {
    request: Value,
}

impl Review {
    /// An administrator creates `object`.
    pub fn create(object: Value) -> Self {
        Self::of("CREATE", object, Value::Null)
    }

    /// An administrator replaces `old` by `object`.
    pub fn update(old: Value, object: Value) -> Self {
        Self::of("UPDATE", object, old)
    }

    /// An administrator deletes `old`.
    pub fn delete(old: Value) -> Self {
        Self::of("DELETE", Value::Null, old)
    }

    fn of(operation: &str, object: Value, old: Value) -> Self {
        let known = if object.is_null() { &old } else { &object };
        let version = known["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = known["kind"].as_str().unwrap_or_default();
        let kind = json!({ "group": group, "version": version, "kind": kind });
        let request = json!({
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind,
            "requestKind": kind,
            "name": known["metadata"]["name"].as_str().unwrap_or_default(),
            "namespace": known["metadata"]["namespace"].as_str().unwrap_or("default"),
            "operation": operation,
            "userInfo": {
                "username": "kubernetes-admin",
                "groups": ["system:masters", "system:authenticated"],
            },
            "object": object,
            "oldObject": old,
            "dryRun": false,
        });
        Self { request }
    }

    /// The same by somebody else.
    pub fn by(self, user: &str) -> Self {
        self.with("userInfo", json!({ "username": user, "groups": ["system:authenticated"] }))
    }

    /// The same with another field of the request.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.request[field] = value;
        self
    }

    /// The whole AdmissionReview.
    pub fn body(&self) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": self.request,
        })
    }

    /// Asks, and expects an answer.
    #[track_caller]
    pub fn ask(&self, request: Curl) -> Response {
        let answer = request
            .header("Content-Type: application/json")
            .body_bytes(self.body().to_string())
            .run()
            .expect(200);
        Response::of(&answer, &self.request["uid"])
    }
}

/// The answer to a review.
#[derive(Clone, Debug)]
pub struct Response(pub Value);

impl Response {
    #[track_caller]
    fn of(answer: &Answer, uid: &Value) -> Self {
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let mut review = answer.json();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        assert_eq!(review["response"]["uid"], *uid);
        Self(review["response"].take())
    }

    /// Panics if the object is refused.
    #[track_caller]
    pub fn expect_allowed(self) -> Self {
        assert_eq!(self.0["allowed"], true, "{:#}", self.0);
        self
    }

    /// The text of the refusal that is expected.
    #[track_caller]
    pub fn expect_refused(&self) -> &str {
        assert_eq!(self.0["allowed"], false, "{:#}", self.0);
        assert_eq!(self.0["status"]["code"], 403);
        assert_eq!(self.0["status"]["reason"], "Forbidden");
        self.0["status"]["message"].as_str().expect("a refusal has a text")
    }

    /// The warnings.
    pub fn warnings(&self) -> Vec<&str> {
        self.0["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// `object` with the patch; the same where there is none.
    #[track_caller]
    pub fn patched(&self, object: &Value) -> Value {
        let mut object = object.clone();
        let Some(patch) = self.0["patch"].as_str() else { return object };
        assert_eq!(self.0["patchType"], "JSONPatch");
        let patch = STANDARD.decode(patch).expect("a patch is base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch is RFC 6902");
        json_patch::patch(&mut object, &patch).expect("the patch fits the object");
        object
    }
}
