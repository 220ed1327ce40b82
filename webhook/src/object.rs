//! Raw Kubernetes objects and the parts of them that rules read.
//!
//! Objects stay raw JSON: fields and kinds that nobody here knows pass through untouched, and no
//! custom resource needs to be installed.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_contract::credential::SecretData;
use lasthop_contract::text::escape;
use serde_json::Value;

use crate::path::FieldPath;

/// Names an object.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ObjectRef {
    /// `networking.k8s.io/v1`.
    pub api_version: String,
    /// `Ingress`.
    pub kind: String,
    /// Empty for what is cluster-wide.
    pub namespace: String,
    /// The name, or the `generateName` with a `*` behind it.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_version: _, kind, namespace, name } = self;
        // From files comes what no API server would store.
        let [kind, namespace, name] = [kind, namespace, name].map(|text| escape(text));
        if namespace.is_empty() {
            write!(f, "{kind} {name}")
        } else {
            write!(f, "{kind} {namespace}/{name}")
        }
    }
}

/// A raw object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(pub Value);

impl Object {
    /// The text at `pointer` (RFC 6901), empty where there is none.
    pub fn text(&self, pointer: &str) -> &str {
        at(&self.0, pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The sequence at `pointer`, empty where there is none.
    pub fn list(&self, pointer: &str) -> &[Value] {
        at(&self.0, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// The group of `apiVersion`; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _version)| group)
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Whether it is of `group` and `kind`, in any version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group() == group && self.kind() == kind
    }

    /// `metadata.namespace`; empty where nobody wrote one.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Names the object in output; `namespace` is where it is going to live.
    pub fn reference(&self, namespace: &str) -> ObjectRef {
        let name = match (self.name(), self.text("/metadata/generateName")) {
            ("", "") => "(unnamed)".to_owned(),
            ("", prefix) => format!("{prefix}*"),
            (name, _) => name.to_owned(),
        };
        ObjectRef {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            namespace: namespace.to_owned(),
            name,
        }
    }

    /// The annotations that have a text as value.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        texts(at(&self.0, "/metadata/annotations"))
    }

    /// One annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        at(&self.0, "/metadata/annotations")?.get(name)?.as_str()
    }

    /// The labels that have a text as value.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        texts(at(&self.0, "/metadata/labels"))
    }

    /// Whether a controller makes and owns it.
    pub fn is_controlled(&self) -> bool {
        let owners = self.list("/metadata/ownerReferences");
        owners.iter().any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
    }

    /// Whether it is on its way out.
    pub fn is_being_deleted(&self) -> bool {
        self.0.pointer("/metadata/deletionTimestamp").is_some_and(|it| !it.is_null())
    }
}

/// The value at `pointer`. [`Value::pointer`] makes two texts of every step, for escapes that are in none
/// of ours, and objects are read by pointers all the time.
fn at<'a>(mut value: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut rest = pointer;
    while let (Value::Object(fields), Some(steps)) = (value, rest.strip_prefix('/')) {
        let step = steps.split('/').next().unwrap_or_default();
        if step.contains('~') {
            break;
        }
        value = fields.get(step)?;
        rest = steps.strip_prefix(step).unwrap_or_default();
    }
    value.pointer(rest)
}

/// The members of a mapping that are texts.
pub fn texts(value: Option<&Value>) -> BTreeMap<&str, &str> {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// What writes CAs into a `ConfigMap`, by the label or annotation that it looks for or leaves.
/// <https://cert-manager.io/docs/trust/trust-manager/>,
/// <https://docs.openshift.com/container-platform/latest/networking/configuring-a-custom-pki.html>
const DISTRIBUTORS: [(&str, &str); 3] = [
    ("trust.cert-manager.io/bundle", "trust-manager"),
    ("config.openshift.io/inject-trusted-cabundle", "OpenShift"),
    ("service.beta.openshift.io/inject-cabundle", "OpenShift"),
];

/// A Secret as rules see it.
#[derive(Clone, Debug, Default)]
pub struct Secret {
    /// The raw object, for annotations, labels and owners.
    pub object: Object,
    /// `type`; `Opaque` where nobody wrote one.
    pub kind: String,
    /// `data` decoded, with `stringData` over it as the API server does it.
    pub data: SecretData,
    /// Keys of `data` whose value is not base64 (possible in files only).
    pub undecodable: Vec<String>,
}

impl Secret {
    /// What shows that a program writes this Secret, in words: cert-manager, the External Secrets
    /// Operator, Sealed Secrets, or an owner.
    pub fn written_by(&self) -> Option<String> {
        let known = [
            ("cert-manager.io/certificate-name", "cert-manager"),
            ("reconcile.external-secrets.io/data-hash", "the External Secrets Operator"),
            ("sealedsecrets.bitnami.com/managed", "Sealed Secrets"),
        ];
        let marked = known.iter().find(|(mark, _)| self.object.annotation(mark).is_some());
        let marked = marked.or_else(|| {
            let labels = self.object.labels();
            DISTRIBUTORS.iter().find(|(mark, _)| {
                self.object.annotation(mark).is_some() || labels.contains_key(*mark)
            })
        });
        let owner = || {
            let owner = self.object.list("/metadata/ownerReferences").first()?;
            let text = |key| owner.get(key).and_then(Value::as_str).map(escape);
            Some(format!("{} {}", text("kind")?, text("name")?))
        };
        marked.map(|(_, writer)| (*writer).to_owned()).or_else(owner)
    }

    /// The annotation which says that a replicator fills the Secret with what another one holds.
    /// <https://github.com/mittwald/kubernetes-replicator#pull-based-replication>,
    /// <https://github.com/emberstack/kubernetes-reflector>
    pub fn filled_by(&self) -> Option<&'static str> {
        let known = [
            "replicator.v1.mittwald.de/replicate-from",
            "reflector.v1.k8s.emberstack.com/reflects",
        ];
        let has = |name: &&str| self.object.annotation(name).is_some_and(|it| !it.is_empty());
        known.into_iter().find(has)
    }

    /// Why the values are not those that the cluster gets, in words that fit behind "could not look: ":
    /// SOPS decrypts them before they are applied, or argocd-vault-plugin writes them.
    /// <https://getsops.io/docs/>, <https://argocd-vault-plugin.readthedocs.io/en/stable/howitworks/>
    pub fn withheld(&self) -> Option<&'static str> {
        let raw = ["data", "stringData"].map(|key| texts(self.object.0.get(key)));
        let mut raw = raw.iter().flat_map(BTreeMap::values);
        if self.object.0.get("sops").is_some_and(Value::is_object)
            && raw.clone().any(|value| value.starts_with("ENC["))
        {
            return Some("its values are encrypted with SOPS");
        }
        let is_annotated = self.object.annotation("avp.kubernetes.io/path").is_some();
        let is_left = |value: &str| {
            let marked = value.split_once('<').is_some_and(|(_, rest)| rest.contains('>'));
            marked && (is_annotated || value.contains("<path:"))
        };
        let mut decoded = self.data.values().filter_map(|value| std::str::from_utf8(value).ok());
        (raw.any(|value| is_left(value)) || decoded.any(is_left))
            .then_some("argocd-vault-plugin is to write its values")
    }

    /// The field that holds `key`: `stringData` is laid over `data`.
    pub fn path(&self, key: &str) -> FieldPath {
        let has = |path: &FieldPath| path.find(&self.object.0).is_some_and(|it| !it.is_null());
        let over = FieldPath::of(["stringData", key]);
        let only_over = has(&FieldPath::of(["stringData"])) && !has(&FieldPath::of(["data"]));
        if only_over || has(&over) { over } else { FieldPath::of(["data", key]) }
    }

    /// Reads a raw `ConfigMap`: text under `data`, base64 under `binaryData`.
    ///
    /// <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/config-map-v1/>
    pub fn of_config_map(object: Object) -> Self {
        let texts = texts(object.0.get("data")).into_iter();
        let mut data: SecretData =
            texts.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect();
        let (kind, mut undecodable) = ("ConfigMap".to_owned(), Vec::new());
        for (key, value) in self::texts(object.0.get("binaryData")) {
            match STANDARD.decode(value.replace(['\r', '\n'], "")) {
                Ok(bytes) => {
                    data.insert(key.to_owned(), bytes);
                }
                Err(_syntax) => undecodable.push(key.to_owned()),
            }
        }
        Self { object, kind, data, undecodable }
    }

    /// Reads a raw Secret.
    pub fn read(object: Object) -> Self {
        let mut data = SecretData::new();
        let mut undecodable = Vec::new();
        for (key, value) in texts(object.0.get("data")) {
            // As Go reads base64: line breaks are nothing, a space is a fault.
            let compact = value.replace(['\r', '\n'], "");
            match STANDARD.decode(compact) {
                Ok(bytes) => {
                    data.insert(key.to_owned(), bytes);
                }
                Err(_syntax) => undecodable.push(key.to_owned()),
            }
        }
        for (key, value) in texts(object.0.get("stringData")) {
            data.insert(key.to_owned(), value.as_bytes().to_vec());
            undecodable.retain(|other| other != key);
        }
        let kind = match object.text("/type") {
            "" => "Opaque".to_owned(),
            kind => kind.to_owned(),
        };
        Self { object, kind, data, undecodable }
    }
}
