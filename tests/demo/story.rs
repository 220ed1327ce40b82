//! The story, step by step. Each step looks at what it shows, and ends the story where it is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::curl::{Answer, Curl};
use lasthop_tests::golden;
use lasthop_tests::kubelet::Kubelet;
use lasthop_tests::openssl::{self, SClient};
use lasthop_tests::pod::{PodOnHost, Ports, pod_of};
use lasthop_tests::process::{PATIENCE, Program, Running};
use serde_json::Value;
use tempfile::TempDir;

use crate::cast::{ALB_HOST, Cast, GATEWAY, GATEWAY_SECRET, Pair};
use crate::stage::{Stage, documents};
use crate::terminal::Terminal;

const NGINX: &str = "manifests/examples/nginx-tls-ingress";
const HTTPBIN: &str = "manifests/examples/iks-alb-httpbin";

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    pub(crate) cluster: bool,
    pub(crate) keep: bool,
}

/// Tells the story; the error says what was not as it should be.
pub(crate) fn tell(terminal: &mut Terminal, wishes: Wishes) -> Result<()> {
    let folder = TempDir::with_prefix("lasthop-demo-")?;
    terminal.say(
        "lasthop brings TLS to the last hop: it refuses TLS configuration that cannot work, at \
         kubectl apply, and it ends TLS beside the application, in its pod.",
    );
    let cast = Cast::prepare(folder.path())?;
    let stage = Stage::raise(terminal, folder.path(), &cast, wishes.cluster)?;
    refuse_and_admit(terminal, &stage)?;
    let pod = inject(terminal, &stage, folder.path())?;
    let (mut pod, door) = run(terminal, &pod, &cast)?;
    let_the_balancer_in(terminal, door, &cast)?;
    keep_strangers_out(terminal, door, &mut pod.sidecar, &cast)?;
    rotate(terminal, door, &mut pod.kubelet, &cast)?;
    stop(terminal, pod.sidecar)?;
    stage.strike();
    terminal.end("That is the main job");
    if wishes.keep {
        terminal.say(&format!("The demo's folder: {}", folder.keep().display()));
    }
    Ok(())
}

fn refuse_and_admit(terminal: &mut Terminal, stage: &Stage) -> Result<()> {
    terminal.step("A TLS Ingress as a popular tutorial writes it is refused at kubectl apply");
    let wrong = Path::new(NGINX).join("as-written.yaml");
    terminal.file(&excerpt(&wrong, "spec:", "rules:")?);
    terminal.command(&format!("kubectl apply -f {}", wrong.display()));
    let answer = stage.apply(&wrong)?;
    terminal.answer(&answer.text);
    ensure!(!answer.admitted, "the Ingress was admitted");
    ensure!(answer.text.contains("app-router-tls"), "the nearest Secret is not named");

    terminal.step("Corrected as the message says, it is admitted");
    let right = Path::new(NGINX).join("corrected.yaml");
    terminal.file(&excerpt(&right, "spec:", "rules:")?);
    terminal.command(&format!("kubectl apply -f {}", right.display()));
    let answer = stage.apply(&right)?;
    terminal.answer(&answer.text);
    ensure!(answer.admitted, "the corrected Ingress was refused");
    Ok(())
}

/// The lines from the one that begins with `from` to the one before `until`.
fn excerpt(file: &Path, from: &str, until: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.lines().skip_while(|line| !line.starts_with(from));
    let lines = lines.take_while(|line| !line.trim_start().starts_with(until));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn inject(terminal: &mut Terminal, stage: &Stage, folder: &Path) -> Result<Value> {
    terminal.step("An annotated Deployment gets the sidecar into its pods");
    let example = Path::new(HTTPBIN).join("workload.yaml");
    let objects = documents(&example)?;
    let mut deployment = objects.into_iter().next().context("the example holds a Deployment")?;
    let ports = Ports::choose(Ports { tls: 8443, redirect: 8080, status: 15443, app: 8000 });
    let template = &mut deployment["spec"]["template"];
    template["metadata"]["annotations"]["lasthop.dev/redirect-port"] = "".into();
    ports.write_into(template);
    let annotations = serde_saphyr::to_string(&template["metadata"]["annotations"])?;
    terminal.file(&annotations);
    let file = folder.join("httpbin.yaml");
    fs::write(&file, serde_saphyr::to_string(&deployment)?)?;
    terminal.command("kubectl apply -f httpbin.yaml");
    let answer = stage.apply(&file)?;
    terminal.answer(&answer.text);
    ensure!(answer.admitted, "the Deployment was refused");

    let pod = pod_of(&deployment);
    let stored = stage.create_pod(&pod)?;
    terminal.say("What the webhook changed in the pod:");
    let before = stage.without_sidecar(&pod);
    let [before, after] =
        [before, shortened(&stored)].map(|pod| serde_saphyr::to_string(&as_applied(&pod)));
    terminal.diff(&golden::diff(&before?, &after?));
    Ok(stored)
}

/// The pod without what an API server adds to every object, its keys in order.
fn as_applied(pod: &Value) -> Value {
    let mut pod = sorted(pod);
    for field in
        ["creationTimestamp", "generation", "managedFields", "name", "resourceVersion", "uid"]
    {
        pod["metadata"].as_object_mut().and_then(|metadata| metadata.remove(field));
    }
    pod.as_object_mut().and_then(|pod| pod.remove("status"));
    pod
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(members) => {
            let members: BTreeMap<&String, Value> =
                members.iter().map(|(key, it)| (key, sorted(it))).collect();
            serde_json::json!(members)
        }
        other => other.clone(),
    }
}

/// The pod with the sidecar's configuration cut short: it is one long line.
fn shortened(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        let variables = containers.into_iter().flatten().filter_map(|it| it.get_mut("env"));
        for variable in variables.filter_map(Value::as_array_mut).flatten() {
            if variable["name"] == "LASTHOP_CONFIG" {
                let text: String =
                    variable["value"].as_str().unwrap_or_default().chars().take(60).collect();
                variable["value"] = format!("{text}…").into();
            }
        }
    }
    pod
}

/// Where the pod is reached.
#[derive(Clone, Copy)]
struct Door {
    tls: SocketAddr,
    redirect: SocketAddr,
}

fn run(terminal: &mut Terminal, pod: &Value, cast: &Cast) -> Result<(PodOnHost, Door)> {
    terminal.step("The sidecar runs with exactly the configuration found in that pod");
    let pod = PodOnHost::start(pod, |kind, name| cast.secret(kind, name))?;
    terminal.command(&format!("lasthop-testapp --listen {}", pod.app.address()));
    terminal.command(
        "LASTHOP_CONFIG=\"$(the pod's)\" lasthop-sidecar --secrets-root ./secrets --bind 127.0.0.1",
    );
    for line in pod.sidecar.lines().iter().filter(|line| line.contains("listening")) {
        terminal.log(line, "listening");
    }
    let redirect = pod.redirect.context("the pod has no redirect")?;
    let door = Door { tls: pod.tls, redirect };
    Ok((pod, door))
}

fn stop(terminal: &mut Terminal, sidecar: Running) -> Result<()> {
    terminal.step("SIGTERM: what is under way is finished, then it ends");
    sidecar.terminate();
    let finished = sidecar.finish();
    ensure!(finished.status.success(), "the sidecar ended with {}", finished.status);
    terminal.good("the sidecar ended by itself, with exit status 0");
    Ok(())
}

impl Door {
    /// A request to the TLS port, as the balancer makes it: with the edge's host, which is not in
    /// the sidecar's certificate.
    fn request(self, cast: &Cast, client: Option<&Pair>) -> Curl {
        let curl = Curl::get(&format!("https://{GATEWAY}/headers"))
            .at(self.tls)
            .trust(cast.public_root())
            .header(&format!("Host: {ALB_HOST}"));
        match client {
            Some(pair) => curl
                .option("--cert", &pair.chain.display().to_string())
                .option("--key", &pair.key.display().to_string()),
            None => curl,
        }
    }

    /// The serial number of the certificate that is served now.
    fn served_serial(self, cast: &Cast) -> Result<String> {
        let client = &cast.alb;
        let handshake = SClient::to(self.tls)
            .sni(GATEWAY)
            .option("-cert", Some(&client.chain.display().to_string()))
            .option("-key", Some(&client.key.display().to_string()))
            .request(ALB_HOST, "/status/200")
            .run();
        let pem = handshake.output.split_once("-----BEGIN CERTIFICATE-----");
        let pem = pem.and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"));
        let (body, _) =
            pem.with_context(|| format!("no certificate was served: {}", handshake.errors))?;
        let pem = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----\n");
        let serial = openssl::run(&["x509", "-noout", "-serial"], pem);
        Ok(serial.trim().trim_start_matches("serial=").to_owned())
    }
}

fn let_the_balancer_in(terminal: &mut Terminal, door: Door, cast: &Cast) -> Result<()> {
    terminal.step("The balancer calls, with the public server certificate that it has: let in");
    terminal.command("openssl x509 -in alb.crt -noout -ext extendedKeyUsage,subjectAltName");
    terminal.answer(&extensions(&cast.alb)?);
    terminal.command(&format!("curl --cert alb.crt --key alb.key -H 'Host: {ALB_HOST}' …/headers"));
    let answer = door.request(cast, Some(&cast.alb)).run();
    ensure!(answer.status == 200, "{answer:?}");
    terminal.answer(&format!("HTTP {}", answer.status));
    terminal.say("and the application saw:");
    for (name, values) in answer.json()["headers"].as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten() {
            terminal.answer(&format!("  {name}: {}", value.as_str().unwrap_or_default()));
        }
    }
    ensure!(
        answer.text().to_lowercase().contains("x-forwarded-client-cert"),
        "the application was told nothing"
    );
    terminal
        .good("the application knows who called; nginx, Envoy and stunnel refuse this certificate");
    Ok(())
}

fn extensions(pair: &Pair) -> Result<String> {
    let file = pair.chain.display().to_string();
    let output = Program::at("openssl")
        .args(["x509", "-in", &file, "-noout", "-ext", "extendedKeyUsage,subjectAltName"])
        .run();
    ensure!(output.status.success(), "{output}");
    Ok(output.stdout)
}

fn keep_strangers_out(
    terminal: &mut Terminal,
    door: Door,
    sidecar: &mut Running,
    cast: &Cast,
) -> Result<()> {
    terminal.step("Strangers are kept out, and the log says why");
    for (who, client, code) in [
        ("a stranger with a certificate of the same public CA", Some(&cast.stranger), "LH511"),
        ("a client without a certificate", None, "LH501"),
    ] {
        let answer = door.request(cast, client).run();
        ensure!(answer.status == 0, "{who} was let in: {answer:?}");
        terminal.command(&match client {
            Some(_) => format!("curl --cert stranger.crt --key stranger.key …  # {who}"),
            None => format!("curl …  # {who}"),
        });
        terminal.answer(&answer.error);
        let line = sidecar.wait_for_line(|line| line.contains(code));
        terminal.log(&line, code);
    }
    let url = format!("http://{}/headers", door.redirect);
    let answer: Answer = Curl::get(&url).header(&format!("Host: {ALB_HOST}")).run();
    terminal.command(&format!("curl -i -H 'Host: {ALB_HOST}' {url}  # plain HTTP"));
    let location = answer.header("location").unwrap_or_default().to_owned();
    terminal.answer(&format!("HTTP {}, location: {location}", answer.status));
    ensure!((301..=308).contains(&answer.status) && location.starts_with("https://"), "{answer:?}");
    Ok(())
}

fn rotate(terminal: &mut Terminal, door: Door, kubelet: &mut Kubelet, cast: &Cast) -> Result<()> {
    terminal.step("The certificate is replaced while requests flow");
    let old = door.served_serial(cast)?;
    let (done, failed, stop) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let call_on = || {
        while !stop.load(Ordering::Relaxed) {
            let good = door.request(cast, Some(&cast.alb)).run().status == 200;
            (if good { &done } else { &failed }).fetch_add(1, Ordering::Relaxed);
        }
    };
    let new = std::thread::scope(|scope| {
        let _stop = SetAtEnd(&stop);
        scope.spawn(call_on);
        scope.spawn(call_on);
        replace(kubelet, door, cast, &old, &done)
    })?;
    let (done, failed) = (done.into_inner(), failed.into_inner());
    terminal.command("kubectl apply -f gateway-secret.yaml  # kubelet swaps ..data in one step");
    terminal.answer(&format!("served before: serial {old}\nserved after:  serial {new}"));
    ensure!(failed == 0, "{failed} of {} requests failed", done + failed);
    terminal.good(&format!("{done} requests on as many connections meanwhile, none failed"));
    Ok(())
}

/// Replaces the Secret as kubelet does once requests flow, and waits for the new certificate and
/// for some requests more.
fn replace(
    kubelet: &mut Kubelet,
    door: Door,
    cast: &Cast,
    old: &str,
    done: &AtomicU32,
) -> Result<String> {
    wait_until("requests flow", || Ok(done.load(Ordering::Relaxed) >= 10))?;
    let renewed = cast.renewed_gateway()?;
    kubelet.sync(|kind, name| match (kind, name) {
        ("Secret", GATEWAY_SECRET) => Some(renewed.clone()),
        _ => cast.secret(kind, name),
    })?;
    let mut serial = old.to_owned();
    wait_until("the new certificate is served", || {
        serial = door.served_serial(cast)?;
        Ok(serial != old)
    })?;
    let enough = done.load(Ordering::Relaxed) + 10;
    wait_until("requests still flow", || Ok(done.load(Ordering::Relaxed) >= enough))?;
    Ok(serial)
}

fn wait_until(what: &str, mut come_true: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !come_true()? {
        ensure!(
            Instant::now() < deadline,
            "{} s have passed, and not yet: {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
