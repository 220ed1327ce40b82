//! The table against the sidecar, the rehearsal and the check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use lasthop_tests::pod::{PodOnHost, pod_of};
use lasthop_tests::process::{Program, wait_until};
use lasthop_tests::sidecar::sum_of;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use super::cast::{Cast, Client, workload_name};
use super::rows::{Row, TRUSTS, one_at_a_time, two_at_a_time};
use super::rule::flaws;
use super::sidecar::{Door, knock};

#[test]
fn the_sidecar_the_rehearsal_and_the_check_say_what_the_table_says() {
    let (plain, other) = one_at_a_time();
    let rows: BTreeSet<Row> = plain.iter().copied().chain(other).chain(two_at_a_time()).collect();
    let cast = Cast::of(rows.into_iter().collect());
    let let_in = cast.clients.iter().filter(|client| flaws(client.row).is_empty()).count();
    assert!(let_in > 50, "{let_in} rows let somebody in");
    let Said { sidecar, check, rehearsal } = std::thread::scope(|scope| {
        let (cast, plain) = (&cast, &plain);
        let ask = |sidecar| scope.spawn(move || said(cast, sidecar, plain));
        let threads: Vec<_> = (0..TRUSTS.len()).map(ask).collect();
        let mut all = Said::default();
        for thread in threads {
            let said = thread.join().expect("the sidecar and the commands answer");
            all.sidecar.extend(said.sidecar);
            all.check.extend(said.check);
            all.rehearsal.extend(said.rehearsal);
        }
        all
    });
    let mut wrong = Vec::new();
    for (number, client) in cast.clients.iter().enumerate() {
        let code = &sidecar[&number];
        let flaws = flaws(client.row);
        let agrees = match code.as_deref() {
            None => flaws.is_empty(),
            Some(code) => flaws.contains(code),
        };
        let others = [check.get(&number), rehearsal.get(&number)];
        if !agrees || others.iter().flatten().any(|other| *other != code) {
            wrong.push(format!("{:?}: {flaws:?}, sidecar {code:?}, {others:?}", client.row));
        }
    }
    assert!(wrong.is_empty(), "of {}:\n{}", cast.clients.len(), wrong.join("\n"));
}

/// What came of each client, by its number: the code of the refusal.
type Codes = BTreeMap<usize, Option<String>>;

#[derive(Default)]
struct Said {
    sidecar: Codes,
    check: Codes,
    rehearsal: Codes,
}

/// What is said of the clients of this sidecar.
fn said(cast: &Cast, sidecar: usize, plain: &BTreeSet<Row>) -> Said {
    let clients: Vec<(usize, &Client)> =
        cast.clients.iter().enumerate().filter(|(_, it)| it.row.sidecar() == sidecar).collect();
    let workload = cast.workload(sidecar);
    Said {
        sidecar: admitted(cast, &workload, &clients),
        check: clients
            .chunks(25)
            .flat_map(|some| check(&workload, &cast.ingresses(sidecar, some), some))
            .collect(),
        rehearsal: clients
            .iter()
            .filter(|(_, client)| plain.contains(&client.row))
            .map(|(number, client)| (*number, rehearse(cast, client, &workload)))
            .collect(),
    }
}

/// What the real sidecar does with each client, in both versions of TLS.
fn admitted(cast: &Cast, workload: &Path, clients: &[(usize, &Client)]) -> Codes {
    let injected = Program::ours("lasthop").args(["inject", "-f"]).arg(workload).run();
    let injected = injected.expect_success().stdout;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&injected).expect("manifests are printed");
    let deployment = documents.iter().find(|it| it["kind"] == "Deployment").expect("it is there");
    let pod = PodOnHost::start(&pod_of(deployment), |_kind, name| {
        let data = cast.secret(name)?;
        let encode = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
        let data: BTreeMap<&String, String> =
            data.iter().map(|(key, bytes)| (key, encode(bytes))).collect();
        Some(json!({"data": data}))
    })
    .expect("the pod starts");
    wait_until("it is ready", || pod.sidecar.log().iter().any(|it| it["message"] == "ready"));
    let root = cast.server_root();
    let mut refused = Refused::default();
    clients
        .iter()
        .map(|(number, client)| {
            let port = cast.port(client.row);
            let doors =
                [&TLS13, &TLS12].map(|version| knock(port, &root, version, client.presented()));
            assert_eq!(doors[0], doors[1], "{:?}", client.row);
            (*number, (doors[0] == Door::Refused).then(|| refused.next(&pod, client.row)))
        })
        .collect()
}

/// The refusals that were counted.
#[derive(Default)]
struct Refused(BTreeMap<String, f64>);

impl Refused {
    /// The code that was counted twice since.
    fn next(&mut self, pod: &PodOnHost, row: Row) -> String {
        const METRIC: &str = "lasthop_refused_connections_total";
        let before: f64 = self.0.values().sum();
        let mut told = String::new();
        wait_until("both refusals are counted", || {
            told = pod.metrics();
            sum_of(&told, METRIC, &[]) - before > 1.5
        });
        let mut grown = Vec::new();
        for code in (501..=512).map(|code| format!("LH{code}")) {
            let count = sum_of(&told, METRIC, &[&format!("code=\"{code}\"")]);
            let known = self.0.insert(code.clone(), count).unwrap_or_default();
            if count > known + 0.5 {
                grown.push(code);
            }
        }
        assert_eq!(grown.len(), 1, "{row:?}: TLS 1.3 and 1.2 were refused for {grown:?}");
        grown.remove(0)
    }
}

/// What `lasthop check` says of the Ingress that presents each client's certificate.
fn check(workload: &Path, ingresses: &Path, clients: &[(usize, &Client)]) -> Codes {
    let program = Program::ours("lasthop").args(["check", "-o", "json", "-f"]);
    let told = program.arg(workload).arg("-f").arg(ingresses).run();
    let told: Value = serde_json::from_str(&told.stdout).expect("it prints JSON");
    let findings = told["findings"].as_array().expect("there is a list");
    let mut codes: Codes = clients.iter().map(|(number, _)| (*number, None)).collect();
    for finding in findings {
        let name = finding["object"]["name"].as_str().unwrap_or_default();
        let number = name.strip_prefix("row-").and_then(|it| it.parse().ok());
        let Some(told) = number.and_then(|number| codes.get_mut(&number)) else { continue };
        let message = finding["message"].as_str().unwrap_or_default();
        let of_hop = message.rsplit_once('[').map(|it| it.1.trim_end_matches(']'));
        let code = match finding["code"].as_str().unwrap_or_default() {
            "LH601" => of_hop,
            // What is over or to come is told of the certificate, for whoever reads it.
            "LH123" => Some("LH504"),
            "LH124" => Some("LH505"),
            _ => continue,
        };
        *told = code.map(str::to_owned);
    }
    codes
}

/// What `lasthop rehearse` says of a client.
fn rehearse(cast: &Cast, client: &Client, workload: &Path) -> Option<String> {
    let to = workload_name(client.row.sidecar());
    let chain = cast.pki.write(&format!("{to}.crt"), client.chain_pem());
    let key = cast.pki.write(&format!("{to}.key"), client.key_pem());
    let port = cast.port(client.row);
    let told = Program::ours("lasthop")
        .args(["rehearse", "-o", "json", "--to", &format!("shop/{to}:{port}"), "--client"])
        .arg(chain)
        .arg("--client-key")
        .arg(key)
        .arg("-f")
        .arg(workload)
        .run();
    let answer: Value = serde_json::from_str(&told.stdout)
        .unwrap_or_else(|error| panic!("{:?}: {error}: {told}", client.row));
    answer["code"].as_str().map(str::to_owned)
}
