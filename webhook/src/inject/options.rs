//! What the operator of the webhook chose for every sidecar: the flags of `serve` and `inject`.

use lasthop_contract::sidecar_config::{Drain, LogLevel};

use super::annotations::values;
use super::quantity::Quantity;

/// How the sidecar is placed in the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placement {
    /// An init container that restarts: it starts before the app and ends after it, and a Job ends
    /// when its own containers do (Kubernetes 1.29 and newer).
    Native,
    /// A container beside the app.
    Ordinary,
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
        value_parser = |text: &str| one(values::memory(text))
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
}

impl Options {
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
