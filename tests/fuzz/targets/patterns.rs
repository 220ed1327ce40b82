//! What people write into annotations and flags: what is taken is taken again as it is written down.
#![no_main]

use lasthop_contract::client_policy::AllowedClients;
use lasthop_contract::sidecar_config::Upstream;
use lasthop_contract::trusted_proxies::TrustedProxies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(allowed) = AllowedClients::parse(text) {
        let written: Vec<String> = allowed.patterns().iter().map(ToString::to_string).collect();
        // For who reads them in a log, what is long is cut, and beyond ASCII some characters are escapes.
        let is_whole = !written.iter().any(|it| it.ends_with('…'));
        if text.is_ascii() && is_whole {
            let again = AllowedClients::from_entries(written.iter().map(String::as_str));
            assert_eq!(again.expect("what is written is read"), allowed);
        }
    }
    let entries: Vec<String> = text.split(',').map(ToOwned::to_owned).collect();
    let _judged = TrustedProxies::from_entries(&entries);
    if let Ok(upstream) = text.parse::<Upstream>() {
        assert_eq!(upstream.to_string().parse(), Ok(upstream));
    }
});
