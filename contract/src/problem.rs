//! What can be wrong with the bytes of a credential: code, message, help.
//!
//! A [`Problem`] knows the data key it was found in and nothing of the object that holds it; the
//! webhook turns it into a finding at a field, the sidecar logs it with the same code.

use std::fmt;

use crate::credential::{Form, KeyKind, UnusableList};
use crate::text::{day, escape, list};

/// A stable code: `LH` and three digits. Promised to users and never given a second meaning.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LH{:03}", self.0)
    }
}

/// How much a problem hurts whoever uses the credential.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Gravity {
    /// Worth knowing; everything works.
    Notice,
    /// Works today, for some, or not for long.
    Weakness,
    /// TLS with this credential fails.
    Fatal,
}

/// Something wrong with a credential's bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The Secret's data key that it was found in, such as `tls.crt`.
    pub key: String,
    /// What is wrong there.
    pub fault: Fault,
}

/// What binary bytes hold where PEM is expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DerForm {
    /// One certificate.
    Certificate,
    /// A private key.
    Key,
    /// PKCS#12: key and certificates in one file, as Windows and Java export them.
    Pkcs12,
    /// Java's own keystore (JKS), which is not even DER.
    Keystore,
}

/// What is wrong, in the order in which a reader of the bytes meets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The key that should hold it is not in the Secret.
    KeyMissing { form: Form, found: Vec<String> },
    /// The key is there and holds nothing.
    KeyEmpty,
    /// `${NAME}`, `<your certificate>` or sample text that nobody replaced.
    Placeholder { text: String },
    /// The value was base64-encoded once more before it was stored.
    EncodedTwice,
    /// Binary DER where PEM is expected.
    DerNotPem { form: DerForm },
    /// Text in front of the first `-----BEGIN` line is a byte order mark.
    ByteOrderMark,
    /// No PEM block of the wanted kind; `found` are the labels of the blocks that are there.
    NoPemBlock { wanted: &'static str, found: Vec<String> },
    /// A PEM block that cannot be read.
    BrokenPem { reason: String },
    /// The private key where the certificate belongs, or the other way round.
    Swapped { holds: &'static str },
    /// A private key that needs a passphrase.
    EncryptedKey,
    /// More than one private key in one value.
    SeveralKeys { count: usize },
    /// A private key that cannot be loaded.
    BrokenKey { reason: String },
    /// The certificate is not X.509 that can be parsed.
    BrokenCertificate { position: usize, reason: String },
    /// More certificates than a chain can reasonably hold.
    TooManyCertificates { count: usize, most: usize },
    /// The private key does not belong to the certificate.
    KeyMismatch { certificate: KeyKind, key: KeyKind },
    /// The first certificate is not the one of the key; `position` is where that one stands.
    LeafNotFirst { position: usize },
    /// A certificate of the chain did not issue the one before it.
    ChainOrder { position: usize, subject: String, expected: String },
    /// A certificate that only a CA should hold is served.
    CaAsLeaf { subject: String },
    /// X.509 version 1, which no current TLS client accepts.
    X509Version1 { subject: String },
    /// No subject alternative name at all; names only in the subject's CN.
    CommonNameOnly { common_name: Option<String> },
    /// Signed by itself.
    SelfSigned { subject: String },
    /// A certificate of a staging environment, or a temporary one of cert-manager.
    NotForProduction { issuer: String },
    /// After its time.
    Expired { subject: String, not_after: i64 },
    /// Before its time.
    NotYetValid { subject: String, not_before: i64 },
    /// Before the end of its time, but not by much.
    ExpiresSoon { subject: String, not_after: i64 },
    /// A key too short or of a kind that TLS libraries refuse.
    WeakKey { kind: KeyKind },
    /// A signature that TLS libraries refuse.
    WeakSignature { subject: String, algorithm: String },
    /// Extended key usages that do not allow the role.
    WrongPurpose { wanted: &'static str, presented: Vec<String> },
    /// A bundle of trusted CAs in which no certificate is a CA.
    NoCaInBundle,
    /// A certificate in a bundle of trusted CAs that is none.
    NotACa { position: usize, subject: String },
    /// A trusted CA after its time.
    CaExpired { subject: String, not_after: i64 },
    /// A private key where only public CA certificates belong.
    KeyInCaBundle,
    /// A revocation list that cannot be read.
    BrokenCrl { reason: String },
    /// A revocation list that can be read and not be used.
    UnusableCrl { list: UnusableList },
    /// A revocation list past its `nextUpdate`.
    CrlExpired { issuer: String, next_update: i64 },
    /// A trusted CA that issues certificates to anybody.
    PublicCa { subject: String },
    /// A value under `data` that is not base64; `is_pem` where it is the PEM text itself.
    NotBase64 { is_pem: bool },
    /// The chain ends before it reaches a root that clients know.
    MissingIntermediate { issuer: String },
    /// A second server certificate where the issuer of the first belongs.
    SeveralLeaves { position: usize, subject: String },
}

impl Problem {
    /// A problem with the value under `key`.
    pub fn new(key: impl Into<String>, fault: Fault) -> Self {
        Self { key: key.into(), fault }
    }

    /// The code of this problem.
    pub fn code(&self) -> Code {
        Code(match self.fault {
            Fault::KeyMissing { .. } => 101,
            Fault::KeyEmpty => 102,
            Fault::Placeholder { .. } => 103,
            Fault::EncodedTwice => 104,
            Fault::DerNotPem { .. } => 105,
            Fault::ByteOrderMark => 106,
            Fault::NoPemBlock { .. } => 107,
            Fault::BrokenPem { .. } => 108,
            Fault::Swapped { .. } => 109,
            Fault::EncryptedKey => 110,
            Fault::SeveralKeys { .. } => 111,
            Fault::BrokenKey { .. } => 112,
            Fault::BrokenCertificate { .. } => 113,
            Fault::TooManyCertificates { .. } => 114,
            Fault::KeyMismatch { .. } => 115,
            Fault::LeafNotFirst { .. } => 116,
            Fault::ChainOrder { .. } => 117,
            Fault::CaAsLeaf { .. } => 118,
            Fault::X509Version1 { .. } => 119,
            Fault::CommonNameOnly { .. } => 120,
            Fault::SelfSigned { .. } => 121,
            Fault::NotForProduction { .. } => 122,
            Fault::Expired { .. } => 123,
            Fault::NotYetValid { .. } => 124,
            Fault::ExpiresSoon { .. } => 125,
            Fault::WeakKey { .. } => 126,
            Fault::WeakSignature { .. } => 127,
            Fault::WrongPurpose { .. } => 128,
            Fault::NoCaInBundle => 129,
            Fault::NotACa { .. } => 130,
            Fault::CaExpired { .. } => 131,
            Fault::KeyInCaBundle => 132,
            Fault::BrokenCrl { .. } | Fault::UnusableCrl { .. } => 133,
            Fault::CrlExpired { .. } => 134,
            Fault::PublicCa { .. } => 135,
            Fault::NotBase64 { .. } => 136,
            Fault::MissingIntermediate { .. } => 137,
            Fault::SeveralLeaves { .. } => 138,
        })
    }

    /// How much it hurts a program that serves or trusts the credential.
    pub fn gravity(&self) -> Gravity {
        match self.fault {
            Fault::ChainOrder { .. }
            | Fault::MissingIntermediate { .. }
            | Fault::SeveralLeaves { .. }
            | Fault::CaAsLeaf { .. }
            | Fault::ExpiresSoon { .. }
            | Fault::NotACa { .. }
            | Fault::CaExpired { .. }
            | Fault::KeyInCaBundle
            | Fault::CrlExpired { .. }
            | Fault::NotForProduction { .. }
            | Fault::SelfSigned { .. } => Gravity::Weakness,
            Fault::PublicCa { .. } => Gravity::Notice,
            _ => Gravity::Fatal,
        }
    }

    /// What is wrong, as a phrase in lower case.
    #[expect(clippy::too_many_lines, reason = "a table: one phrase a fault")]
    pub fn message(&self) -> String {
        let key = &self.key;
        match &self.fault {
            Fault::KeyMissing { found, .. } if found.is_empty() => {
                format!("`{key}` is missing, the Secret holds no data")
            }
            Fault::KeyMissing { found, .. } => {
                format!("`{key}` is missing, the Secret holds {}", list(found, 6))
            }
            Fault::KeyEmpty => format!("`{key}` is empty"),
            Fault::Placeholder { text } => {
                format!("`{key}` still holds the placeholder `{}`", escape(text))
            }
            Fault::EncodedTwice => format!("`{key}` was base64-encoded twice"),
            Fault::DerNotPem { form: DerForm::Keystore } => {
                format!("`{key}` is a Java keystore, not PEM")
            }
            Fault::DerNotPem { .. } => format!("`{key}` is binary DER, not PEM"),
            Fault::ByteOrderMark => format!("`{key}` begins with a byte order mark"),
            Fault::NoPemBlock { wanted, found } if found.is_empty() => {
                format!("`{key}` holds no PEM block, a {wanted} is needed")
            }
            Fault::NoPemBlock { wanted, found } => {
                format!("`{key}` holds {}, a {wanted} is needed", list(found, 4))
            }
            Fault::BrokenPem { reason } => {
                format!("`{key}` holds a PEM block that cannot be read: {}", escape(reason))
            }
            Fault::Swapped { holds } => format!("`{key}` holds a {holds}"),
            Fault::EncryptedKey => format!("`{key}` is encrypted with a passphrase"),
            Fault::SeveralKeys { count } => format!("`{key}` holds {count} private keys"),
            Fault::BrokenKey { reason } => {
                format!("the private key in `{key}` cannot be loaded: {}", escape(reason))
            }
            Fault::BrokenCertificate { position, reason } => format!(
                "certificate {} in `{key}` cannot be parsed: {}",
                position + 1,
                escape(reason)
            ),
            Fault::TooManyCertificates { count, most } => {
                format!("`{key}` holds {count} certificates, more than {most} are not read")
            }
            Fault::KeyMismatch { .. } => {
                format!("`{key}` is not the private key of the certificate")
            }
            Fault::LeafNotFirst { position } => format!(
                "`{key}` begins with another certificate, the one of the private key is number {}",
                position + 1
            ),
            Fault::ChainOrder { position, subject, expected } => format!(
                "certificate {} in `{key}` (`{}`) did not issue the one before it, which names `{}`",
                position + 1,
                escape(subject),
                escape(expected)
            ),
            Fault::MissingIntermediate { issuer } => format!(
                "the chain in `{key}` ends before its root: the certificate of `{}` is missing",
                escape(issuer)
            ),
            Fault::SeveralLeaves { position, subject } => format!(
                "certificate {} in `{key}` (`{}`) is another server's, no issuer",
                position + 1,
                escape(subject)
            ),
            Fault::CaAsLeaf { subject } => {
                format!("`{key}` serves the CA certificate `{}` itself", escape(subject))
            }
            Fault::X509Version1 { subject } => {
                format!("the certificate `{}` is X.509 version 1", escape(subject))
            }
            Fault::CommonNameOnly { common_name: Some(name) } => {
                format!(
                    "the certificate has the name `{}` only in its CN, not as SAN",
                    escape(name)
                )
            }
            Fault::CommonNameOnly { common_name: None } => {
                "the certificate has no subject alternative name".to_owned()
            }
            Fault::SelfSigned { subject } => {
                format!("the certificate `{}` is self-signed", escape(subject))
            }
            Fault::NotForProduction { issuer } => {
                format!("the certificate is not for production, its issuer is `{}`", escape(issuer))
            }
            Fault::Expired { subject, not_after } => {
                format!("the certificate `{}` expired on {}", escape(subject), day(*not_after))
            }
            Fault::NotYetValid { subject, not_before } => format!(
                "the certificate `{}` is not valid before {}",
                escape(subject),
                crate::text::rfc3339(*not_before)
            ),
            Fault::ExpiresSoon { subject, not_after } => {
                format!("the certificate `{}` expires on {}", escape(subject), day(*not_after))
            }
            Fault::WeakKey { kind } => format!("the key in `{key}` is {kind}, which TLS refuses"),
            Fault::WeakSignature { subject, algorithm } => format!(
                "the certificate `{}` is signed with {}, which TLS refuses",
                escape(subject),
                escape(algorithm)
            ),
            Fault::WrongPurpose { wanted, presented } => format!(
                "the certificate is not for {wanted}, its extended key usage is {}",
                list(presented, 4)
            ),
            Fault::NoCaInBundle => format!("`{key}` holds no CA certificate"),
            Fault::NotACa { position, subject } => format!(
                "certificate {} in `{key}` (`{}`) is not a CA certificate",
                position + 1,
                escape(subject)
            ),
            Fault::CaExpired { subject, not_after } => {
                format!("the CA `{}` in `{key}` expired on {}", escape(subject), day(*not_after))
            }
            Fault::KeyInCaBundle => format!("`{key}` holds a private key beside the CA"),
            Fault::NotBase64 { is_pem: true } => {
                format!("`{key}` stands under `data` as PEM text, base64 belongs there")
            }
            Fault::NotBase64 { is_pem: false } => format!("`{key}` is not base64"),
            Fault::BrokenCrl { reason } => {
                format!("the revocation list in `{key}` cannot be read: {}", escape(reason))
            }
            Fault::UnusableCrl { list } => {
                format!("the revocation list in `{key}` cannot be used: {list}")
            }
            Fault::CrlExpired { issuer, next_update } => format!(
                "the revocation list of `{}` was to be replaced by {}",
                escape(issuer),
                day(*next_update)
            ),
            Fault::PublicCa { subject } => {
                format!(
                    "`{}` is a public CA, anybody can have a certificate of it",
                    escape(subject)
                )
            }
        }
    }

    /// What to do about it; where a command can do it, the command.
    #[expect(clippy::too_many_lines, reason = "a table: one phrase a fault")]
    pub fn help(&self) -> String {
        let key = &self.key;
        match &self.fault {
            Fault::KeyMissing { .. } => add_key(key),
            Fault::KeyEmpty => {
                format!("{}; an empty value is only right where something else will fill it", put_key("fill", key))
            }
            Fault::Placeholder { .. } => {
                "replace it with the PEM text; a tool such as envsubst did not run".to_owned()
            }
            Fault::EncodedTwice => format!(
                "under `data` a value is base64 once: `base64 -w0 < FILE`; or put the PEM under `stringData`, or let \
                 `kubectl create secret` encode `{key}`"
            ),
            Fault::DerNotPem { form: DerForm::Certificate } => {
                format!("convert it: `openssl x509 -inform DER -in {key} -out {key}.pem`")
            }
            Fault::DerNotPem { form: DerForm::Key } => {
                format!("convert it: `openssl pkey -inform DER -in {key} -out {key}.pem`")
            }
            Fault::DerNotPem { form: DerForm::Pkcs12 } => {
                let part = if key.ends_with("key") { "-nocerts" } else { "-nokeys" };
                format!("it is PKCS#12; take out what belongs here: `openssl pkcs12 -in {key} {part} -nodes -out {key}.pem`")
            }
            Fault::DerNotPem { form: DerForm::Keystore } => {
                format!("make PKCS#12 of it first: `keytool -importkeystore -srckeystore {key} -destkeystore FILE -deststoretype PKCS12`")
            }
            Fault::ByteOrderMark => {
                format!("save the file as UTF-8 without mark: `sed -i '1s/^\\xEF\\xBB\\xBF//' {key}`")
            }
            Fault::NoPemBlock { wanted, .. } => {
                format!("`{key}` must hold the lines from `-----BEGIN` to `-----END` of a {wanted}")
            }
            Fault::BrokenPem { .. } => {
                "copy the file again, whole, with its line breaks; `openssl x509 -in FILE -noout` tries it".to_owned()
            }
            Fault::Swapped { .. } => {
                "swap them: `kubectl create secret tls NAME --cert=CERTIFICATE --key=KEY --dry-run=client -o yaml | kubectl \
                 apply -f -`".to_owned()
            }
            Fault::EncryptedKey => {
                format!("a server has nobody to ask: `openssl pkey -in {key} -out {key}.plain` removes the passphrase")
            }
            Fault::SeveralKeys { .. } => format!("keep the one that belongs to the certificate: `openssl pkey -in {key} -pubout` prints its public key"),
            Fault::BrokenKey { .. } => {
                format!("`openssl pkey -in {key} -noout` shows what is wrong; make a new key where it fails")
            }
            Fault::BrokenCertificate { .. } => {
                format!("`openssl x509 -in {key} -noout -text` shows what is wrong; ask the issuer for a new file")
            }
            Fault::TooManyCertificates { .. } => {
                "keep the server's certificate and its intermediates".to_owned()
            }
            Fault::KeyMismatch { certificate, key: private } if certificate == private => format!(
                "both are {certificate} but of different pairs; take the key that the request for the certificate was made with"
            ),
            Fault::KeyMismatch { certificate, key: private } => format!(
                "the certificate's key is {certificate}, the given key is {private}; put the pair together that was made together"
            ),
            Fault::LeafNotFirst { .. } => {
                format!("order it, server certificate first: `cat SERVER.crt INTERMEDIATE.crt > {key}`, without the root")
            }
            Fault::ChainOrder { .. } => {
                format!("order it, each one's issuer behind it: `cat SERVER.crt INTERMEDIATE.crt > {key}`, without the root and everything unrelated")
            }
            Fault::MissingIntermediate { .. } => {
                format!("append what the CA calls its intermediate or chain, `cat cert.pem chain.pem > {key}`, or take the `fullchain.pem` of the ACME client")
            }
            Fault::SeveralLeaves { .. } => {
                "keep one server certificate a Secret, and make another Secret for the other".to_owned()
            }
            Fault::CaAsLeaf { .. } => {
                "issue a server certificate from this CA and serve that one; clients refuse a CA certificate as server".to_owned()
            }
            Fault::X509Version1 { .. } => {
                "issue it again with extensions (`openssl x509 -req -extfile`), which makes it version 3; clients refuse version 1"
                    .to_owned()
            }
            Fault::CommonNameOnly { common_name } => format!(
                "issue it again with `subjectAltName=DNS:{}`; clients have ignored the CN since 2017 (RFC 6125, RFC 9525)",
                common_name.as_deref().map_or_else(|| "NAME".to_owned(), escape)
            ),
            Fault::SelfSigned { .. } => {
                "fine for trials; clients need this very certificate as trust anchor".to_owned()
            }
            Fault::NotForProduction { .. } => {
                "fine for trials; switch the issuer to production before users come".to_owned()
            }
            Fault::Expired { .. } => "renew it and update the Secret".to_owned(),
            Fault::NotYetValid { .. } => {
                "wait, or check the clock of the machine that issued it".to_owned()
            }
            Fault::ExpiresSoon { .. } => {
                "renew it; where cert-manager should have, `kubectl describe certificate` says what keeps it".to_owned()
            }
            Fault::WeakKey { .. } => {
                "make a new pair: `openssl ecparam -name prime256v1 -genkey -noout -out tls.key`, or RSA of 2048 bits and more"
                    .to_owned()
            }
            Fault::WeakSignature { .. } => "issue it again with SHA-256".to_owned(),
            Fault::WrongPurpose { wanted, .. } => {
                format!("issue it with an extended key usage that includes {wanted}")
            }
            Fault::NoCaInBundle => {
                "put the CA's own certificate there (`CA:TRUE`), not the server's or the client's".to_owned()
            }
            Fault::NotACa { .. } => {
                "leave it out; only certificates with `CA:TRUE` can vouch for others".to_owned()
            }
            Fault::CaExpired { .. } => "replace it with the CA's current certificate".to_owned(),
            Fault::KeyInCaBundle => {
                "take the private key out at once and treat it as leaked; who only verifies needs certificates alone".to_owned()
            }
            Fault::NotBase64 { .. } => {
                "put the PEM text under `stringData`, or `base64 -w0 < FILE` under `data`".to_owned()
            }
            Fault::BrokenCrl { .. } => {
                format!("`openssl crl -in {key} -noout -text` shows what is wrong")
            }
            Fault::UnusableCrl { list } => list.help(key),
            Fault::CrlExpired { .. } => "fetch the CA's current list".to_owned(),
            Fault::PublicCa { .. } => {
                "trust follows the names in allowed-clients alone; name every client".to_owned()
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.code(), self.message(), self.help())
    }
}

/// The command that puts `key` beside what a Secret holds already. A value never stands on the command
/// line, where the processes of others could read it.
pub fn add_key(key: &str) -> String {
    put_key("add", key)
}

fn put_key(verb: &str, key: &str) -> String {
    format!(
        "{verb} it: `kubectl create secret generic NAME --from-file={key}=FILE --dry-run=client -o yaml | \
         kubectl patch secret NAME --patch-file=/dev/stdin`"
    )
}
