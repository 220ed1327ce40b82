//! From a configuration to a plan: everything parsed, everything unsafe refused, all at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lasthop_contract::sidecar_config::{
    KeyLog, Listener, PlaintextDoor, RedirectStatus, SidecarConfig,
};

use crate::cli::Settings;
use crate::confine::{Datagrams, Ports};
use crate::dial::target::Target;
use crate::limits::Bounds;

pub(crate) mod originate;
pub(crate) mod probes;
pub(crate) mod terminate;

use originate::{OriginatePlan, Surroundings};
use probes::ProbePlan;
use terminate::TerminatePlan;

/// Whether the application may be elsewhere than on loopback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TargetPolicy {
    /// The plaintext stays on this host.
    Loopback,
    /// Somebody said in writing that it need not.
    Anywhere,
}

/// What to serve, ready to be served.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) terminate: Vec<TerminatePlan>,
    pub(crate) originate: Vec<OriginatePlan>,
    pub(crate) redirect: Vec<RedirectPlan>,
    pub(crate) status: SocketAddr,
    /// What the status listener performs.
    pub(crate) probes: Vec<ProbePlan>,
    pub(crate) door: PlaintextDoor,
    pub(crate) drain: DrainPlan,
    pub(crate) max_connections: usize,
    pub(crate) bounds: Bounds,
    pub(crate) key_log: KeyLog,
}

/// A listener that redirects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedirectPlan {
    pub(crate) listen: SocketAddr,
    pub(crate) https_port: u16,
    pub(crate) status: RedirectStatus,
}

/// What happens at SIGTERM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainPlan {
    pub(crate) delay: Duration,
    pub(crate) timeout: Duration,
}

impl DrainPlan {
    /// What is odd about it, and goes all the same: whoever drains for no time may mean it.
    pub(crate) fn oddity(&self) -> Option<String> {
        let (delay, timeout) = (self.delay.as_secs(), self.timeout.as_secs());
        let leaves_nothing = delay >= timeout && delay > 0;
        leaves_nothing.then(|| {
            format!(
                "the drain delay of {delay} s leaves nothing of the drain timeout of {timeout} s, in which it \
                 counts: what is under way then is cut"
            )
        })
    }
}

/// What is wrong with a configuration, in words: where, and what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConfigFault(String);

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Plan {
    /// The plan that `settings` describe.
    ///
    /// # Errors
    /// Everything that is wrong or unsafe.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Vec<ConfigFault>> {
        let Settings { config, secrets, bind, ca_file, target, max_connections, bounds, .. } =
            settings;
        let SidecarConfig { version: _, listeners, status_listen, drain, .. } = config;
        let bound = |address: SocketAddr| match bind {
            Some(ip) => SocketAddr::new(*ip, address.port()),
            None => address,
        };
        let mut faults = Vec::new();
        if listeners.is_empty() {
            faults.push(ConfigFault("there is no listener".to_owned()));
        }
        let mut plan = Self {
            terminate: Vec::new(),
            originate: Vec::new(),
            redirect: Vec::new(),
            status: bound(*status_listen),
            probes: Vec::new(),
            door: config.plaintext_door,
            drain: DrainPlan {
                delay: Duration::from_secs(u64::from(drain.delay_seconds)),
                timeout: Duration::from_secs(u64::from(drain.timeout_seconds)),
            },
            max_connections: *max_connections,
            bounds: *bounds,
            key_log: config.key_log,
        };
        for listener in listeners {
            let place = format!("listener {}", listener.listen());
            let mut report = |text: String| faults.push(ConfigFault(format!("{place}: {text}")));
            match listener {
                Listener::Redirect(redirect) => plan.redirect.push(RedirectPlan {
                    listen: bound(redirect.listen),
                    https_port: redirect.https_port,
                    status: redirect.status,
                }),
                Listener::Originate(originate) => {
                    let ca_file = ca_file.as_ref();
                    let around = Surroundings { secrets, bind: *bind, ca_file };
                    plan.originate.extend(originate::plan(originate, around, &mut report));
                }
                Listener::Terminate(terminate) => {
                    let listen = bound(terminate.listen);
                    let reading =
                        terminate::Reading { secrets, target: *target, report: &mut report };
                    plan.terminate.extend(reading.plan(terminate, listen));
                }
            }
        }
        faults.extend(clashes(&plan));
        let own: Vec<u16> = plan.listening().map(|address| address.port()).collect();
        plan.probes = probes::read(&config.probes, &own, &mut faults);
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }
}

impl Plan {
    /// The addresses of the applications, where they have one.
    pub(crate) fn applications(&self) -> impl Iterator<Item = SocketAddr> {
        self.terminate.iter().flat_map(|it| &it.application).filter_map(Target::address)
    }

    /// The addresses that the sidecar listens on, as far as they are known before.
    fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        let terminate = self.terminate.iter().map(|it| it.listen);
        let originate = self.originate.iter().map(|it| it.listen);
        let redirect = self.redirect.iter().map(|it| it.listen);
        terminate.chain(originate).chain(redirect).chain([self.status]).filter(|it| it.port() != 0)
    }
}

impl Plan {
    /// The TCP ports that it takes to serve this plan.
    pub(crate) fn ports(&self) -> Ports {
        let listen = self.terminate.iter().map(|it| it.listen);
        let listen = listen.chain(self.originate.iter().map(|it| it.listen));
        let listen = listen.chain(self.redirect.iter().map(|it| it.listen)).chain([self.status]);
        let connect = self.applications().map(|it| it.port());
        let outward = self.originate.iter().flat_map(OriginatePlan::connects_to);
        let probed = self.probes.iter().map(|it| it.action.port());
        let resolves = self.originate.iter().any(OriginatePlan::resolves);
        Ports {
            connect: connect.chain(probed).chain(outward).collect(),
            listen: listen.map(|it| it.port()).collect(),
            datagrams: if resolves { Datagrams::ForNames } else { Datagrams::Unneeded },
        }
    }
}

/// Listeners that cannot both have their address, or that would take the application's.
fn clashes(plan: &Plan) -> Vec<ConfigFault> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    let mut faults = Vec::new();
    for address in plan.listening() {
        let same = |other: &&SocketAddr| {
            other.port() == address.port()
                && (covers(other.ip(), address.ip()) || covers(address.ip(), other.ip()))
        };
        if let Some(other) = seen.iter().find(same) {
            faults.push(ConfigFault(format!(
                "{address} and {other} cannot both be listened on, give one of them another port"
            )));
        }
        let mut applications = plan.applications();
        if let Some(application) = applications.find(|application| {
            application.port() == address.port() && covers(address.ip(), application.ip())
        }) {
            faults.push(ConfigFault(format!(
                "the sidecar would listen on {address} and so take the place of the application \
                 {application}, give one of them another port"
            )));
        }
        seen.push(address);
    }
    faults
}

/// Whether who listens on `listening` gets what is sent to `address`. Where `::` is, there is
/// `0.0.0.0` too: the sidecar's sockets take both.
fn covers(listening: IpAddr, address: IpAddr) -> bool {
    listening == address || listening.is_unspecified()
}

#[cfg(test)]
mod tests;
