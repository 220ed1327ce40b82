//! What people write into annotations and flags: what is taken is taken again as it is written down.
#![no_main]

use lasthop_contract::client_policy::AllowedClients;
use lasthop_contract::sidecar_config::Upstream;
use lasthop_contract::trusted_proxies::TrustedProxies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(allowed) = AllowedClients::parse(text) {
        // Beyond ASCII some characters are written as escapes, for who reads them in a log.
        if !text.is_ascii() {
            return;
        }
        let written: Vec<String> = allowed.patterns().iter().map(ToString::to_string).collect();
        let again = AllowedClients::from_entries(written.iter().map(String::as_str));
        assert_eq!(again.expect("what is written is read"), allowed);
    }
    let entries: Vec<String> = text.split(',').map(ToOwned::to_owned).collect();
    let _judged = TrustedProxies::from_entries(&entries);
    if let Ok(upstream) = text.parse::<Upstream>() {
        assert_eq!(upstream.to_string().parse(), Ok(upstream));
    }
});
