//! What the injector reads of a pod, its own earlier work left out.

use std::collections::BTreeSet;

use lasthop_contract::annotation::PREFIX;
use lasthop_contract::sidecar_config::CONFIG_VARIABLE;
use serde_json::Value;

use crate::object::Object;
use crate::path::FieldPath;

/// The sidecar's name in a pod.
pub const CONTAINER: &str = "lasthop";

/// kubectl takes this container where nobody names one.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The proxies of meshes: Istio, Linkerd, Consul, Kuma, Dapr and Open Service Mesh call them so.
const MESH: [&str; 6] =
    ["istio-proxy", "linkerd-proxy", "consul-dataplane", "kuma-sidecar", "daprd", "osm-proxy"];

/// The two lists of containers that live as long as the pod or before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum List {
    /// `spec.initContainers`.
    Init,
    /// `spec.containers`.
    Main,
}

impl List {
    /// The field of the pod's `spec`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
        }
    }
}

/// A container and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct ContainerAt<'a> {
    /// The list.
    pub list: List,
    /// Its place there.
    pub index: usize,
    /// The raw container.
    pub value: &'a Value,
}

impl<'a> ContainerAt<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.value.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is a main container, and none that a mesh put there.
    pub(super) fn may_be_app(&self) -> bool {
        self.list == List::Main && !MESH.contains(&self.name())
    }

    /// Its field.
    pub fn path(&self) -> FieldPath {
        FieldPath::of(["spec", self.list.field()]).index(self.index)
    }

    /// The ports that it declares, each with the protocol.
    pub fn ports(self) -> impl Iterator<Item = DeclaredPort<'a>> {
        let ports = self.value.get("ports").and_then(Value::as_array);
        ports.into_iter().flatten().enumerate().filter_map(|(index, port)| {
            Some(DeclaredPort {
                index,
                number: port
                    .get("containerPort")?
                    .as_u64()
                    .and_then(|it| u16::try_from(it).ok())?,
                name: port.get("name").and_then(Value::as_str).unwrap_or_default(),
                is_tcp: port.get("protocol").and_then(Value::as_str).is_none_or(|it| it == "TCP"),
                host: port.get("hostPort").and_then(Value::as_u64).filter(|host| *host > 0),
            })
        })
    }
}

/// A port of a container.
#[derive(Clone, Copy, Debug)]
pub struct DeclaredPort<'a> {
    /// Its place in the list.
    pub index: usize,
    /// `containerPort`.
    pub number: u16,
    /// `name`, empty where there is none.
    pub name: &'a str,
    /// Whether the protocol is TCP, as it is where nobody says.
    pub is_tcp: bool,
    /// `hostPort`: a port of the node that leads to it.
    pub host: Option<u64>,
}

/// All containers of the pod.
pub fn all_containers(pod: &Object) -> impl Iterator<Item = ContainerAt<'_>> {
    [(List::Init, "/spec/initContainers"), (List::Main, "/spec/containers")].into_iter().flat_map(
        |(list, pointer)| {
            pod.list(pointer).iter().enumerate().map(move |(index, value)| ContainerAt {
                list,
                index,
                value,
            })
        },
    )
}

/// The user's containers: all but our own.
pub fn containers(pod: &Object) -> impl Iterator<Item = ContainerAt<'_>> {
    all_containers(pod).filter(|container| !is_own(container))
}

/// Our own container from an earlier injection.
pub fn own(pod: &Object) -> Option<ContainerAt<'_>> {
    all_containers(pod).find(is_own)
}

/// Whether this container is one that we wrote: it has our name and our configuration. Who forges
/// one has it replaced by the real one.
fn is_own(container: &ContainerAt<'_>) -> bool {
    let env = container.value.get("env").and_then(Value::as_array);
    container.name() == CONTAINER
        && env
            .into_iter()
            .flatten()
            .any(|variable| variable.get("name").and_then(Value::as_str) == Some(CONFIG_VARIABLE))
}

/// The app's only TCP port and the container that declares it.
///
/// The container that kubectl takes by default is the app where it is named. The injector names it,
/// so that a port of a container which another injector adds later does not change the answer.
///
/// # Errors
/// The ports that come into question, where they are none or several.
pub fn only_app_port(pod: &Object) -> Result<(u16, &str), Vec<u16>> {
    let named = pod.annotation(DEFAULT_CONTAINER);
    let main = || containers(pod).filter(ContainerAt::may_be_app);
    let declared = |container: ContainerAt<'_>| {
        let ports = container.ports().filter(|port| port.is_tcp);
        ports.map(|port| port.number).collect::<Vec<u16>>()
    };
    let of_app: Vec<(u16, &str)> = main()
        .filter(|container| Some(container.name()) == named)
        .flat_map(|container| declared(container).into_iter().map(move |it| (it, container.name())))
        .collect();
    let of_all = || {
        main()
            .flat_map(|container| {
                declared(container).into_iter().map(move |it| (it, container.name()))
            })
            .collect()
    };
    let found: Vec<(u16, &str)> = if of_app.is_empty() { of_all() } else { of_app };
    let numbers: BTreeSet<u16> = found.iter().map(|(port, _)| *port).collect();
    match (found.first(), numbers.len()) {
        (Some(only), 1) => Ok(*only),
        _ => Err(numbers.into_iter().collect()),
    }
}

/// The name of the container that declares `port`, else of the first one.
pub fn container_of(pod: &Object, port: Option<u16>) -> Option<&str> {
    let main = || containers(pod).filter(|container| container.list == List::Main);
    let declares = |container: &ContainerAt<'_>| {
        container.ports().any(|it| it.is_tcp && Some(it.number) == port)
    };
    let first = || main().find(ContainerAt::may_be_app).or_else(|| main().next());
    main().find(declares).or_else(first).map(|container| container.name())
}

/// Whether kubelet made this pod from a file of its node; nobody can change such a pod.
///
/// <https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>
pub fn is_mirror(pod: &Object) -> bool {
    pod.annotation("kubernetes.io/config.mirror").is_some()
}

/// Whether `key` is an annotation that asks something of a sidecar, as opposed to what other
/// objects bear, too.
pub fn is_sidecar_annotation(key: &str) -> bool {
    use lasthop_contract::annotation::{IGNORE, INJECT, MISSING_SECRET, ORIGINAL_PROBES, STATUS};
    let others = [IGNORE, INJECT, MISSING_SECRET, ORIGINAL_PROBES, STATUS];
    key.starts_with(PREFIX) && !others.contains(&key)
}
