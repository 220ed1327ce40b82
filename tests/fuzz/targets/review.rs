//! Any body that claims to be an AdmissionReview: a question or a reason.
#![no_main]

use lasthop::review;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(question) = review::read(body) {
        let _name = question.displayed_name();
    }
});
