//! The pages about certificates, chains, trusted CAs and revocation lists.

use lasthop_contract::problem::Code;

use super::super::Rule;
use super::bytes::page;
use super::seen;

pub(super) static PAGES: &[Rule] = &[
    page(
        Code(137),
        "missing-intermediate",
        "the chain of a public CA ends before its root",
        "Public CAs issue from intermediates, which the server has to send along. Browsers fetch \
         what is missing or remember it from elsewhere, so the mistake shows in other clients alone.",
        (
            seen::MISSING_INTERMEDIATE,
            "$ kubectl create secret tls shop-tls --cert=cert.pem --key=privkey.pem # not fullchain.pem",
            "Take the file with the whole chain: `kubectl create secret tls NAME --cert=fullchain.pem \
             --key=privkey.pem --dry-run=client -o yaml | kubectl apply -f -`.",
        ),
    ),
    page(
        Code(138),
        "several-leaves",
        "the chain holds the certificate of another server",
        "A chain is one server's certificate and its issuers. A second server's is sent along and serves \
         nobody: which certificate a client gets does not depend on what else is in the file.",
        (
            seen::SEVERAL_LEAVES,
            "$ cat shop.crt blog.crt intermediate.crt > tls.crt",
            "Make a Secret for each, `kubectl create secret tls NAME --cert=FILE --key=FILE`, and name both: in `spec.tls` an item a host, for the sidecar \
             `lasthop.dev/tls-secret: shop-tls,blog-tls`.",
        ),
    ),
    page(
        Code(115),
        "key-mismatch",
        "the private key is not the one of the certificate",
        "Key and certificate come from two different requests, often because only one of them was \
         replaced at a renewal.",
        (
            seen::KEY_MISMATCH,
            "$ openssl req -new -key new.key -subj /CN=shop -out shop.csr # but the Secret keeps \
             old.key",
            "Put the pair together that was made together. `openssl x509 -in tls.crt -noout \
             -pubkey` and `openssl pkey -in tls.key -pubout` must print the same. With a CA of your own (OpenSSL 3) the key \
             gets a certificate that fits: `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(116),
        "leaf-not-first",
        "the chain begins with another certificate than the server's",
        "TLS sends the file in its order, the server's certificate first (RFC 8446, 4.4.2). Where \
         the CA stands first, the key does not fit the first certificate and nothing can be \
         served.",
        (
            seen::LEAF_NOT_FIRST,
            "$ cat ca.crt shop.crt > tls.crt",
            "Order it: `cat shop.crt intermediate.crt > tls.crt`, without the root.",
        ),
    ),
    page(
        Code(117),
        "chain-order",
        "a certificate of the chain did not issue the one before it",
        "Many clients sort it out, some do not: Java, Go and GnuTLS versions refuse a chain with \
         a gap, browsers hide the mistake by fetching what is missing.",
        (
            seen::CHAIN_ORDER,
            "$ cat shop.crt root.crt intermediate.crt > tls.crt",
            "`openssl crl2pkcs7 -nocrl -certfile tls.crt | openssl pkcs7 -print_certs -noout` prints what is there, and \
             who issued which. Order it: server certificate, then each one's issuer, without the root and everything \
             unrelated: `cat shop.crt intermediate.crt > tls.crt`.",
        ),
    ),
    page(
        Code(118),
        "ca-as-leaf",
        "a CA certificate is served as a server's own",
        "`openssl req -x509` makes a certificate with `CA:TRUE` unless told otherwise. Some clients \
         refuse it as a server's, and whoever gets hold of the pod's key can issue certificates for \
         any host to all who trust it.",
        (
            seen::CA_AS_LEAF,
            "$ openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=shop.example.com -keyout \
             tls.key -out tls.crt",
            "Issue a server certificate from the CA (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`. For a trial without CA, add \
             `-addext basicConstraints=critical,CA:FALSE` to the command that made it.",
        ),
    ),
    page(
        Code(119),
        "x509-version-1",
        "the certificate is X.509 version 1",
        "`openssl x509 -req` without an extension file makes version 1, which cannot hold a subject \
         alternative name.",
        (
            seen::X509_VERSION_1,
            "$ openssl x509 -req -in shop.csr -CA ca.crt -CAkey ca.key -out shop.crt",
            "Give it extensions, which make it version 3. With a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(120),
        "common-name-only",
        "the certificate has its name in the CN alone",
        "Clients have ignored the CN since 2017 and read the subject alternative names only (RFC \
         9525). Some still go by it, so that it seems to work.",
        (
            seen::COMMON_NAME_ONLY,
            "$ openssl req -new -key shop.key -subj /CN=shop.example.com",
            "Add the name as SAN. To the request for a CA: `openssl req -new -key tls.key -subj /CN=HOST -addext \
             subjectAltName=DNS:HOST -out tls.csr`; with a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(121),
        "self-signed",
        "the certificate is signed by itself",
        "Nobody trusts it but who was given this very certificate. Fine for a trial.",
        (
            seen::SELF_SIGNED,
            "$ openssl req -x509 -newkey rsa:2048 -nodes -addext basicConstraints=CA:FALSE ...",
            "Take a certificate of a CA that the clients trust: of cert-manager with an ACME issuer, or of a private one \
             (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(122),
        "not-for-production",
        "the certificate is from a staging environment, or a temporary one",
        "Let's Encrypt's staging CA is trusted by nobody, and cert-manager's temporary certificate \
         only bridges the time until the real one is there.",
        (
            seen::NOT_FOR_PRODUCTION,
            "\
metadata:
  annotations:
    cert-manager.io/cluster-issuer: letsencrypt-staging",
            "Switch the issuer to production before users come. With cert-manager, which issues it anew: `kubectl annotate ingress NAME \
             cert-manager.io/cluster-issuer=ISSUER --overwrite`.",
        ),
    ),
    page(
        Code(123),
        "expired",
        "the certificate is past its time",
        "Every client refuses it, and controllers serve it all the same.",
        (
            seen::EXPIRED,
            "$ openssl x509 -in tls.crt -noout -enddate # notAfter=Jan  1 00:00:00 2020 GMT",
            "Renew it and apply the Secret again. With a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`. A copy of another Secret is not renewed with \
             it: renew the copy too.",
        ),
    ),
    page(
        Code(124),
        "not-yet-valid",
        "the certificate is not valid yet",
        "Clients refuse it until its time has come. Whoever tries it on the machine that issued it, \
         with the same wrong clock, sees nothing of that.",
        (
            seen::NOT_YET_VALID,
            "$ openssl x509 -in tls.crt -noout -startdate # notBefore=Jan  1 00:00:00 2090 GMT",
            "Apply it when its time has come, or check the clock of the machine that issued it, and issue it again. With a CA of your own \
             (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(125),
        "expires-soon",
        "the certificate is about to expire",
        "Less than 14 days are left, or less than a quarter of its lifetime where that is \
         shorter. What renews certificates would have done so by now: cert-manager does after two \
         thirds of the lifetime. Controllers serve it to the end without telling clients.",
        (
            seen::EXPIRES_SOON,
            "$ openssl x509 -in tls.crt -noout -checkend 1209600 # Certificate will expire",
            "Renew it. With a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`. With cert-manager, `kubectl describe certificate` says what keeps it.",
        ),
    ),
    page(
        Code(126),
        "weak-key",
        "the key is too short, or of a kind that TLS refuses",
        "TLS libraries do not load RSA below 2048 bits. Of curves, clients have P-256, P-384 and \
         mostly P-521; a key on another one (secp256k1), a DSA key or one that is for RSA-PSS alone \
         finds no client, where it can be loaded at all.",
        (
            seen::WEAK_KEY,
            "$ openssl req -newkey rsa:1024 ...",
            "Make a new pair, of EC P-256 or RSA of 2048 bits and more. With a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(127),
        "weak-signature",
        "a certificate is signed with an algorithm that TLS refuses",
        "SHA-1 and MD5 can be forged, so libraries neither load such a certificate nor trust it.",
        (
            seen::WEAK_SIGNATURE,
            "$ openssl x509 -req -sha1 ...",
            "Have it issued again with SHA-256, which is what OpenSSL 3 takes unless told otherwise. With a CA of your \
             own: `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(128),
        "wrong-purpose",
        "the extended key usage does not allow this role",
        "A certificate for clients alone (clientAuth) is refused when a server presents it, and the \
         other way round.",
        (
            seen::WRONG_PURPOSE,
            "$ openssl x509 -req -extfile <(echo extendedKeyUsage=clientAuth) ...",
            "Have it issued with the usage that the role needs. For a server, with a CA of your own (OpenSSL 3): `openssl req -x509 -CA ca.crt -CAkey ca.key -key tls.key -subj /CN=HOST -addext subjectAltName=DNS:HOST -addext \
             basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -days 90 -out tls.crt`.",
        ),
    ),
    page(
        Code(129),
        "no-ca-in-bundle",
        "a bundle of trusted CAs holds no CA",
        "Somebody put the server's or the client's own certificate where the CA's belongs. No \
         chain can lead there, so every client is refused.",
        (
            seen::NO_CA_IN_BUNDLE,
            "$ kubectl create secret generic client-ca --from-file=ca.crt=client.crt",
            "Put the CA's certificate there, the one that issued the clients' certificates: `openssl x509 -in FILE -noout \
             -ext basicConstraints` prints `CA:TRUE` of it. `kubectl create secret generic NAME \
             --from-file=ca.crt=FILE`.",
        ),
    ),
    page(
        Code(130),
        "not-a-ca",
        "a bundle of trusted CAs holds a certificate that is none",
        "Only certificates with `CA:TRUE` can vouch for others. The extra one does nothing, and \
         who put it there may think that it does.",
        (
            seen::NOT_A_CA,
            "$ cat ca.crt client.crt > bundle.crt",
            "Leave it out: `cat ca-one.crt ca-two.crt > ca.crt`, of CAs alone. To let one client in, name it in `lasthop.dev/allowed-clients`.",
        ),
    ),
    page(
        Code(131),
        "ca-expired",
        "a trusted CA is past its time",
        "Clients whose certificates it issued are refused by most verifiers, while some go on \
         accepting them: a trust anchor's own dates need not be looked at (RFC 5280, 6.1). Either is \
         a surprise.",
        (
            seen::CA_EXPIRED,
            "$ openssl x509 -in ca.crt -noout -enddate # notAfter=Jan  1 00:00:00 2020 GMT",
            "Replace it with the CA's current certificate: `kubectl create secret generic NAME --from-file=ca.crt=FILE`.",
        ),
    ),
    page(
        Code(132),
        "key-in-ca-bundle",
        "a private key lies beside the trusted CAs",
        "Whoever reads the bundle can issue certificates in the CA's name. A bundle is copied \
         freely because it is thought to be public.",
        (
            seen::KEY_IN_CA_BUNDLE,
            "$ cat ca.crt ca.key > ca-bundle.crt",
            "Take it out at once: `openssl crl2pkcs7 -nocrl -certfile ca-bundle.crt | openssl pkcs7 -print_certs -out ca.crt` \
             leaves the certificates. Treat the CA as compromised: make a new one.",
        ),
    ),
    page(
        Code(133),
        "broken-crl",
        "a revocation list cannot be read or used",
        "A list that cannot be read revokes nobody, so the sidecar refuses to use it. It takes \
         lists after RFC 5280: of version 2 (OpenSSL makes version 1 where its configuration has neither \
         `crlnumber` nor `crl_extensions`), with a `nextUpdate`, whole ones, of the CA's own certificates.",
        (
            seen::BROKEN_CRL,
            "$ kubectl create secret generic crl --from-file=ca.crl=list.txt",
            "`openssl crl -in ca.crl -noout -text` shows what is wrong; lists come as DER too: \
             `openssl crl -inform DER -in FILE -out ca.crl`. Of version 1, make it again with extensions, FILE being \
             the CA's configuration: `openssl ca -gencrl -config <(cat FILE; printf '\\n[crl_ext]\\nauthorityKeyIdentifier=keyid,issuer\\n') \
             -crlexts crl_ext -out ca.crl`; `crl_extensions = crl_ext` in the CA's section beside a section of that name does so for good.",
        ),
    ),
    page(
        Code(134),
        "crl-expired",
        "a revocation list is past its `nextUpdate`",
        "Certificates revoked since then are still let in. With `lasthop.dev/client-crl-expired: \
         refuse` everybody is kept out instead.",
        (
            seen::CRL_EXPIRED,
            "$ openssl crl -in ca.crl -noout -nextupdate # nextUpdate=Jan  1 00:00:00 2020 GMT",
            "Fetch the CA's current list, and have a job do it before each `nextUpdate`. A client's certificate (FILE) may say where it is: \
             `curl -sf \"$(openssl x509 -in FILE -noout -ext crlDistributionPoints | sed -n 's/.*URI://p' | head -1)\" | openssl crl -inform DER -out ca.crl`, \
             then `kubectl create secret generic NAME --from-file=ca.crl --dry-run=client -o yaml | kubectl apply -f -`.",
        ),
    ),
    page(
        Code(135),
        "public-ca",
        "a trusted CA is a public one",
        "Anybody can have a certificate of it, so the chain proves nothing: trust follows the \
         names in `lasthop.dev/allowed-clients` alone.",
        (
            seen::PUBLIC_CA,
            "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: lets-encrypt",
            "Name every client: `lasthop.dev/allowed-clients: dns:alb.example.com`.",
        ),
    ),
    page(
        Code(136),
        "not-base64",
        "a value under `data` is not base64",
        "The API server refuses it, and does not say which value it means.",
        (
            seen::NOT_BASE64,
            "\
kind: Secret
data:
  tls.crt: |
    -----BEGIN CERTIFICATE-----",
            "Write `stringData` instead of `data`, or the output of `base64 -w0 < FILE`, or let kubectl encode it: `kubectl create secret \
             generic NAME --from-file=tls.crt=FILE --from-file=tls.key=FILE --dry-run=client -o yaml | kubectl apply -f -`.",
        ),
    ),
];
