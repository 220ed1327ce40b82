//! What the operator of the webhook chose for every sidecar: the flags of `serve` and `inject`.

use lasthop_contract::sidecar_config::{Drain, LogLevel};

use super::annotations::{Knobs, values};
use super::quantity::Quantity;
use crate::surroundings::Version;

/// How the sidecar is placed in the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placement {
    /// An init container that restarts: it starts before the app and ends after it, and a Job ends
    /// when its own containers do (Kubernetes 1.29 and newer).
    Native,
    /// A container beside the app.
    Ordinary,
}

/// How a Service calls a port of the sidecar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Naming {
    /// By name, which goes on leading to the right listener when its number changes.
    Name,
    /// By number, since a name does not lead to it.
    Number,
    /// By number, since nobody knows whether a name leads to it.
    Either,
}

/// When kubelet pulls the image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// Where the node does not hold it.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The word of the Kubernetes API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Requests and limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Amounts {
    /// The CPU that is set aside.
    pub cpu_request: Quantity,
    /// The CPU that is not exceeded.
    pub cpu_limit: Quantity,
    /// The memory that is set aside.
    pub memory_request: Quantity,
    /// The memory that is not exceeded.
    pub memory_limit: Quantity,
}

/// What holds for every sidecar unless an annotation says otherwise.
#[derive(Clone, Debug, Eq, PartialEq, clap::Args)]
#[command(next_help_heading = "Sidecar")]
pub struct Options {
    /// Image of the sidecar.
    #[arg(
        long = "sidecar-image", value_name = "IMAGE", env = "LASTHOP_SIDECAR_IMAGE",
        default_value_t = default_image()
    )]
    pub image: String,
    /// Images that the annotation `lasthop.dev/sidecar-image` may name; a `*` at the end takes any rest.
    #[arg(long = "allowed-sidecar-images", value_name = "IMAGE", value_delimiter = ',')]
    pub allowed_images: Vec<String>,
    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`.
    #[arg(
        long = "sidecar-image-pull-policy", value_name = "POLICY", default_value = "IfNotPresent",
        value_parser = |text: &str| one(values::pull_policy(text))
    )]
    pub pull_policy: PullPolicy,
    /// CPU request.
    #[arg(
        long = "sidecar-cpu-request", value_name = "QUANTITY", default_value = "10m",
        value_parser = |text: &str| one(values::cpu(text))
    )]
    pub cpu_request: Quantity,
    /// CPU limit.
    #[arg(
        long = "sidecar-cpu-limit", value_name = "QUANTITY", default_value = "1",
        value_parser = |text: &str| one(values::cpu(text))
    )]
    pub cpu_limit: Quantity,
    /// Memory request.
    #[arg(
        long = "sidecar-memory-request", value_name = "QUANTITY", default_value = "32Mi",
        value_parser = |text: &str| one(values::memory(text))
    )]
    pub memory_request: Quantity,
    /// Memory limit.
    #[arg(
        long = "sidecar-memory-limit", value_name = "QUANTITY", default_value = "128Mi",
        value_parser = memory_limit
    )]
    pub memory_limit: Quantity,
    /// How much is logged: error, warn, info or debug.
    #[arg(
        long = "sidecar-log-level", value_name = "LEVEL", default_value = "info",
        value_parser = |text: &str| one(values::log_level(text))
    )]
    pub log_level: LogLevel,
    /// How long after SIGTERM new connections are still taken.
    #[arg(
        long = "sidecar-drain-delay", value_name = "DURATION", default_value = "5s",
        value_parser = |text: &str| one(values::seconds(text))
    )]
    pub drain_delay: u32,
    /// How long after SIGTERM what is still open is cut; the delay counts in. Less than the pod's
    /// `terminationGracePeriodSeconds`.
    #[arg(
        long = "sidecar-drain-timeout", value_name = "DURATION", default_value = "25s",
        value_parser = |text: &str| one(values::seconds(text))
    )]
    pub drain_timeout: u32,
    /// Whether the sidecar is an init container that restarts (Kubernetes 1.29 and newer).
    #[arg(
        long = "sidecar-native", value_name = "true|false", default_value = "true",
        value_parser = |text: &str| one(values::native(text))
    )]
    pub placement: Placement,
    /// The version of Kubernetes, such as 1.33, instead of asking API server and nodes. Before 1.29 the
    /// sidecar is an ordinary container, before 1.33 a Service needs the number of its port.
    #[arg(
        long, value_name = "VERSION", value_parser = Version::of_flag, help_heading = "Cluster",
        env = "LASTHOP_CLUSTER_VERSION"
    )]
    pub cluster_version: Option<Version>,
}

impl Options {
    /// Where the sidecar of a pod with these annotations goes.
    pub fn placement_for(&self, knobs: &Knobs) -> Placement {
        let is_old = self.cluster_version.is_some_and(|it| it < Version::NATIVE_SIDECARS);
        let default = if is_old { Placement::Ordinary } else { self.placement };
        knobs.placement.unwrap_or(default)
    }

    /// How a Service calls the ports of such a sidecar.
    pub fn naming_for(&self, knobs: &Knobs) -> Naming {
        match (self.placement_for(knobs), self.cluster_version) {
            (Placement::Native, None) => Naming::Either,
            (Placement::Native, Some(it)) if it < Version::NAMED_SIDECAR_PORTS => Naming::Number,
            (Placement::Ordinary, _) | (Placement::Native, Some(_)) => Naming::Name,
        }
    }

    /// The drain of the flags.
    pub fn drain(&self) -> Drain {
        Drain { delay_seconds: self.drain_delay, timeout_seconds: self.drain_timeout }
    }

    /// The resources of the flags.
    pub fn amounts(&self) -> Amounts {
        Amounts {
            cpu_request: self.cpu_request.clone(),
            cpu_limit: self.cpu_limit.clone(),
            memory_request: self.memory_request.clone(),
            memory_limit: self.memory_limit.clone(),
        }
    }

    /// Whether an annotation may name this image.
    pub fn allows_image(&self, image: &str) -> bool {
        image == self.image
            || self.allowed_images.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(prefix) => image.starts_with(prefix),
                None => image == allowed,
            })
    }

    /// For who judges without knowing the webhook's flags: any image may be named.
    pub fn unknown() -> Self {
        Self { allowed_images: vec!["*".to_owned()], ..Self::default() }
    }
}

/// What the flags say when none is given.
impl Default for Options {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            options: Options,
        }
        <Flags as clap::Parser>::try_parse_from(["lasthop"])
            .expect("every flag has a default that its own parser takes")
            .options
    }
}

fn default_image() -> String {
    concat!("lasthop.dev/lasthop-sidecar:", env!("CARGO_PKG_VERSION")).to_owned()
}

/// What is wrong with a flag's value, on one line as clap prints it.
/// A limit in which the sidecar can start: who leaves the suffix out writes bytes.
fn memory_limit(text: &str) -> Result<Quantity, String> {
    let limit = one(values::memory(text))?;
    if limit.is_below_mebi() {
        return Err(format!(
            "that is {} bytes, in which the sidecar does not start; did you mean `{}Mi`?",
            limit.units(),
            limit.number()
        ));
    }
    Ok(limit)
}

fn one<T>(read: Result<T, Vec<values::Wrong>>) -> Result<T, String> {
    read.map_err(|wrongs| wrongs.into_iter().map(|wrong| wrong.help).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_flags() {
        let options = Options::default();
        assert_eq!(options.drain(), Drain::default());
        assert_eq!(options.placement, Placement::Native);
        assert!(options.memory_request < options.memory_limit);
    }

    #[test]
    fn the_version_says_where_the_sidecar_goes_and_how_its_ports_are_called() {
        let on = |version: &str| Options {
            cluster_version: Version::parse(version),
            ..Options::default()
        };
        let none = Knobs::default();
        let both =
            |options: &Options, knobs| (options.placement_for(knobs), options.naming_for(knobs));
        assert_eq!(both(&on("1.28"), &none), (Placement::Ordinary, Naming::Name));
        assert_eq!(both(&on("1.29"), &none), (Placement::Native, Naming::Number));
        assert_eq!(both(&on("1.32"), &none), (Placement::Native, Naming::Number));
        assert_eq!(both(&on("1.33"), &none), (Placement::Native, Naming::Name));
        assert_eq!(both(&on("?"), &none), (Placement::Native, Naming::Either));
        let ordinary = Knobs { placement: Some(Placement::Ordinary), ..Knobs::default() };
        assert_eq!(both(&on("?"), &ordinary), (Placement::Ordinary, Naming::Name));
        let native = Knobs { placement: Some(Placement::Native), ..Knobs::default() };
        assert_eq!(both(&on("1.28"), &native), (Placement::Native, Naming::Number));
    }

    #[test]
    fn only_listed_images_may_be_named() {
        let listed = ["registry.example.com/lasthop/*".to_owned(), "other:1".to_owned()];
        let options = Options { allowed_images: listed.into(), ..Options::default() };
        assert!(options.allows_image("registry.example.com/lasthop/sidecar:2"));
        assert!(options.allows_image("other:1"));
        assert!(options.allows_image(&options.image));
        assert!(!options.allows_image("other:12"));
        assert!(!Options::default().allows_image("evil:1"));
        assert!(Options::unknown().allows_image("any:1"));
    }
}
