//! cert-manager's Certificate: it reads no Secret, it makes one.
//!
//! <https://cert-manager.io/docs/usage/certificate/>

use crate::object::Object;

/// Whether `object` is a Certificate of cert-manager in a version that is known here.
pub fn is_certificate(object: &Object) -> bool {
    object.kind() == "Certificate" && object.api_version() == "cert-manager.io/v1"
}

/// The Secret whose readers are the business of `object`: itself, or what it has made.
pub fn subject_secret(object: &Object) -> Option<&str> {
    let name = if object.is("", "Secret") {
        object.name()
    } else if is_certificate(object) {
        object.text("/spec/secretName")
    } else {
        ""
    };
    Some(name).filter(|name| !name.is_empty())
}
