//! The document of a sidecar: a configuration or a reason, and what is read is written the same.
#![no_main]

use lasthop_contract::sidecar_config::SidecarConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = SidecarConfig::parse(text) {
        assert_eq!(SidecarConfig::parse(&config.to_json()), Ok(config));
    }
    lasthop_sidecar::fuzzing::configuration(text);
});
