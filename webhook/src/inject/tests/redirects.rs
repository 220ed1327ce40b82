//! Plain HTTP beside the sidecar's listeners, and what browsers are told over TLS.

use lasthop_contract::sidecar_config::{Redirect, RedirectStatus};

use super::*;

fn redirect(pod: &Object) -> Redirect {
    let redirect = |listener| match listener {
        Listener::Redirect(redirect) => Some(redirect),
        Listener::Terminate(_) | Listener::Originate(_) => None,
    };
    config(&injected(pod)).listeners.into_iter().find_map(redirect).unwrap()
}

fn hsts(pod: &Object) -> Vec<Option<String>> {
    let hsts = |listener| match listener {
        Listener::Terminate(terminate) => Some(terminate.hsts.map(String::from)),
        Listener::Redirect(_) | Listener::Originate(_) => None,
    };
    config(&injected(pod)).listeners.into_iter().filter_map(hsts).collect()
}

#[test]
fn a_redirect_is_as_it_was_asked_for() {
    let default = redirect(&pod(&json!({ "redirect-port": "8081" })));
    assert_eq!((default.https_port, default.status), (443, RedirectStatus::Permanent));
    let chosen = json!({
        "redirect-port": "8081", "redirect-status": "302", "redirect-https-port": "8443",
    });
    let chosen = redirect(&pod(&chosen));
    assert_eq!((chosen.https_port, chosen.status), (8443, RedirectStatus::Found));
}

#[test]
fn what_cannot_be_a_redirect_is_told() {
    for (annotations, expected) in [
        (json!({ "redirect-port": "8081", "redirect-status": "303" }), vec![code::VALUE]),
        (json!({ "redirect-port": "8081", "redirect-https-port": "0" }), vec![code::VALUE]),
        (json!({ "redirect-status": "302" }), vec![code::CONFLICT]),
        (
            json!({ "redirect-status": "302", "redirect-https-port": "443" }),
            vec![code::CONFLICT, code::CONFLICT],
        ),
        (json!({ "redirect-port": "8081", "redirect-status.8443": "302" }), vec![code::LISTENER]),
    ] {
        assert_eq!(codes(&pod(&annotations)), expected, "{annotations}");
    }
}

#[test]
fn browsers_are_told_to_come_over_https() {
    let year = "max-age=31536000".to_owned();
    assert_eq!(hsts(&pod(&json!({}))), [None]);
    assert_eq!(hsts(&pod(&json!({ "hsts": " max-age=31536000;" }))), [Some(year.clone())]);
    let two = json!({
        "ports": "8443:8080,9443:9090", "hsts": "max-age=31536000", "protocol.9443": "tcp",
    });
    assert_eq!(hsts(&pod(&two)), [Some(year), None]);
    for (annotations, expected) in [
        (json!({ "hsts": "31536000" }), code::VALUE),
        (json!({ "hsts": "max-age=1; preload" }), code::VALUE),
        (json!({ "hsts": "max-age=1", "protocol": "tcp" }), code::CONFLICT),
    ] {
        assert_eq!(codes(&pod(&annotations)), [expected], "{annotations}");
    }
}
