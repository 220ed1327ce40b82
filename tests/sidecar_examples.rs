//! The examples of `lasthop-sidecar --help`, as they stand there, in a network of their own.

use std::fmt::Write as _;

use lasthop_tests::pki::{Pki, SecretData};
use lasthop_tests::process::{Program, built};
use lasthop_tests::skip;

/// What is needed around them: names that lead here, an application, a next tier.
const STAGE: &str = r#"
set -eu
ip link set lo up
ip address add 10.0.0.7/32 dev lo
mount --bind hosts /etc/hosts

# Starts $2 as it stands, and waits until $1 is in what it prints.
start() {
  bash -c "exec $2" > printed 2>&1 & started=$!
  for _ in $(seq 500); do
    if grep -q -- "$1" printed; then return 0; fi
    if ! kill -0 "$started"; then break; fi
    sleep 0.02
  done
  cat printed >&2
  exit 1
}
# The second signal ends it at once.
stop() {
  kill "$started"
  kill -INT "$started"
  wait "$started"
}
next_tier='openssl s_server -quiet -accept 8443 -cert db/tls.crt -key db/tls.key -www
  -CAfile web-client-ca.crt -Verify 2 -verify_return_error'
"#;

/// The commands of `help`, in order, each with the lines that go on behind a backslash.
fn commands(help: &str) -> Vec<String> {
    let (_, rest) = help.split_once("\nEXAMPLES\n").expect("there are examples");
    let (examples, _) = rest.split_once("\nSECRETS\n").expect("they end");
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in examples.lines().filter(|line| line.starts_with("    ")) {
        let command = if goes_on { commands.pop().unwrap_or_default() } else { String::new() };
        commands.push(format!("{command}{line}\n"));
        goes_on = line.ends_with('\\');
    }
    commands
}

fn write(folder: &std::path::Path, data: &SecretData) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in data {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn every_example_of_the_help_does_what_it_says() {
    if skip::lacks_root()
        || skip::lacks(&["unshare", "ip", "mount", "bash", "curl", "openssl", "timeout"])
    {
        return;
    }
    let help = Program::ours("lasthop-sidecar").arg("--help").run().expect_success().stdout;
    let commands = commands(&help);
    let [certificate, serve, ask, mutual, outward, ask_outward, bytes, check] = commands.as_slice()
    else {
        panic!("an example came or went, this test should know of it: {commands:#?}");
    };
    let pki = Pki::new();
    let home = pki.directory().join("home");
    let (db, clients) = (pki.authority("db-ca"), pki.authority("clients-ca"));
    write(&home.join("alb-ca"), &clients.ca_secret());
    write(&home.join("db-ca"), &db.ca_secret());
    write(&home.join("db"), &db.leaf().dns("db.example.com").issue().secret());
    write(&home.join("web-client"), &clients.leaf().dns("web.example.com").issue().secret());
    write(&home.join("secrets/web-tls"), &pki.server().secret());
    let document = r#"{"version": 1, "listeners": [
        {"mode": "terminate", "listen": "[::]:8443", "forward": 8080, "tlsSecrets": ["web-tls"]}]}"#;
    for (name, text) in [
        ("sidecar.json", document),
        ("hosts", "127.0.0.1 localhost db.example.com\n"),
        ("web-client-ca.crt", &clients.root_pem()),
    ] {
        std::fs::write(home.join(name), text).unwrap();
    }
    let app = built("lasthop-testapp").display().to_string();
    let mut script = STAGE.to_owned();
    let mut step = |line: &str| writeln!(script, "{line}").expect("memory takes it");
    let quoted = |command: &str| format!("'{}'", command.trim());
    step(certificate);
    step(&format!("{app} --listen 127.0.0.1:8080 & application=$!"));
    step(&format!("start '\"ready\"' {}", quoted(serve)));
    step(ask);
    step("stop");
    step(&format!("start '\"ready\"' {}\nstop", quoted(mutual)));
    step("$next_tier & tier=$!");
    step(&format!("start '\"ready\"' {}", quoted(outward)));
    step(ask_outward);
    step("stop");
    step(&format!("start '\"ready\"' {}\nstop", quoted(bytes)));
    step(check);
    step("kill $application $tier");
    let path = std::env::var("PATH").unwrap_or_default();
    let programs = built("lasthop-sidecar");
    let programs = programs.parent().expect("a program lies in a folder").display().to_string();
    let ran = Program::at("timeout")
        .args([
            "60",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
        ])
        .arg(format!("cd '{}'\n{script}", home.display()))
        .env("PATH", format!("{programs}:{path}"))
        .run()
        .expect_success();
    for said in ["s_server -quiet", "web.example.com", "good: 1 TLS listener(s)"] {
        assert!(ran.stdout.contains(said), "{said}: {ran}");
    }
}
