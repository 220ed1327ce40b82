//! Any headers of a client: none of them is what only the sidecar may say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lasthop_sidecar::fuzzing::headers(bytes));
