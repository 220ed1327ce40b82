use std::sync::LazyLock;

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

static HOST_VALUE: HeaderValue = HeaderValue::from_static("app.example.com");
static PEER: LazyLock<Peer> = LazyLock::new(|| Peer::new("192.0.2.7".parse().unwrap()));

fn origin(trust: Trust) -> Origin<'static> {
    let (peer, host) = (&*PEER, &HOST_VALUE);
    Origin { peer, trust, host, port: None, identity: &[], forwarded: Forwarded::Extended }
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

const FORGED: [&str; 115] = [
    "X-Forwarded-For",
    "x-forwarded-proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Forwarded-User",
    "Forwarded",
    "X-Real-IP",
    "X-Client-Cert",
    "X-Client-Certificate",
    "X-Client-Cert-Chain",
    "X-SSL-Client-Cert",
    "X-SSL-Cert",
    "Ssl-Client-Verify",
    "Ssl-Client-Subject-Dn",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Remote-User",
    "X-Remote-Group",
    "X-Remote-Extra-Scopes",
    "Remote-User",
    "l5d-client-id",
    "L5D-Dst-Override",
    "True-Client-IP",
    "X-Client-IP",
    "X_Forwarded_For",
    "x_forwarded-proto",
    "X_FORWARDED_CLIENT_CERT",
    "Remote_User",
    "client_cert",
    "X.Forwarded.For",
    "x_real_ip",
    "SSL_CLIENT_S_DN",
    "x-ssl_client_verify",
    "X-ARR-ClientCert",
    "X-TLS-Client-Subject",
    "Tls-Client-Verify",
    "SSL-Cert",
    "Ssl-Client",
    "X-Client-S-Dn",
    "X-Client-Subject",
    "X-Client-Subject-DN",
    "X-Spiffe-Id",
    "X-Envoy-External-Address",
    "X-Envoy-Peer-Metadata",
    "X-Envoy-Peer-Metadata-Id",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Azure-ClientIP",
    "X-Azure-SocketIP",
    "X-Cluster-Client-IP",
    "X-ProxyUser-Ip",
    "X-Originating-IP",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-WebAuth-User",
    "X-Ms-Client-Principal",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Goog-Authenticated-User-Email",
    "X-Amzn-Oidc-Identity",
    "Proxy",
    "Script-Name",
    "SCRIPT_NAME",
    "Path_Info",
    "Client-IP",
    "Fly-Client-IP",
    "Remote-Groups",
    "X-Authenticated-User",
    "X-Auth-User",
    "X-Consumer-Username",
    "X-Pomerium-Claim-Email",
    "Cf-Access-Authenticated-User-Email",
    "Tailscale-User-Login",
    "X-Client-CN",
    "X-Cert-Subject",
    "SSL-DN",
    "X-Scheme",
    "Front-End-Https",
    "cf_connecting_ip",
    "X_Auth_Request_User",
    "$WSCC",
    "$WSRU",
    "$wsra",
    "WL-Proxy-Client-Cert",
    "WL-Proxy-Client-IP",
    "WL-Proxy-SSL",
    "Proxy-Client-IP",
    "Proxy-Auth-Cert",
    "Proxy-Ssl-Id",
    "X-Proxied-Https",
    "SM_USER",
    "SM_USERDN",
    "iv-user",
    "IV-Groups",
    "OAM_REMOTE_USER",
    "OIDC_CLAIM_sub",
    "Shib-Identity-Provider",
    "MS-ASPNETCORE-CLIENTCERT",
    "X-ARR-SSL",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-Endpoint-API-UserInfo",
    "X-Apigateway-Api-Userinfo",
    "X-Userinfo",
    "X-Credential-Identifier",
    "X-Original-For",
    "X-Original-Proto",
    "CF-Connecting-IPv6",
    "Ali-CDN-Real-IP",
    "X-Sucuri-ClientIP",
    "Content_Length",
    "transfer_encoding",
    "Transfer.Encoding",
];

#[test]
fn a_stranger_cannot_say_who_it_is() {
    for name in FORGED {
        let mut headers = map(&[(name, "forged"), (name, "again"), ("accept", "*/*")]);
        let (_, stripped) = to_application(&mut headers, &origin(Trust::Untrusted));
        assert_eq!(stripped, 1, "{name}");
        let text = format!("{headers:?}");
        assert!(!text.contains("forged") && !text.contains("again"), "{name}: {text}");
        assert_eq!(value(&headers, "accept"), "*/*");
        assert_eq!(value(&headers, "x-forwarded-for"), "192.0.2.7");
    }
}

#[test]
fn what_only_looks_alike_is_passed_on() {
    for name in [
        "Proxy-Status",
        "X-Auth-Token",
        "X-Client-Version",
        "X-Envoy-Attempt-Count",
        "X-Ms-Client-Request-Id",
        "X-Amzn-Trace-Id",
        "X-Requested-With",
        "Remote-Address",
        "X-User-Id", // with X-Auth-Token, how clients of some applications log in
        "X-Client-Data",
        "X-ARR-LOG-ID",
        "WL-Proxy",
        "Small-User",
        "X-Host",
        "Content_Type",
    ] {
        let mut headers = map(&[(name, "kept")]);
        let (_, stripped) = to_application(&mut headers, &origin(Trust::Untrusted));
        assert_eq!(stripped, 0, "{name}");
        assert_eq!(value(&headers, name), "kept");
    }
}

#[test]
fn a_cookie_in_crumbs_is_one_cookie() {
    let mut headers =
        map(&[("cookie", "a=b"), ("accept", "*/*"), ("cookie", ""), ("cookie", "c=d; e=f")]);
    join_cookies(&mut headers);
    assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b; c=d; e=f"]);
    assert_eq!(value(&headers, "accept"), "*/*");
    for lines in [&[][..], &[("cookie", "a=b")]] {
        let mut headers = map(lines);
        join_cookies(&mut headers);
        assert_eq!(headers, map(lines));
    }
}

#[test]
fn the_application_is_told_the_truth() {
    let identity =
        [(HeaderName::from_static("x-forwarded-client-cert"), HeaderValue::from_static("Hash=ab"))];
    let mut headers =
        map(&[("X-Forwarded-Client-Cert", "Hash=forged"), ("host", "app.example.com")]);
    let told = Origin { identity: &identity, port: Some(8443), ..origin(Trust::Untrusted) };
    let _asked = to_application(&mut headers, &told);
    assert_eq!(value(&headers, "x-forwarded-client-cert"), "Hash=ab");
    assert_eq!(headers.get_all("x-forwarded-client-cert").iter().count(), 1);
    assert_eq!(value(&headers, "x-forwarded-proto"), "https");
    assert_eq!(value(&headers, "x-forwarded-host"), "app.example.com");
    assert_eq!(value(&headers, "x-forwarded-port"), "8443");
    assert_eq!(value(&headers, "host"), "app.example.com");
    assert!(!headers.contains_key("forwarded"));
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_extended() {
    let mut headers = map(&[
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-For", "198.51.100.1, 10.0.0.2"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "shop.example.com"),
        ("X-Forwarded-Port", "80"),
        ("X-Forwarded-Prefix", "/shop"),
        ("X-Real-IP", "203.0.113.9"),
        ("CF-Connecting-IP", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
    ]);
    let _asked = to_application(&mut headers, &origin(Trust::Trusted));
    assert_eq!(
        value(&headers, "x-forwarded-for"),
        "203.0.113.9, 198.51.100.1, 10.0.0.2, 192.0.2.7"
    );
    assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(value(&headers, "x-forwarded-proto"), "http");
    assert_eq!(value(&headers, "x-forwarded-host"), "shop.example.com");
    assert_eq!(value(&headers, "x-forwarded-port"), "80");
    assert_eq!(value(&headers, "x-forwarded-prefix"), "/shop");
    assert_eq!(value(&headers, "x-real-ip"), "203.0.113.9");
    assert_eq!(value(&headers, "cf-connecting-ip"), "203.0.113.9");
    assert_eq!(
        value(&headers, "forwarded"),
        "for=203.0.113.9, for=192.0.2.7;proto=https;host=\"app.example.com\""
    );
}

#[test]
fn forwarded_is_written_where_somebody_wants_it() {
    for (trust, expected) in [
        (Trust::Untrusted, "for=192.0.2.7;proto=https;host=\"app.example.com\""),
        (Trust::Trusted, "for=203.0.113.9, for=192.0.2.7;proto=https;host=\"app.example.com\""),
    ] {
        let mut headers = map(&[("Forwarded", "for=203.0.113.9")]);
        let origin = Origin { forwarded: Forwarded::Always, ..origin(trust) };
        let _asked = to_application(&mut headers, &origin);
        assert_eq!(value(&headers, "forwarded"), expected);
        assert_eq!(headers.get_all("forwarded").iter().count(), 1);
    }
}

#[test]
fn even_a_trusted_proxy_does_not_hand_on_certificates_and_users() {
    let mut headers = map(&[
        ("X-Forwarded-User", "forged"),
        ("X-Forwarded-Email", "forged"),
        ("X-Forwarded-Groups", "forged"),
        ("X-Forwarded-Preferred-Username", "forged"),
        ("X-Forwarded-Access-Token", "forged"),
        ("X-Forwarded-Client-Cert", "Hash=forged"),
        ("X-Forwarded-Tls-Client-Cert", "forged"),
        ("Ssl-Client-Verify", "forged"),
        ("X_Forwarded_For", "forged"),
        ("X-Remote-User", "forged"),
        ("X-Auth-Request-User", "forged"),
        ("X-Spiffe-Id", "forged"),
        ("X-ARR-ClientCert", "forged"),
        ("CF_Connecting_IP", "forged"),
        ("Proxy", "http://forged"),
    ]);
    let (_, stripped) = to_application(&mut headers, &origin(Trust::Trusted));
    assert_eq!(stripped, 15);
    assert!(!format!("{headers:?}").contains("forged"));
}

#[test]
fn connection_ends_what_it_names_and_nothing_of_ours() {
    let mut headers = map(&[
        ("Connection", "keep-alive, X-Private, x-forwarded-for"),
        ("connection", "X-Forwarded-Client-Cert,  close"),
        ("X-Private", "for the next hop"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers, deflate;q=0.5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ]);
    let (asked, _) = to_application(&mut headers, &origin(Trust::Trusted));
    assert_eq!(asked, Asked { trailers: true, websocket: false });
    assert_eq!(value(&headers, "x-forwarded-for"), "203.0.113.9, 192.0.2.7");
    for name in [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[test]
fn what_is_no_text_in_connection_hides_nothing_beside_it() {
    let mut headers = map(&[("X-Private", "for the next hop"), ("X-Other", "likewise")]);
    let line = HeaderValue::from_bytes(b"\xff, X-Private,\xe9;X-Kept ,\tX-Other;a=\xff").unwrap();
    headers.append(CONNECTION, line);
    headers.append("x-kept", HeaderValue::from_static("kept"));
    let _asked = to_application(&mut headers, &origin(Trust::Untrusted));
    assert!(!headers.contains_key("x-private") && !headers.contains_key("x-other"));
    assert_eq!(value(&headers, "x-kept"), "kept");
}

#[test]
fn only_a_websocket_is_an_upgrade() {
    let asked = |upgrade: &[(&str, &str)]| {
        let mut headers = map(upgrade);
        to_application(&mut headers, &origin(Trust::Untrusted)).0.websocket
    };
    assert!(asked(&[("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket")]));
    assert!(!asked(&[("Upgrade", "websocket")]));
    assert!(!asked(&[("Connection", "upgrade"), ("Upgrade", "h2c")]));
    assert!(!asked(&[("Connection", "upgrade"), ("Upgrade", "websocket, h2c")]));
    assert!(!asked(&[("Connection", "upgrade"), ("Upgrade", "websocket"), ("Upgrade", "h2c")]));
}

#[test]
fn trailers_carry_neither_identity_nor_framing() {
    let mut trailers = map(&[
        ("grpc-status", "0"),
        ("X-Forwarded-For", "forged"),
        ("x_remote_user", "forged"),
        ("Content-Length", "5"),
        ("Host", "forged"),
        ("Transfer-Encoding", "chunked"),
    ]);
    clean_trailers(&mut trailers);
    assert_eq!(trailers.len(), 1);
    assert_eq!(value(&trailers, "grpc-status"), "0");
}

#[test]
fn an_ipv6_peer_is_quoted_in_forwarded() {
    let mut headers = map(&[
        ("Forwarded", "for=a"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Proto", "https"),
    ]);
    let peer = Peer::new("2001:db8::7".parse().unwrap());
    let _asked = to_application(&mut headers, &Origin { peer: &peer, ..origin(Trust::Trusted) });
    assert!(value(&headers, "forwarded").contains("for=\"[2001:db8::7]\""));
    assert_eq!(value(&headers, "x-forwarded-for"), "2001:db8::7");
    assert_eq!(value(&headers, "x-forwarded-proto"), "https");
}
