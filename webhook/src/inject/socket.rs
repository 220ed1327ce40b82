//! The volume that holds the Unix socket of an app.

use lasthop_contract::annotation as name;
use lasthop_contract::sidecar_config::{SECRETS_ROOT, SocketPath};
use lasthop_contract::text::escape;
use serde_json::{Map, Value, json};

use super::annotations::{App, Request};
use super::code;
use super::objection::{Bearing, Objection};
use super::pod::{self, ContainerAt, DEFAULT_CONTAINER};
use crate::object::Object;
use crate::path::FieldPath;

/// The mounts that show the sidecar its apps' sockets, each volume once: where the app has it, and
/// read-only, for a socket can be connected to but not put in another's place
/// (<https://man7.org/linux/man-pages/man7/unix.7.html>).
pub(super) fn mounts(pod: &Object, request: &Request) -> (Vec<Value>, Vec<Objection>) {
    let (mut mounts, mut objections) = (Vec::new(), Vec::new());
    for listener in &request.listeners {
        let App::Socket(path) = &listener.app else { continue };
        match mount(pod, path, listener.listen) {
            Ok(mount) if mounts.contains(&mount) => {}
            Ok(mount) => mounts.push(mount),
            Err(objection) => objections.push(objection),
        }
    }
    (mounts, objections)
}

fn mount(pod: &Object, socket: &SocketPath, listen: u16) -> Result<Value, Objection> {
    let path = socket.path().to_string_lossy();
    let named = pod.annotation(DEFAULT_CONTAINER);
    let mut covering: Vec<(ContainerAt<'_>, &Value)> = pod::containers(pod)
        .filter_map(|container| Some((container, covering_mount(container, &path)?)))
        .collect();
    covering.sort_by_key(|(container, _)| Some(container.name()) != named);
    let own = format!("{}.{listen}", name::APP_SOCKET);
    let key = pod.annotation(&own).map_or(name::APP_SOCKET, |_| own.as_str());
    let object = |message: String, help: String| Objection {
        code: code::APP_SOCKET,
        bearing: Bearing::Blocks,
        path: FieldPath::annotation(key),
        message,
        help,
    };
    let Some((container, mount)) = covering.first() else {
        let folder = socket.path().parent().map(|it| it.display().to_string()).unwrap_or_default();
        return Err(object(
            format!("no container mounts a volume that holds `{}`", escape(&path)),
            format!(
                "share the folder with the sidecar: a volume such as `emptyDir: {{medium: Memory}}`, \
                 mounted in the app's container at `{}`",
                escape(&folder)
            ),
        ));
    };
    let text = |field: &str| mount.get(field).and_then(Value::as_str).unwrap_or_default();
    if !text("subPathExpr").is_empty() {
        return Err(object(
            format!(
                "the volume that holds `{}` is mounted with `subPathExpr`, which only container `{}` can \
                 work out",
                escape(&path),
                escape(container.name())
            ),
            "mount it with `subPath`, or without either".to_owned(),
        ));
    }
    if format!("{}/", text("mountPath").trim_end_matches('/')).starts_with(SECRETS_ROOT) {
        return Err(object(
            format!("`{}` lies where the sidecar has its Secrets", escape(&path)),
            "put the socket elsewhere: `/run/app/app.sock`".to_owned(),
        ));
    }
    let mut shown = Map::new();
    for field in ["name", "mountPath", "subPath"] {
        if !text(field).is_empty() {
            shown.insert(field.to_owned(), json!(text(field)));
        }
    }
    shown.insert("readOnly".to_owned(), json!(true));
    Ok(Value::Object(shown))
}

/// The deepest mount of `container` in which `path` lies.
fn covering_mount<'a>(container: ContainerAt<'a>, path: &str) -> Option<&'a Value> {
    let depth = |mount: &Value| {
        let at = mount.get("mountPath")?.as_str()?.trim_end_matches('/');
        path.strip_prefix(at)?.starts_with('/').then_some(at.len())
    };
    let mounts = container.value.get("volumeMounts").and_then(Value::as_array);
    mounts.into_iter().flatten().filter(|mount| depth(mount).is_some()).max_by_key(|it| depth(it))
}
