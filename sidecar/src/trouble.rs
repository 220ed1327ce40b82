//! What is wrong with a Secret on disk, as log and status tell it.

use std::fmt;
use std::io;
use std::path::Path;

use lasthop_contract::client_policy::PolicyError;
use lasthop_contract::problem::{Fault, Gravity, Problem};
use lasthop_contract::server_policy::ServerPolicyError;

use crate::secret_dir::SecretDir;

/// Something wrong with a Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Trouble {
    /// The Secret, by its name in the configuration.
    pub(crate) secret: String,
    what: What,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum What {
    /// Its directory or a file in it.
    Unreadable { reason: String },
    /// What it holds.
    Problem(Problem),
    /// What would follow from it.
    Policy { reason: String },
    /// What the TLS library says.
    Tls { reason: String },
}

impl Trouble {
    pub(crate) fn unreadable(dir: &SecretDir, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            _ => error.to_string(),
        };
        Self { secret: dir.name().to_owned(), what: What::Unreadable { reason } }
    }

    pub(crate) fn problem(dir: &SecretDir, problem: Problem) -> Self {
        Self { secret: dir.name().to_owned(), what: What::Problem(problem) }
    }

    pub(crate) fn policy(dir: &SecretDir, error: &PolicyError) -> Self {
        let reason = error.to_string();
        Self { secret: dir.name().to_owned(), what: What::Policy { reason } }
    }

    pub(crate) fn server_policy(found_in: &str, error: &ServerPolicyError) -> Self {
        Self { secret: found_in.to_owned(), what: What::Tls { reason: error.to_string() } }
    }

    pub(crate) fn bundle(file: &Path, reason: String) -> Self {
        Self { secret: file.display().to_string(), what: What::Unreadable { reason } }
    }

    pub(crate) fn tls(error: &rustls::Error) -> Self {
        Self { secret: String::new(), what: What::Tls { reason: error.to_string() } }
    }

    /// The stable code, where it has one.
    pub(crate) fn code(&self) -> Option<String> {
        match &self.what {
            What::Problem(problem) => Some(problem.code().to_string()),
            What::Unreadable { .. } | What::Policy { .. } | What::Tls { .. } => None,
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match &self.what {
            What::Problem(problem) => Some(problem.help()),
            What::Unreadable { .. } | What::Policy { .. } | What::Tls { .. } => None,
        }
    }

    /// How much it hurts.
    pub(crate) fn gravity(&self) -> Gravity {
        match &self.what {
            What::Problem(problem) => problem.gravity(),
            What::Unreadable { .. } | What::Policy { .. } | What::Tls { .. } => Gravity::Fatal,
        }
    }

    /// Whether the configuration asks for something unsafe of a Secret that is good in itself.
    pub(crate) fn is_unsafe(&self) -> bool {
        matches!(self.what, What::Policy { .. })
    }

    /// Whether it comes and goes with time, so that it is asked for when it is told.
    pub(crate) fn is_of_the_moment(&self) -> bool {
        let What::Problem(problem) = &self.what else { return false };
        matches!(
            problem.fault,
            Fault::ExpiresSoon { .. } | Fault::CaExpired { .. } | Fault::CrlExpired { .. }
        )
    }

    /// Whether a revocation list is past its time.
    pub(crate) fn is_expired_crl(&self) -> bool {
        matches!(&self.what, What::Problem(problem) if matches!(problem.fault, Fault::CrlExpired { .. }))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Unreadable { reason } => write!(f, "it cannot be read: {reason}"),
            What::Problem(problem) => f.write_str(&problem.message()),
            What::Policy { reason } | What::Tls { reason } => f.write_str(reason),
        }
    }
}
