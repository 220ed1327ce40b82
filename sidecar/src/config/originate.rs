//! The plan of a listener that originates TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lasthop_contract::server_policy::{ServerNames, asked_name};
use lasthop_contract::sidecar_config::{Originate, Upstream};
use rustls_pki_types::ServerName;

use crate::secret_dir::{SecretDir, SecretPaths};

/// A listener that originates TLS.
#[derive(Clone, Debug)]
pub(crate) struct OriginatePlan {
    /// On loopback.
    pub(crate) listen: SocketAddr,
    pub(crate) target: Upstream,
    /// What is presented to the next tier; [`None`]: nothing.
    pub(crate) client: Option<SecretDir>,
    pub(crate) roots: Roots,
    pub(crate) names: ServerNames,
    /// The server name of the `ClientHello`.
    pub(crate) asked: ServerName<'static>,
}

/// The port of DNS, which is asked by TCP where an answer is long (RFC 7766, 5).
const DNS: u16 = 53;

impl OriginatePlan {
    /// The TCP ports that it connects to.
    pub(super) fn connects_to(&self) -> Vec<u16> {
        let mut ports = vec![self.target.port()];
        if self.resolves() {
            ports.push(DNS);
        }
        ports
    }

    /// Whether its next tier has a name, and so addresses that must be asked for.
    pub(super) fn resolves(&self) -> bool {
        self.target.host().parse::<IpAddr>().is_err()
    }
}

/// Where the CAs come from to which the next tier's chain must lead.
#[derive(Clone, Debug)]
pub(crate) enum Roots {
    /// Mozilla's, compiled in.
    Mozilla,
    /// A bundle of the system's.
    File(PathBuf),
    /// A Secret.
    Secret(SecretDir),
}

/// What else is known where a listener is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) secrets: &'a SecretPaths,
    /// `--bind`, which moves a listener to another loopback address and never off loopback.
    pub(super) bind: Option<IpAddr>,
    /// The CAs where a listener names none.
    pub(super) ca_file: Option<&'a PathBuf>,
}

/// The plan of `originate`; everything that is wrong is reported.
pub(super) fn plan(
    originate: &Originate,
    surroundings: Surroundings<'_>,
    report: &mut dyn FnMut(String),
) -> Option<OriginatePlan> {
    let Originate { listen, upstream, client_secret, ca_secret, server_names, sni } = originate;
    let Surroundings { secrets, bind, ca_file } = surroundings;
    let mut sound = true;
    let mut wrong = |text: String| {
        sound = false;
        report(text);
    };
    if !listen.ip().to_canonical().is_loopback() {
        wrong(format!(
            "what comes in there is not encrypted and goes out with the identity of this pod, so it listens on \
             loopback only; write `127.0.0.1:{}`",
            listen.port()
        ));
    }
    let bind = bind.filter(|ip| ip.to_canonical().is_loopback());
    let listen = SocketAddr::new(bind.unwrap_or_else(|| listen.ip()), listen.port());
    let itself =
        upstream.host().parse::<IpAddr>() == Ok(listen.ip()) || upstream.host() == "localhost";
    if itself && upstream.port() == listen.port() {
        wrong(format!("`{upstream}` is the listener itself, give one of them another port"));
    }
    let directory =
        |name: &Option<String>| name.as_ref().map(|name| secrets.directory(name)).transpose();
    let client = directory(client_secret).map_err(&mut wrong);
    let ca = directory(ca_secret).map_err(&mut wrong);
    let names = ServerNames::new(upstream, server_names.iter().map(String::as_str));
    let names = names.map_err(|errors| {
        for error in errors {
            wrong(format!("`upstream-server-names`: {error}"));
        }
    });
    let asked = asked_name(upstream, sni.as_deref())
        .map_err(|error| wrong(format!("`upstream-sni`: {error}")));
    let (Ok(client), Ok(ca), Ok(names), Ok(asked)) = (client, ca, names, asked) else {
        return None;
    };
    let roots = match (ca, ca_file) {
        (Some(dir), _) => Roots::Secret(dir),
        (None, Some(file)) => Roots::File(file.clone()),
        (None, None) => Roots::Mozilla,
    };
    let target = upstream.clone();
    sound.then_some(OriginatePlan { listen, target, client, roots, names, asked })
}

#[cfg(test)]
mod tests {
    use crate::cli::Settings;
    use crate::config::Plan;

    fn read(args: &[&str], document: &str) -> Result<Plan, Vec<String>> {
        let document = format!(r#"{{"version":1,"listeners":[{document}]}}"#);
        let args = std::iter::once("lasthop-sidecar").chain(args.iter().copied());
        let settings = Settings::parse(args, Some(&document)).unwrap();
        Plan::new(&settings).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    fn originate(listen: &str, upstream: &str, rest: &str) -> String {
        format!(r#"{{"mode":"originate","listen":"{listen}","upstream":"{upstream}"{rest}}}"#)
    }

    #[test]
    fn a_sound_listener_is_planned() {
        for (listen, upstream, rest) in [
            ("127.0.0.1:9001", "https://db.example.com:443", ""),
            ("[::1]:9001", "tls://192.0.2.1:5432", ""),
            ("127.0.0.1:9001", "https://localhost:9002", r#","sni":"db.example.com""#),
            (
                "127.0.0.1:9001",
                "https://db.example.com:443",
                r#","clientSecret":"web","caSecret":"ca/db","serverNames":["uri:spiffe://x/db"]"#,
            ),
        ] {
            let plan = read(&[], &originate(listen, upstream, rest));
            assert_eq!(plan.unwrap().originate.len(), 1, "{listen} {upstream} {rest}");
        }
    }

    #[test]
    fn what_is_unsafe_or_nonsense_is_refused_in_words() {
        let host = "https://db.example.com:443";
        for (listen, upstream, rest, expected) in [
            ("0.0.0.0:9001", host, "", "loopback only; write `127.0.0.1:9001`"),
            ("[::]:9001", host, "", "loopback only"),
            ("10.0.0.1:9001", host, "", "loopback only"),
            ("127.0.0.1:9001", "https://127.0.0.1:9001", "", "the listener itself"),
            ("127.0.0.1:9001", "https://localhost:9001", "", "the listener itself"),
            ("127.0.0.1:15443", host, "", "cannot both be listened on"),
            ("127.0.0.1:9001", host, r#","sni":"192.0.2.1""#, "`upstream-sni`"),
            ("127.0.0.1:9001", host, r#","serverNames":["*"]"#, "any server of the CA"),
            ("127.0.0.1:9001", host, r#","serverNames":["db"]"#, "dns:db"),
            ("127.0.0.1:9001", host, r#","caSecret":"../ca""#, "secrets root"),
            ("127.0.0.1:9001", host, r#","clientSecret":"/etc""#, "secrets root"),
        ] {
            let faults = read(&[], &originate(listen, upstream, rest)).unwrap_err();
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
        }
    }

    #[test]
    fn bind_moves_it_on_loopback_and_never_off_it() {
        let document = originate("127.0.0.1:9001", "https://db.example.com:443", "");
        for (bind, expected) in [
            ("0.0.0.0", "127.0.0.1:9001"),
            ("10.0.0.1", "127.0.0.1:9001"),
            ("::", "127.0.0.1:9001"),
            ("127.0.0.2", "127.0.0.2:9001"),
            ("::1", "[::1]:9001"),
        ] {
            let plan = read(&["--bind", bind], &document).unwrap();
            assert_eq!(plan.originate[0].listen.to_string(), expected, "{bind}");
        }
        let open = originate("0.0.0.0:9001", "https://db.example.com:443", "");
        assert!(read(&["--bind", "127.0.0.1"], &open).is_err());
    }

    #[test]
    fn the_next_tier_may_be_reached_and_asked_for() {
        let document = originate("127.0.0.1:9001", "https://db.example.com:443", "");
        let ports = read(&[], &document).unwrap().ports();
        assert!(ports.connect.contains(&443) && ports.connect.contains(&53));
        assert!(ports.listen.contains(&9001));
        let document = originate("127.0.0.1:9001", "https://192.0.2.1:443", "");
        assert!(!read(&[], &document).unwrap().ports().connect.contains(&53));
    }
}
