//! Updates: what was broken before passes wherever it goes, what breaks anew refuses.

use super::*;

/// An Ingress with these hosts and Secret names as items of `spec.tls`.
fn items(items: &[(&[&str], &str)]) -> Value {
    let item = |(hosts, name): &(&[&str], &str)| json!({"hosts": hosts, "secretName": name});
    ingress(&Value::Array(items.iter().map(item).collect()))
}

/// Whether an update among the Secret `web-tls` for `a.example` is refused.
fn refuses_update(old: &Value, new: &Value) -> bool {
    let good = secret("web-tls", &["a.example"]);
    update(old.clone(), new.clone()).among([&good]).judged().refuses()
}

#[test]
fn what_was_broken_before_may_move() {
    let (a, b, c) = (["a.example"].as_slice(), ["b.example"].as_slice(), ["c.example"].as_slice());
    let ab = ["a.example", "b.example"].as_slice();
    let bc = ["b.example", "c.example"].as_slice();
    let cases = [
        ("a good item goes", items(&[(a, "web-tls"), (b, "gone")]), items(&[(b, "gone")])),
        (
            "items change places",
            items(&[(a, "web-tls"), (b, "gone")]),
            items(&[(b, "gone"), (a, "web-tls")]),
        ),
        ("a good item comes first", items(&[(b, "gone")]), items(&[(a, "web-tls"), (b, "gone")])),
        ("one of two is repaired", items(&[(b, "gone"), (c, "lost")]), items(&[(c, "lost")])),
        ("a good host goes", items(&[(ab, "web-tls")]), items(&[(b, "web-tls")])),
        (
            "hosts change places",
            items(&[(ab, "web-tls")]),
            items(&[(&["b.example", "a.example"], "web-tls")]),
        ),
        (
            "a host moves to an item of its own",
            items(&[(ab, "web-tls")]),
            items(&[(a, "web-tls"), (b, "web-tls")]),
        ),
        ("one of two hosts goes", items(&[(bc, "web-tls")]), items(&[(c, "web-tls")])),
        ("what is there is edited", items(&[(b, "gone")]), items(&[(b, "lost")])),
    ];
    for (what, old, new) in cases {
        assert!(!refuses_update(&old, &new), "{what}");
    }
}

#[test]
fn what_is_broken_anew_refuses_wherever_the_old_went() {
    let (a, b, c) = (["a.example"].as_slice(), ["b.example"].as_slice(), ["c.example"].as_slice());
    let ab = ["a.example", "b.example"].as_slice();
    let abc = ["a.example", "b.example", "c.example"].as_slice();
    let cases = [
        ("the first", items(&[(a, "web-tls")]), items(&[(a, "gone")])),
        ("one in front", items(&[(b, "gone")]), items(&[(a, "lost"), (b, "gone")])),
        ("one behind", items(&[(b, "gone")]), items(&[(b, "gone"), (a, "lost")])),
        ("the same twice", items(&[(b, "gone")]), items(&[(b, "gone"), (c, "gone")])),
        ("another host", items(&[(ab, "web-tls")]), items(&[(abc, "web-tls")])),
        ("another mistake", items(&[(b, "gone")]), items(&[(b, "web-tls")])),
    ];
    for (what, old, new) in cases {
        assert!(refuses_update(&old, &new), "{what}");
    }
    let moved = update(items(&[(b, "gone")]), items(&[(a, "lost"), (b, "gone")])).told();
    for told in ["error LH201 spec.tls[0].secretName", "warning LH201 spec.tls[1].secretName"] {
        assert!(moved.contains(&told.to_owned()), "{moved:?}");
    }
}
