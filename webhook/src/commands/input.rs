//! Where the objects come from that a subcommand looks at: files, or a live cluster.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::complain;
use crate::documents::{Document, Documents};
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;
use crate::render::text;
use crate::surroundings::{ApiServer, Cluster, Completeness, Files, NameSource, Surroundings};

/// The arguments that say so.
#[derive(Debug, clap::Args)]
pub struct Input {
    /// Files, folders (every .yaml, .yml and .json below them), or `-` for standard input
    #[arg(
        short = 'f', long = "filename", value_name = "PATH", num_args = 1..,
        required_unless_present_any = ["cluster", "given"]
    )]
    paths: Vec<PathBuf>,
    /// Files and folders, as after `-f`
    #[arg(value_name = "PATH", conflicts_with = "cluster")]
    given: Vec<PathBuf>,
    /// Look at a live cluster, found as kubectl finds it, with your own rights
    #[arg(long, conflicts_with = "paths")]
    cluster: bool,
    /// The kubeconfig with the way to the cluster
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// The namespace of objects that do not say one, `default` unless it is given; of a cluster, the
    /// one to look at
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Objects to look at.
pub(super) struct Source {
    /// The answers to every look.
    pub(super) surroundings: Surroundings,
    /// What was read, where it was files.
    pub(super) documents: Documents,
    /// The namespace of objects that do not say one.
    pub(super) namespace: String,
}

impl Input {
    /// The API server, where a cluster is to be looked at.
    ///
    /// # Errors
    /// There is no way to one.
    pub(super) async fn connect(&self) -> Result<Option<ApiServer>, Vec<String>> {
        if !self.cluster {
            return Ok(None);
        }
        let api = ApiServer::connect(self.kubeconfig.as_deref()).await;
        api.map(Some).map_err(|error| vec![format!("error: {error:#}")])
    }

    /// The namespace, where one is given.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The documents of the files; what is odd about them is told at once.
    pub(super) fn read(&self) -> Documents {
        let paths = [self.paths.as_slice(), &self.given].concat();
        let documents = Documents::read(&paths).without_patches();
        for remark in &documents.remarks {
            complain(&text::remark(remark));
        }
        documents
    }

    /// Reads the files, or finds the cluster.
    ///
    /// # Errors
    /// What could not be read, a line each.
    pub(super) async fn open(self) -> Result<Source, Vec<String>> {
        let api = self.connect().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| "default".to_owned());
        if let Some(api) = api {
            let cluster = Cluster::new(api, NameSource::Seen, None);
            let surroundings = Surroundings::Cluster(cluster);
            return Ok(Source { surroundings, documents: Documents::default(), namespace });
        }
        let documents = self.read();
        let mut failures: Vec<String> = documents.failures.iter().map(text::failure).collect();
        if failures.is_empty() && documents.documents.is_empty() {
            failures.push("error: there is no Kubernetes object in what was given".to_owned());
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        let surroundings = Surroundings::Files(files(&documents, &namespace, Completeness::Part));
        Ok(Source { surroundings, documents, namespace })
    }
}

impl Source {
    /// Every object that can lie on the way of a request; of a cluster, without Secrets.
    ///
    /// # Errors
    /// What could not be looked at.
    pub(super) async fn everything(&self) -> Result<Vec<Object>, Vec<String>> {
        match &self.surroundings {
            Surroundings::Files(_) => {
                let all = self.documents.documents.iter();
                Ok(all.map(|it| placed(&it.object, home(&it.object, &self.namespace))).collect())
            }
            Surroundings::Cluster(cluster) => {
                let all = cluster.routing().await;
                all.map_err(|error| {
                    vec![format!("error: could not look into the cluster: {error}")]
                })
            }
        }
    }

    /// The file, line and column of a field, where it was read from files.
    pub(super) fn place(&self, object: &ObjectRef, path: &FieldPath) -> Option<String> {
        let is_it = |document: &&Document| {
            document.object.reference(home(&document.object, &self.namespace)) == *object
        };
        let place = self.documents.documents.iter().find(is_it)?.place(path);
        Some(format!("{}:{}:{}", place.file, place.line, place.column))
    }
}

/// Every document as surroundings of all of them.
pub(super) fn files(read: &Documents, namespace: &str, completeness: Completeness) -> Files {
    let placed = |document: &Document| placed(&document.object, home(&document.object, namespace));
    Files::new(read.documents.iter().map(placed).collect(), completeness)
}

/// The namespace that `object` lives in where `namespace` is the one of those that do not say.
pub(super) fn home<'a>(object: &'a Object, namespace: &'a str) -> &'a str {
    match object.namespace() {
        "" => namespace,
        written => written,
    }
}

/// `object` with its namespace written out.
fn placed(object: &Object, namespace: &str) -> Object {
    let mut placed = object.clone();
    if let Value::Object(fields) = &mut placed.0 {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
    }
    placed
}
