//! `NS/[KIND/]WORKLOAD[:PORT]`: which listener is meant.

use std::str::FromStr;

use lasthop_contract::near::nearest;
use lasthop_contract::text::escape;

use super::super::input::Source;
use crate::inject::{self, Wish, annotations};
use crate::object::Object;
use crate::rehearse::Place;
use crate::surroundings::{Listed, Sighting, is_name};

/// A listener of a workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    namespace: Option<String>,
    kind: Option<String>,
    name: String,
    port: Option<u16>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, port) = match text.rsplit_once(':') {
            Some((path, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (path, Some(port.ok_or("a port is a number from 1 to 65535")?))
            }
            None => (text, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (namespace, kind, name) = match parts.as_slice() {
            [name] => (None, None, *name),
            [namespace, name] => (Some(*namespace), None, *name),
            [namespace, kind, name] => (Some(*namespace), Some(*kind), *name),
            _ => return Err("it is written like `shop/web` or `shop/web:8443`".to_owned()),
        };
        for part in [Some(name), namespace].into_iter().flatten() {
            if !is_name(part) {
                return Err(format!(
                    "`{}` is no name of a Kubernetes object; it is written like `shop/web:8443`",
                    escape(part)
                ));
            }
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            kind: kind.map(str::to_ascii_lowercase),
            name: name.to_owned(),
            port,
        })
    }
}

impl Target {
    /// The namespace, where it is not said that of `source`.
    pub(super) fn namespace<'a>(&'a self, source: &'a Source) -> &'a str {
        self.namespace.as_deref().unwrap_or(&source.namespace)
    }

    /// The workload or Pod.
    ///
    /// # Errors
    /// None or several are meant: what to write instead.
    pub(super) async fn find(&self, source: &Source) -> Result<Object, Vec<String>> {
        let namespace = self.namespace(source);
        let mut all = Vec::new();
        for kind in [Listed::Workloads, Listed::Pods] {
            match source.surroundings.list(kind, namespace).await {
                Sighting::Found(objects) => all.extend(objects),
                Sighting::Missing => {}
                Sighting::Unknown(why) => {
                    return Err(vec![format!(
                        "error: could not look into namespace `{namespace}`: {why}"
                    )]);
                }
            }
        }
        all.retain(|object| inject::pod_of(object).is_some() && self.is_of_kind(object));
        let mut meant: Vec<&Object> = all.iter().filter(|it| it.name() == self.name).collect();
        match (meant.pop(), meant.as_slice()) {
            (Some(only), []) => Ok(only.clone()),
            (Some(last), others) => {
                let ways = others.iter().copied().chain([last]);
                let ways: Vec<String> =
                    ways.map(|it| format!("`{namespace}/{}/{}`", kind_of(it), self.name)).collect();
                Err(vec![format!("error: several are called so, write {}", ways.join(" or "))])
            }
            (None, _) => Err(self.nobody(namespace, &all)),
        }
    }

    fn is_of_kind(&self, object: &Object) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind_of(object) == *kind)
    }

    fn nobody(&self, namespace: &str, all: &[Object]) -> Vec<String> {
        let kind = self.kind.as_deref().unwrap_or("workload or Pod");
        let error = format!(
            "error: there is no {} `{}` in namespace `{namespace}`",
            escape(kind),
            self.name
        );
        let mut names: Vec<&str> = all.iter().map(Object::name).collect();
        names.sort_unstable();
        names.dedup();
        let help = match nearest(&self.name, names.iter().copied()) {
            Some(near) => format!("help: did you mean `{namespace}/{}`?", escape(near)),
            None if names.is_empty() => {
                "help: the namespace holds none at all; `--to` is written like `shop/web`"
                    .to_owned()
            }
            None => format!("help: there are {}", lasthop_contract::text::list(&names, 6)),
        };
        vec![error, help]
    }

    /// The listener of `workload` that is meant.
    ///
    /// # Errors
    /// There is none, or several come into question: what to write instead.
    pub(super) fn choose(
        &self,
        workload: &Object,
        mut places: Vec<Place>,
    ) -> Result<Place, Vec<String>> {
        let called = format!("{} `{}`", escape(workload.kind()), self.name);
        let ports: Vec<String> = places.iter().map(|place| place.port().to_string()).collect();
        match (self.port, places.len()) {
            (_, 0) => Err(no_listener(&called, workload)),
            (None, 1) => places.pop().ok_or_else(Vec::new),
            (None, _) => {
                let way = |port: &String| format!("`{self}:{port}`");
                let ways: Vec<String> = ports.iter().map(way).collect();
                Err(vec![
                    format!("error: the sidecar of {called} has several listeners"),
                    format!("help: write which one: `--to` {}", ways.join(" or ")),
                ])
            }
            (Some(port), _) => {
                let meant = places.into_iter().find(|place| place.port() == port);
                meant.ok_or_else(|| {
                    vec![
                        format!("error: the sidecar of {called} has no listener at port {port}"),
                        format!("help: it ends TLS at {}", ports.join(", ")),
                    ]
                })
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { namespace, kind, name, port: _ } = self;
        for part in [namespace, kind].into_iter().flatten() {
            write!(f, "{}/", escape(part))?;
        }
        f.write_str(name)
    }
}

fn kind_of(object: &Object) -> String {
    object.kind().to_ascii_lowercase()
}

fn no_listener(called: &str, workload: &Object) -> Vec<String> {
    let pod = inject::pod_of(workload).map(|(_, pod)| pod).unwrap_or_default();
    if annotations::wish(&pod) != Some(Wish::Inject) {
        return vec![
            format!("error: {called} asks for no sidecar: there is nobody to let a client in"),
            "help: `lasthop.dev/inject: \"true\"` on the pod template asks for one".to_owned(),
        ];
    }
    let (_, objections) = annotations::read(&pod);
    let error = format!("error: {called} asks for a sidecar that cannot be made");
    let reasons = objections.iter().map(|it| format!("error: {}", it.message));
    let help = "help: `lasthop check` says more".to_owned();
    std::iter::once(error).chain(reasons).chain([help]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_with_and_without_kind_and_port() {
        let read = |text: &str| text.parse::<Target>().map(|it| (it.to_string(), it.port));
        assert_eq!(read("web"), Ok(("web".to_owned(), None)));
        assert_eq!(read("shop/web"), Ok(("shop/web".to_owned(), None)));
        assert_eq!(read("shop/web:8443"), Ok(("shop/web".to_owned(), Some(8443))));
        let with_kind = read("shop/Deployment/web:1");
        assert_eq!(with_kind, Ok(("shop/deployment/web".to_owned(), Some(1))));
        for wrong in [
            "",
            "/",
            "shop/",
            "a/b/c/d",
            "shop/web:",
            "shop/web:0",
            "shop/web:65536",
            "shop/w b",
            "../x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
