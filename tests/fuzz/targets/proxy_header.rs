//! Any bytes before TLS: a PROXY header, the beginning of one, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lasthop_sidecar::fuzzing::proxy_header(bytes));
