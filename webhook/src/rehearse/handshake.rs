//! Two ends of rustls that pass their bytes to each other.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lasthop_contract::client_policy::{ClientIdentity, Refusal, RefusalObserver, RefusalReason};
use lasthop_contract::server_policy::{
    ServerObserver, ServerPolicy, ServerRefusal, ServerRefusalReason,
};
use lasthop_contract::tls::{ClientTls, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::listener::Serving;
use super::originating::Originating;
use super::{Entry, Outcome, Side};

/// What connects to a listener.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// A balancer, or whoever else has these habits.
    Client(&'a Client),
    /// Another sidecar, for which this is the next tier.
    Sidecar(&'a Originating),
}

/// Who connects to a listener.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// What it presents when it is asked; [`None`] where it has nothing.
    pub presents: Option<Arc<CertifiedKey>>,
    /// What it makes of the sidecar's certificate.
    pub trusts: Trusts,
    /// The name that it asks for (SNI); [`None`] where it asks for none.
    pub asks_for: Option<ServerName<'static>>,
}

/// What a client makes of the sidecar's certificate.
#[derive(Clone, Debug, Default)]
pub enum Trusts {
    /// It takes any, or nobody knows.
    #[default]
    Anything,
    /// It verifies the chain; nobody knows which name it looks for.
    Chain(Arc<ServerPolicy>),
    /// It verifies chain and name; any of several is enough.
    ChainAndName(Vec<Arc<ServerPolicy>>),
}

impl Trusts {
    /// Why a server with this `chain` is refused at `now`, if it is.
    fn refusal(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<ServerRefusal> {
        let policies = match self {
            Self::Anything => return None,
            Self::Chain(policy) => {
                let refusal = policy.judge(chain, now).err()?;
                let of_name = matches!(refusal.reason, ServerRefusalReason::WrongName { .. });
                return (!of_name).then_some(refusal);
            }
            Self::ChainAndName(policies) => policies,
        };
        let mut refusals = Vec::new();
        for policy in policies {
            refusals.push(policy.judge(chain, now).err()?);
        }
        let mut names = Vec::new();
        for refusal in &refusals {
            if let ServerRefusalReason::WrongName { expected } = &refusal.reason {
                names.extend(expected.iter().cloned());
            }
        }
        let mut first = refusals.into_iter().next()?;
        if let ServerRefusalReason::WrongName { expected } = &mut first.reason {
            *expected = names;
        }
        Some(first)
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// Those that a sidecar serves, the newest first.
    pub const ALL: [Self; 2] = [Self::Tls13, Self::Tls12];

    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }

    fn of_rustls(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// Flights of a handshake, and some; two ends that go on for longer have lost each other.
const MOST_FLIGHTS: usize = 16;

/// Runs one handshake as of `now`.
pub(super) fn run(server: &Serving, caller: Caller<'_>, version: Version, now: i64) -> Outcome {
    let witness = Arc::new(Witness::default());
    let habits = Arc::new(Habits::of(caller));
    let shaken = configure(server, caller, version, (&witness, &habits), now)
        .map_err(|error| Broken { by: Side::Sidecar, error })
        .and_then(|(client, server, name)| shake(client, server, name));
    if let Some(refusal) = habits.refusal.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Outcome::Distrusted(Box::new(refusal));
    }
    let told = witness.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (told, shaken) {
        (Some(Err(refusal)), _) => Outcome::Refused(Box::new(refusal)),
        (None, Err(Broken { by: Side::Sidecar, error: Error::NoCertificatesPresented })) => {
            let reason = RefusalReason::NoCertificate;
            Outcome::Refused(Box::new(Refusal { reason, certificate: None }))
        }
        (_, Err(Broken { by, error })) => Outcome::Incompatible { by, reason: error.to_string() },
        (Some(Ok(identity)), Ok(())) => Outcome::LetIn(Entry::Named(identity.matched)),
        (None, Ok(())) if server.policy.is_some() => Outcome::LetIn(Entry::Unnamed),
        (None, Ok(())) => Outcome::LetIn(Entry::Unasked),
    }
}

type Ends = (Arc<ClientConfig>, Arc<ServerConfig>, ServerName<'static>);

fn configure(
    server: &Serving,
    caller: Caller<'_>,
    version: Version,
    (witness, habits): (&Arc<Witness>, &Arc<Habits>),
    now: i64,
) -> Result<Ends, Error> {
    let now = Arc::new(Now(unix_time(now)));
    let observer: Arc<dyn RefusalObserver> = Arc::<Witness>::clone(witness);
    let mut server = server.config(observer)?;
    server.time_provider = Arc::<Now>::clone(&now);
    server.send_tls13_tickets = 0;
    let (mut config, name) = match caller {
        Caller::Client(client) => of_client(client, version, habits)?,
        Caller::Sidecar(sidecar) => of_sidecar(sidecar, version, habits)?,
    };
    config.time_provider = now;
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), Arc::new(server), name))
}

fn of_client(
    client: &Client,
    version: Version,
    habits: &Arc<Habits>,
) -> Result<(ClientConfig, ServerName<'static>), Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version.of_rustls()])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Habits>::clone(habits))
        .with_client_cert_resolver(Arc::new(Presents(client.presents.clone())));
    config.enable_sni = client.asks_for.is_some();
    // Without SNI nobody ever sees this name.
    let nobody = ServerName::try_from("nobody.invalid").expect("it is a name");
    Ok((config, client.asks_for.clone().unwrap_or(nobody)))
}

/// The configuration that the sidecar has, but for the versions of TLS.
fn of_sidecar(
    sidecar: &Originating,
    version: Version,
    habits: &Arc<Habits>,
) -> Result<(ClientConfig, ServerName<'static>), Error> {
    let Originating { credential, policy, asked, alpn } = sidecar;
    let observer: Arc<dyn ServerObserver> = Arc::<Habits>::clone(habits);
    let server = (Arc::clone(policy), observer);
    let tls = ClientTls { credential: credential.as_ref(), server, alpn };
    Ok((tls.config_for(&[version.of_rustls()])?, asked.clone()))
}

/// Why a handshake ended early.
struct Broken {
    by: Side,
    error: Error,
}

fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
) -> Result<(), Broken> {
    let by_client = |error| Broken { by: Side::Client, error };
    let by_sidecar = |error| Broken { by: Side::Sidecar, error };
    let mut client = ClientConnection::new(client, name).map_err(by_client)?;
    let mut server = ServerConnection::new(server).map_err(by_sidecar)?;
    for _ in 0..MOST_FLIGHTS {
        let asked = carry(&mut client, &mut server).map_err(by_sidecar)?;
        let answered = carry(&mut server, &mut client).map_err(by_client)?;
        if !asked && !answered {
            break;
        }
    }
    if client.is_handshaking() || server.is_handshaking() {
        let error = Error::General("the two ends wait for each other".to_owned());
        return Err(by_sidecar(error));
    }
    Ok(())
}

/// Carries what `from` has to say to `to`; whether there was anything.
fn carry<From, To>(
    from: &mut ConnectionCommon<From>,
    to: &mut ConnectionCommon<To>,
) -> Result<bool, Error> {
    let broken = |error: io::Error| Error::General(error.to_string());
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).map_err(broken)?;
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).map_err(broken)?;
        to.process_new_packets()?;
    }
    Ok(!bytes.is_empty())
}

fn unix_time(now: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()))
}

/// The time of the rehearsal.
#[derive(Debug)]
struct Now(UnixTime);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// Hears what the sidecar's verifier says.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<Result<ClientIdentity, Refusal>>>);

impl Witness {
    fn hear(&self, judgement: Result<ClientIdentity, Refusal>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(judgement);
    }
}

impl RefusalObserver for Witness {
    fn refused(&self, refusal: Refusal) {
        self.hear(Err(refusal));
    }

    fn admitted(&self, identity: ClientIdentity) {
        self.hear(Ok(identity));
    }
}

/// Presents one thing to whoever asks, whatever CAs are hinted at, as nginx does.
#[derive(Debug)]
struct Presents(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Presents {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// What a client makes of the sidecar's certificate.
#[derive(Debug)]
struct Habits {
    trusts: Trusts,
    refusal: Mutex<Option<ServerRefusal>>,
}

impl Habits {
    fn of(caller: Caller<'_>) -> Self {
        let trusts = match caller {
            Caller::Client(client) => client.trusts.clone(),
            // It has a verifier of its own, which only tells.
            Caller::Sidecar(_) => Trusts::default(),
        };
        Self { trusts, refusal: Mutex::default() }
    }

    fn hear(&self, refusal: ServerRefusal) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }
}

impl ServerObserver for Habits {
    fn refused(&self, refusal: ServerRefusal) {
        self.hear(refusal);
    }
}

impl ServerCertVerifier for Habits {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked_for: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).cloned().collect();
        match self.trusts.refusal(&chain, now) {
            None => Ok(ServerCertVerified::assertion()),
            Some(refusal) => {
                self.hear(refusal);
                Err(Error::General("the client does not trust the sidecar".to_owned()))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
