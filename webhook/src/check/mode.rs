//! How a check is meant: what holds without a label, what no label can go below, and its bounds.

use std::time::Duration;

use crate::inject;

/// What findings do: the namespace label `lasthop.dev/validate`, in the manner of Pod Security.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Validate {
    /// Nothing.
    Off,
    /// All of them come back as warnings.
    Warn,
    /// Errors refuse the request.
    Enforce,
}

impl Validate {
    /// Reads the label's value.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "off" => Some(Self::Off),
            "warn" => Some(Self::Warn),
            "enforce" => Some(Self::Enforce),
            _ => None,
        }
    }

    /// The label's value.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

/// Where the question comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setting {
    /// The command line: all documents are judged, each for what has to change in it, so that a
    /// fault of a Secret is told once and not once a reader.
    Files,
    /// An admission review: the one object at hand has to tell everything.
    Review,
}

/// What one review may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Lookups; what is left is unknown.
    pub lookups: usize,
    /// The time after which lookups are unknown.
    pub deadline: Option<Duration>,
}

/// How a check is meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mode {
    /// Where the question comes from.
    pub setting: Setting,
    /// What holds for a namespace without the label.
    pub default_validate: Validate,
    /// The floor that no label can go below.
    pub minimum_validate: Validate,
    /// Annotations of a referencing object, beside the known ones, that say that something makes its
    /// Secret.
    pub maker_annotations: Vec<String>,
    /// What holds for the sidecars of the pods that ask for one.
    pub sidecar: inject::Options,
    /// What it may cost.
    pub limits: Limits,
}

impl Mode {
    /// The mode of the webhook.
    pub fn review() -> Self {
        Self {
            setting: Setting::Review,
            default_validate: Validate::Enforce,
            minimum_validate: Validate::Off,
            maker_annotations: Vec::new(),
            sidecar: inject::Options::unknown(),
            limits: Limits { lookups: 64, deadline: Some(Duration::from_secs(2)) },
        }
    }

    /// The mode of the command line: nobody waits for it.
    pub fn files() -> Self {
        Self {
            setting: Setting::Files,
            limits: Limits { lookups: usize::MAX, deadline: None },
            ..Self::review()
        }
    }
}
