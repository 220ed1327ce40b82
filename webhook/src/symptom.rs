//! Symptoms: what a person sees of a mistake before anybody has named it, and where.
//!
//! Messages stand in double quotes. Those of ingress-nginx 1.15, Traefik 3.7, Istio 1.31 and the AWS Load
//! Balancer Controller about Secrets were read in their sources; those of nginx 1.22, Envoy 1.40, curl with
//! OpenSSL 3 and Go 1.26 about broken credentials and refused clients were got from the programs. The rest,
//! such as browsers' pages and Events of Kubernetes, is from general knowledge: check before relying on it.

use std::fmt;

/// What is seen of a mistake, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Symptom {
    /// Who shows it.
    pub at: At,
    /// What that is, as a phrase: a message, a status, a condition; also that nothing is seen.
    pub seen: &'static str,
}

/// Where a symptom shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum At {
    /// What `kubectl apply` prints: the API server, or lasthop through it.
    Apply,
    /// Pods, Events and statuses of built-in objects.
    Kubernetes,
    /// Log and answers of ingress-nginx, and of nginx in it.
    IngressNginx,
    /// Traefik with its provider for ingress-nginx's annotations, which IBM Cloud's ALBs are.
    Traefik,
    /// AWS Load Balancer Controller, and the balancers that it makes.
    AwsAlb,
    /// istiod, and the Envoy of its gateways.
    Istio,
    /// Conditions of a Gateway, whoever implements it.
    GatewayApi,
    /// AKO, and AVI's virtual services.
    Avi,
    /// cert-manager's objects and Events.
    CertManager,
    /// The router of OpenShift.
    OpenShift,
    /// What browsers show.
    Browsers,
    /// curl with OpenSSL.
    Curl,
    /// Programs written in Go.
    Go,
    /// OpenSSL's command, and programs that print its errors.
    OpenSsl,
    /// Clients of any make.
    Clients,
    /// The log, metrics and answers of lasthop's sidecar.
    Sidecar,
    /// The application behind or before the sidecar.
    Application,
    /// The server that a sidecar originates to.
    NextTier,
}

impl At {
    /// What `self` shows.
    pub const fn shows(self, seen: &'static str) -> Symptom {
        Symptom { at: self, seen }
    }

    /// Whether it is a controller that serves what is in a cluster to those outside, or what makes
    /// certificates for it.
    pub const fn is_controller(self) -> bool {
        matches!(
            self,
            Self::IngressNginx
                | Self::Traefik
                | Self::AwsAlb
                | Self::Istio
                | Self::GatewayApi
                | Self::Avi
                | Self::CertManager
                | Self::OpenShift
        )
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apply => "kubectl apply",
            Self::Kubernetes => "Kubernetes",
            Self::IngressNginx => "ingress-nginx",
            Self::Traefik => "Traefik, IBM's ALB",
            Self::AwsAlb => "AWS ALB",
            Self::Istio => "Istio",
            Self::GatewayApi => "Gateway API",
            Self::Avi => "AVI",
            Self::CertManager => "cert-manager",
            Self::OpenShift => "OpenShift",
            Self::Browsers => "browsers",
            Self::Curl => "curl",
            Self::Go => "Go",
            Self::OpenSsl => "OpenSSL",
            Self::Clients => "clients",
            Self::Sidecar => "the sidecar",
            Self::Application => "the application",
            Self::NextTier => "the next tier",
        })
    }
}
