//! A name server (RFC 1035) whose answers a test changes, and a network where it is the only one.
//!
//! ```text
//! names::alone(|| {
//!     let server = NameServer::start();
//!     server.answers(&["127.0.0.1", "127.0.0.2"]);
//!     // Every name leads to these two now, for this test and the programs that it starts.
//! });
//! ```

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use crate::pki::Pki;
use crate::process::Program;
use crate::skip;

/// Set in the run of a test that [`alone`] starts.
const INSIDE: &str = "LASTHOP_TEST_ALONE";

/// Runs this test in a network of its own, with nothing but loopback, whose name server is 127.0.0.1.
/// It is started once more for that, since a thread cannot leave its network alone.
///
/// # Panics
/// Where the test fails there.
pub fn alone(test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        test();
        return;
    }
    if skip::lacks(&["unshare", "mount", "ip"]) {
        return;
    }
    let may = ["--net", "--mount", "--map-root-user"];
    let tried = Program::at("unshare").args(may).args(["ip", "link", "set", "lo", "up"]).run();
    if !tried.status.success() {
        skip::this_test("this user may not have a network of its own");
        return;
    }
    let pki = Pki::new();
    let servers = pki.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    let switch = pki.write("nsswitch.conf", "hosts: files dns\n");
    let script = "mount --bind \"$1\" /etc/resolv.conf && mount --bind \"$2\" /etc/nsswitch.conf && \
                  ip link set lo up && shift 2 && exec \"$@\"";
    let name = std::thread::current().name().map(ToOwned::to_owned);
    let ran = Command::new("unshare")
        .args(may)
        .args(["sh", "-c", script, "sh"])
        .args([servers, switch])
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", &name.expect("a test's thread has its name"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare can be started");
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let has_run = ran.status.success() && told(&ran.stdout).contains("1 passed");
    assert!(has_run, "{}{}", told(&ran.stdout), told(&ran.stderr));
}

/// What is answered to every question.
#[derive(Clone, Debug, Default)]
enum Answer {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN: there is no such name.
    #[default]
    NoName,
    /// Nothing.
    Silence,
}

/// A name server on port 53 of 127.0.0.1.
#[derive(Debug)]
pub struct NameServer {
    answer: Arc<Mutex<Answer>>,
}

impl NameServer {
    /// Starts it; until it is told otherwise there is no such name.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("this network has no name server");
        let answer = Arc::<Mutex<Answer>>::default();
        let server = Self { answer: Arc::clone(&answer) };
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(reply) = reply(&question[..length], &answer) {
                    let _gone = socket.send_to(&reply, from);
                }
            }
        });
        server
    }

    /// Every name has these addresses from here on.
    pub fn answers(&self, addresses: &[&str]) {
        let parsed = addresses.iter().map(|it| it.parse().expect("an address")).collect();
        self.say(Answer::Addresses(parsed));
    }

    /// No question is answered.
    pub fn falls_silent(&self) {
        self.say(Answer::Silence);
    }

    fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

/// The reply to one question for A or AAAA (RFC 1035, 4.1); [`None`] where there is none.
fn reply(question: &[u8], answer: &Answer) -> Option<Vec<u8>> {
    // Behind the header come the labels of the name, up to an empty one, its type and its class.
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let asked = question.get(12..12 + name + 5)?;
    let kind = u16::from_be_bytes([asked[name + 1], asked[name + 2]]);
    let (code, addresses) = match answer {
        Answer::Addresses(addresses) => (0, addresses.as_slice()),
        Answer::NoName => (3, &[][..]),
        Answer::Silence => return None,
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (kind, address) {
            (1, IpAddr::V4(it)) => Some(it.octets().to_vec()),
            (28, IpAddr::V6(it)) => Some(it.octets().to_vec()),
            _ => None,
        })
        .collect();
    let count = u16::try_from(records.len()).ok()?.to_be_bytes();
    // A reply, authoritative, and recursion as it was desired and is to be had.
    let mut reply =
        [&question[..2], &[0x85, 0x80 | code], &[0, 1], &count, &[0; 4], asked].concat();
    for data in records {
        // The name by its place in the question, the class IN, and no time to live.
        reply.extend([0xc0, 12, 0, kind.to_be_bytes()[1], 0, 1, 0, 0, 0, 0, 0]);
        reply.push(u8::try_from(data.len()).ok()?);
        reply.extend(data);
    }
    Some(reply)
}
