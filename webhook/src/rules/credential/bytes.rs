//! The pages about the values of a Secret: what stands where PEM should.

use lasthop_contract::problem::Code;

use super::super::Rule;
use super::seen;
use crate::symptom::Symptom;

/// A page; the contract finds the problem itself.
pub(super) const fn page(
    code: Code,
    name: &'static str,
    summary: &'static str,
    why: &'static str,
    texts: (&'static [Symptom], &'static str, &'static str),
) -> Rule {
    let (symptoms, example, cure) = texts;
    Rule { code, name, summary, why, symptoms, example, cure, judge: None }
}

pub(super) static PAGES: &[Rule] = &[
    page(
        Code(101),
        "key-missing",
        "a key of the Secret that its reader needs is not there",
        "Readers look under fixed names, and the key that one of them needs is not among those of \
         the Secret.",
        (
            seen::KEY_MISSING,
            "\
kind: Secret
type: Opaque
data:
  tls.crt: LS0t... # and no tls.key",
            "Add the key: `kubectl create secret generic NAME --from-file=tls.key=FILE --dry-run=client -o \
             yaml | kubectl patch secret NAME --patch-file=/dev/stdin`. It leaves what is there.",
        ),
    ),
    page(
        Code(102),
        "key-empty",
        "a key of the Secret is there and holds nothing",
        "The API server asks that `tls.crt` and `tls.key` exist, not that they hold anything.",
        (
            seen::KEY_EMPTY,
            "\
kind: Secret
type: kubernetes.io/tls
stringData:
  tls.crt: \"\"
  tls.key: \"\"",
            "Fill it: `kubectl create secret generic NAME --from-file=tls.crt=FILE --from-file=tls.key=FILE \
             --dry-run=client -o yaml | kubectl patch secret NAME --patch-file=/dev/stdin`. Where cert-manager or another maker is to fill it, say so with its \
             annotation on the Ingress: then this is a warning.",
        ),
    ),
    page(
        Code(103),
        "value-placeholder",
        "a value of the Secret is still a placeholder",
        "Text of the kind `${TLS_CRT}` or `CERT BASE64 STRING GOES HERE` was to be replaced before \
         `kubectl apply`. As base64 it may even be accepted, and no reader can use it.",
        (
            seen::VALUE_PLACEHOLDER,
            "\
kind: Secret
data:
  tls.crt: CERT BASE64 STRING GOES HERE",
            "Put the PEM text under `stringData`, or run the tool that fills the template. With `tls.crt: ${TLS_CRT}` and \
             `tls.key: ${TLS_KEY}` under `data`: `TLS_CRT=$(base64 -w0 < FILE) TLS_KEY=$(base64 -w0 < FILE) envsubst < FILE | \
             kubectl apply -f -`.",
        ),
    ),
    page(
        Code(104),
        "encoded-twice",
        "a value was base64-encoded twice",
        "`data` holds base64 of the file. Where the file's base64 was put under `stringData`, or \
         encoded once more by a script, the reader gets base64 text instead of PEM and finds no \
         certificate in it.",
        (
            seen::ENCODED_TWICE,
            "\
kind: Secret
stringData:
  tls.crt: LS0tLS1CRUdJTi... # base64 belongs under data",
            "Put the PEM text under `stringData`, or its base64 under `data`. `base64 -d < FILE > tls.crt` makes PEM \
             of what was encoded once too often, and `kubectl create secret tls NAME --cert=tls.crt --key=FILE` \
             encodes it once.",
        ),
    ),
    page(
        Code(105),
        "der-not-pem",
        "a value is binary DER, readers need PEM",
        "Windows and Java tools export `.cer`, `.der`, `.p12` and `.jks` files. Readers look for `-----BEGIN \
         CERTIFICATE-----` and find none.",
        (
            seen::DER_NOT_PEM,
            "$ kubectl create secret generic shop-tls --from-file=tls.crt=shop.der \
             --from-file=tls.key=shop.key",
            "Convert it: `openssl x509 -inform DER -in FILE -out tls.crt`, for a key `openssl \
             pkey -inform DER -in FILE -out tls.key`. A Java keystore becomes PKCS#12 first: `keytool -importkeystore \
             -srckeystore FILE -destkeystore shop.p12 -deststoretype PKCS12`. Of PKCS#12 come both: `openssl pkcs12 -in FILE -nodes -nokeys \
             -out tls.crt`, `openssl pkcs12 -in FILE -nodes -nocerts -out tls.key`.",
        ),
    ),
    page(
        Code(106),
        "byte-order-mark",
        "a value begins with a byte order mark",
        "Editors on Windows put three bytes before the first line, so for a strict reader the line \
         no longer begins with `-----BEGIN`. Go is one, and with it ingress-nginx and Traefik; Envoy \
         is another.",
        (
            seen::BYTE_ORDER_MARK,
            "# a file saved as \"UTF-8 with BOM\"",
            "Save it without: `sed -i '1s/^\\xEF\\xBB\\xBF//' tls.crt`.",
        ),
    ),
    page(
        Code(107),
        "no-pem-block",
        "a value holds no PEM block of the kind that belongs there",
        "The value is text, but not the lines from `-----BEGIN CERTIFICATE-----` to `-----END \
         CERTIFICATE-----`: often a certificate request, a public key, or a file name.",
        (
            seen::NO_PEM_BLOCK,
            "\
stringData:
  tls.crt: |
    -----BEGIN CERTIFICATE REQUEST-----",
            "Put the certificate that the CA gave back there, not the request that was sent to \
             it. It is the one for this key where `diff <(openssl x509 -in FILE -noout -pubkey) <(openssl pkey -in tls.key -pubout)` \
             prints nothing: `kubectl create secret tls NAME --cert=FILE --key=tls.key --dry-run=client -o yaml | kubectl apply -f -`.",
        ),
    ),
    page(
        Code(108),
        "broken-pem",
        "a PEM block is damaged",
        "A line is missing, was wrapped, or lost its line breaks on the way through a shell variable \
         or a template.",
        (
            seen::BROKEN_PEM,
            "\
stringData:
  tls.crt: \"-----BEGIN CERTIFICATE----- MIIB... -----END CERTIFICATE-----\" # one line",
            "Give the lines back their breaks where they became spaces: \
             `sed -E 's/\\s*(-----[A-Z[:space:]]+-----)\\s*/\\n\\1\\n/g' tls.crt | sed '/^-/!s/\\s/\\n/g;/^$/d' > FILE`. Where lines are \
             missing, copy the file again. Then store the file rather than its text: \
             `kubectl create secret tls NAME --cert=FILE --key=FILE --dry-run=client -o yaml | kubectl apply -f -`. In YAML use a block: `tls.crt: |`, with every line indented alike.",
        ),
    ),
    page(
        Code(109),
        "swapped",
        "certificate and private key are in each other's place",
        "Nothing reads a key where the certificate belongs. And what stands under `tls.crt` is shown \
         by tools that take it for public.",
        (
            seen::SWAPPED,
            "$ kubectl create secret generic shop-tls --from-file=tls.crt=shop.key \
             --from-file=tls.key=shop.crt",
            "Swap them: `kubectl create secret tls NAME --cert=CERTIFICATE --key=KEY --dry-run=client -o yaml | kubectl apply -f -`.",
        ),
    ),
    page(
        Code(110),
        "encrypted-key",
        "the private key is encrypted with a passphrase",
        "A controller or sidecar has nobody to ask for the passphrase, so it cannot load the key.",
        (
            seen::ENCRYPTED_KEY,
            "\
stringData:
  tls.key: |
    -----BEGIN ENCRYPTED PRIVATE KEY-----",
            "Take the passphrase away: `openssl pkey -in tls.key -out tls.key.plain`, and keep that: `kubectl create \
             secret tls NAME --cert=tls.crt --key=tls.key.plain`. The Secret is what protects it from then on.",
        ),
    ),
    page(
        Code(111),
        "several-keys",
        "a value holds more than one private key",
        "Which one belongs to the certificate is a guess, and readers guess differently: most take \
         the first.",
        (
            seen::SEVERAL_KEYS,
            "$ cat rsa.key ec.key > tls.key",
            "Keep the one that belongs to the certificate, for which `openssl pkey -in FILE -pubout` prints the same as \
             `openssl x509 -in tls.crt -noout -pubkey`: `kubectl create secret tls NAME --cert=tls.crt --key=FILE`. For RSA \
             and EC side by side, make two Secrets.",
        ),
    ),
    page(
        Code(112),
        "broken-key",
        "the private key cannot be loaded",
        "The key is damaged, of a length or on a curve that TLS libraries do not load (RSA below \
         2048 bits, secp256k1, DSA).",
        (
            seen::BROKEN_KEY,
            "$ openssl genrsa 1024 > tls.key",
            "Make a new pair. With a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(113),
        "broken-certificate",
        "a certificate cannot be parsed",
        "The PEM is whole but what it holds is no X.509 certificate, or one with a malformed \
         extension. TLS libraries refuse it while loading or in the handshake.",
        (
            seen::BROKEN_CERTIFICATE,
            "\
stringData:
  tls.crt: |
    -----BEGIN CERTIFICATE-----
    aGVsbG8=
    -----END CERTIFICATE-----",
            "`openssl x509 -in tls.crt -noout -text` shows where it breaks. Ask the issuer for a \
             new file: `kubectl create secret tls NAME --cert=FILE --key=tls.key --dry-run=client -o yaml | kubectl apply -f -`.",
        ),
    ),
    page(
        Code(114),
        "too-many-certificates",
        "a value holds more certificates than a chain can have",
        "Somebody put a bundle of all CAs of a system where the server's chain belongs. Every client \
         would be sent all of them; most refuse a handshake of that size.",
        (
            seen::TOO_MANY_CERTIFICATES,
            "$ cat shop.crt /etc/ssl/certs/ca-certificates.crt > tls.crt",
            "Keep the server's certificate and its intermediates: `cat shop.crt intermediate.crt > tls.crt`.",
        ),
    ),
];
