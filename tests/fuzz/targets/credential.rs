//! A Secret of any bytes is read, and told what is wrong with it; of a private key nothing is said.
#![no_main]

use lasthop_contract::credential::{self, SecretData};
use libfuzzer_sys::fuzz_target;

const KEYS: [&str; 11] = [
    "tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert", "client.crt", "client.key",
    "trusted.crt", "ca.crl", "crl.pem",
];

// Values with a NUL between them, each with the place of its key before it.
fuzz_target!(|bytes: &[u8]| {
    let mut data = SecretData::new();
    for value in bytes.split(|byte| *byte == 0) {
        let Some((key, value)) = value.split_first() else { continue };
        let key = KEYS[usize::from(*key) % KEYS.len()];
        data.insert(key.to_owned(), value.to_vec());
    }
    let reading = credential::read(&data);
    let trust = credential::read_authorities(&data);
    let lists = credential::read_revocation_lists(&data);
    for now in [0, 1_790_000_000, i64::MAX] {
        let problems = [reading.problems_at(now), trust.problems_at(now), lists.problems_at(now)];
        for problem in problems.iter().flatten() {
            assert!(!problem.to_string().contains("PRIVATE KEY-----\n"));
        }
    }
});
