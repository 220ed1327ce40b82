//! What people do beside `kubectl apply` of a Deployment: they scale and debug, run Jobs on old clusters, paste the
//! commands that they were told; in front of a real API server.

use std::process::Command;

use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::process::Finished;
use lasthop_tests::skip;
use lasthop_tests::webhook::Webhook;
use lasthop_tests::workloads::{asks, deployment, namespace, template};
use serde_json::{Value, json};

fn object(kind: &str, version: &str, namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": spec,
    })
}

/// A command as a person copies it from between the backticks, with the line breaks of the terminal.
fn pasted(cluster: &Cluster, told: &str) -> std::process::Output {
    let (_, rest) = told.split_once("`kubectl patch").expect(told);
    let command = format!("kubectl patch{}", rest.split_once('`').expect(told).0);
    let kubectl = cluster.kubeconfig().with_file_name("bin");
    let kubectl = if kubectl.is_dir() { kubectl } else { skip::find("kubectl").unwrap() };
    let path = format!("{}:{}", kubectl.display(), std::env::var("PATH").unwrap());
    let shell = Command::new("sh")
        .args(["-c", &command])
        .env("PATH", path)
        .env("KUBECONFIG", cluster.kubeconfig())
        .output();
    shell.unwrap()
}

#[test]
fn the_command_that_is_printed_moves_the_annotations_when_it_is_pasted() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let name = "pasted";
    namespace(cluster, name);
    cluster.admitted(&deployment(name, &json!({})).to_string());
    let annotate = ["annotate", "deployment", "web", "-n", name, "lasthop.dev/inject=true"];
    let annotate = [&annotate[..], &["lasthop.dev/tls-secret=web-tls"]].concat();
    let refused: Finished = cluster.kubectl(&annotate).run();
    assert!(!refused.status.success() && refused.stderr.contains("LH308"), "{refused}");
    let done = pasted(cluster, &refused.stderr);
    assert!(done.status.success(), "{done:?}");
    let stored = cluster.get(&["deployment", "web", "-n", name]);
    assert_eq!(stored["spec"]["template"]["metadata"]["annotations"], asks());
    webhook.stop();
}

#[test]
fn pods_that_have_the_sidecar_are_scaled_and_debugged_as_all_others_are() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let name = "worked-with";
    namespace(cluster, name);
    let mut pod = template(&asks());
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["namespace"] = name.into();
    pod["metadata"]["name"] = "web".into();
    cluster.admitted(&pod.to_string());
    cluster.admitted(&deployment(name, &asks()).to_string());
    let before = (webhook.metrics(), cluster.get(&["pod", "web", "-n", name]));
    let reviews = |metrics: &str| -> Vec<String> {
        let lines = metrics.lines().filter(|it| it.starts_with("lasthop_reviews_total"));
        lines.map(ToOwned::to_owned).collect()
    };
    assert!(!reviews(&before.0).is_empty(), "{}", before.0);

    let debug =
        ["debug", "web", "-n", name, "--image=busybox:1", "-c", "shell", "--profile=general"];
    let debug = [&debug[..], &["--attach=false", "--quiet", "--", "true"]].concat();
    cluster.kubectl(&debug).run().expect_success();
    let status = r#"{"status":{"phase":"Running","podIP":"10.0.0.7"}}"#;
    let status =
        ["patch", "pod", "web", "-n", name, "--subresource=status", "--type=merge", "-p", status];
    cluster.kubectl(&status).run().expect_success();
    let scale = ["scale", "deployment/web", "-n", name, "--replicas=4"];
    assert_eq!(cluster.kubectl(&scale).run().expect_success().stderr, "");
    let label = ["label", "pod", "web", "-n", name, "seen=yes"];
    cluster.kubectl(&label).run().expect_success();

    let after = (webhook.metrics(), cluster.get(&["pod", "web", "-n", name]));
    assert_eq!(reviews(&before.0), reviews(&after.0), "nothing of it was shown to the webhook");
    assert_eq!(after.1["spec"]["ephemeralContainers"][0]["name"], "shell", "{:#}", after.1);
    let lists = ["initContainers", "containers", "volumes"];
    for list in lists {
        assert_eq!(before.1["spec"][list], after.1["spec"][list]);
    }
    webhook.stop();
}

#[test]
fn every_kind_of_workload_is_judged_where_it_is_applied() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let name = "every-kind";
    namespace(cluster, name);
    let wrong =
        template(&json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tsl" }));
    let labels = json!({ "matchLabels": { "app": "web" } });
    let selected = json!({ "selector": labels, "template": wrong });
    let mut set = selected.clone();
    set["serviceName"] = "web".into();
    let mut job = json!({ "template": wrong });
    job["template"]["spec"]["restartPolicy"] = "Never".into();
    let cron = json!({ "schedule": "@daily", "jobTemplate": { "spec": job } });
    let plain = json!({ "selector": { "app": "web" }, "template": wrong });
    for (kind, version, spec) in [
        ("Deployment", "apps/v1", &selected),
        ("StatefulSet", "apps/v1", &set),
        ("DaemonSet", "apps/v1", &selected),
        ("ReplicaSet", "apps/v1", &selected),
        ("ReplicationController", "v1", &plain),
        ("Job", "batch/v1", &job),
        ("CronJob", "batch/v1", &cron),
    ] {
        let refused = cluster.refused(&object(kind, version, name, spec).to_string());
        let is_told = refused.contains("LH201") && refused.contains("web-tls");
        assert!(is_told, "{kind}: {refused}");
    }
    webhook.stop();
}

#[test]
fn a_job_on_an_old_cluster_is_refused_instead_of_never_ending() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let name = "old-jobs";
    namespace(cluster, name);
    let mut job = json!({ "template": template(&asks()) });
    job["template"]["spec"]["restartPolicy"] = "OnFailure".into();
    let apply = |cluster: &Cluster, arguments: &[&str]| {
        let webhook = Webhook::on(cluster, arguments);
        let applied = cluster.apply(&object("Job", "batch/v1", name, &job).to_string());
        webhook.stop();
        applied
    };
    let refused = apply(cluster, &["--cluster-version", "1.28"]);
    assert!(!refused.status.success() && refused.stderr.contains("LH332"), "{refused}");
    apply(cluster, &[]).expect_success();
}
