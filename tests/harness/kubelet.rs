//! What kubelet does with a pod's volumes: Secrets and `ConfigMap`s become directories whose files are
//! links through `..data`, a link to one generation, replaced in one step.
//! See <https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod>.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::pki::SecretData;
use crate::secret_dir::SecretDir;

/// Lays the volumes of one container out below a folder of the test's own.
#[derive(Debug)]
pub struct Kubelet {
    /// The folder that stands for `/var/run/secrets/lasthop.dev`.
    root: PathBuf,
    mounts: Vec<Mount>,
}

/// A volume, and where the container mounts it below the root.
#[derive(Debug)]
struct Mount {
    relative: PathBuf,
    volume: Value,
    directory: Option<SecretDir>,
}

impl Kubelet {
    /// Reads the mounts of `container` below `mount_root` (an absolute path in the container).
    pub fn new(pod: &Value, container: &Value, mount_root: &str, root: &Path) -> Result<Self> {
        let mut mounts = Vec::new();
        for mount in list(container, "volumeMounts") {
            let path = mount["mountPath"].as_str().context("a mount without mountPath")?;
            let Ok(relative) = Path::new(path).strip_prefix(mount_root) else { continue };
            ensure!(mount.get("subPath").is_none(), "{path}: a subPath is never updated");
            let volume = list(&pod["spec"], "volumes")
                .iter()
                .find(|volume| volume["name"] == mount["name"])
                .with_context(|| format!("{path}: the pod has no volume {}", mount["name"]))?;
            let (relative, volume) = (relative.to_owned(), volume.clone());
            mounts.push(Mount { relative, volume, directory: None });
        }
        Ok(Self { root: root.to_owned(), mounts })
    }

    /// Writes a new generation of every volume; `find` gives `("Secret" | "ConfigMap", name)`.
    ///
    /// As kubelet does, it fails where a Secret, or a key that `items` names, is not there and not
    /// optional.
    pub fn sync(&mut self, find: impl Fn(&str, &str) -> Option<Value>) -> Result<()> {
        for Mount { relative, volume, directory } in &mut self.mounts {
            let files = files_of(volume, &find).with_context(|| volume["name"].to_string())?;
            match directory {
                Some(directory) => directory.rotate(&files),
                None => *directory = Some(SecretDir::at(self.root.join(relative), &files)),
            }
        }
        Ok(())
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn files_of(volume: &Value, find: &impl Fn(&str, &str) -> Option<Value>) -> Result<SecretData> {
    if let Some(secret) = volume.get("secret") {
        let name = secret["secretName"].as_str().context("a Secret volume without secretName")?;
        return source("Secret", name, secret, find);
    }
    if let Some(map) = volume.get("configMap") {
        let name = map["name"].as_str().context("a ConfigMap volume without name")?;
        return source("ConfigMap", name, map, find);
    }
    let Some(projected) = volume.get("projected") else { bail!("not a volume of Secrets") };
    let mut files = SecretData::new();
    for entry in list(projected, "sources") {
        for (key, kind) in [("secret", "Secret"), ("configMap", "ConfigMap")] {
            if let Some(what) = entry.get(key) {
                let name = what["name"].as_str().context("a source without name")?;
                files.extend(source(kind, name, what, find)?);
            }
        }
    }
    Ok(files)
}

fn source(
    kind: &str,
    name: &str,
    volume: &Value,
    find: &impl Fn(&str, &str) -> Option<Value>,
) -> Result<SecretData> {
    let optional = volume["optional"].as_bool().unwrap_or(false);
    let Some(object) = find(kind, name) else {
        ensure!(optional, "{kind} {name} is not there");
        return Ok(SecretData::new());
    };
    let mut data = SecretData::new();
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let text = value.as_str().context("a value that is no text")?;
        let bytes = if kind == "Secret" { STANDARD.decode(text)? } else { text.into() };
        data.insert(key.clone(), bytes);
    }
    let items = list(volume, "items");
    if items.is_empty() {
        return Ok(data);
    }
    let mut files = SecretData::new();
    for item in items {
        let (Some(key), Some(path)) = (item["key"].as_str(), item["path"].as_str()) else {
            bail!("an item without key or path")
        };
        match data.get(key) {
            Some(bytes) => {
                files.insert(path.to_owned(), bytes.clone());
            }
            None => ensure!(optional, "{kind} {name} has no key {key}"),
        }
    }
    Ok(files)
}

/// The container that lasthop injected, wherever it stands.
pub fn sidecar_of(pod: &Value) -> Result<&Value> {
    let spec = &pod["spec"];
    let mut all = list(spec, "initContainers").iter().chain(list(spec, "containers"));
    all.find(|container| container["name"] == "lasthop")
        .context("the pod has no container `lasthop`")
}

/// The value of one variable of a container's environment.
pub fn variable<'v>(container: &'v Value, name: &str) -> Result<&'v str> {
    let variable = list(container, "env").iter().find(|variable| variable["name"] == name);
    variable
        .and_then(|variable| variable["value"].as_str())
        .with_context(|| format!("the container has no variable {name}"))
}
