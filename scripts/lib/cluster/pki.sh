# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with scripts/cluster
# Sourced by scripts/cluster: throw-away keys and certificates in $state/pki, and kubeconfigs. P-256, since making an RSA
# key takes longer than starting an API server.

# With a configuration of our own, the machine's openssl.cnf has no say.
openssl_request() {
  openssl req -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n%s' "$1") "${@:2}" \
    -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes 2>>"$state/log/openssl.log"
}

make_ca() {
  openssl_request '[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash' -x509 -extensions ca -days 30 -subj "/CN=$1" \
    -keyout "$state/pki/$1.key" -out "$state/pki/$1.crt"
}

# make_certificate CA NAME SUBJECT [SAN]: for client and server alike.
make_certificate() {
  local ca=$state/pki/$1 file=$state/pki/$2
  openssl_request '' -new -subj "$3" -keyout "$file.key" |
    openssl x509 -req -CA "$ca.crt" -CAkey "$ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 30 -out "$file.crt" \
      -extfile <(printf '%s\n' basicConstraints=CA:FALSE keyUsage=digitalSignature \
        extendedKeyUsage=serverAuth,clientAuth ${4:+subjectAltName=$4}) 2>>"$state/log/openssl.log"
}

make_service_account_key() {
  local key=$state/pki/service-accounts
  openssl ecparam -name prime256v1 -genkey -noout -out "$key.key" 2>>"$state/log/openssl.log"
  openssl ec -in "$key.key" -pubout -out "$key.pub" 2>>"$state/log/openssl.log"
}

# make_kubeconfig FILE SUBJECT: with a new client certificate, all in one file that can be copied elsewhere.
make_kubeconfig() {
  local file=$1 name
  name=$(basename "$file" .kubeconfig)
  make_certificate cluster-ca "client-$name" "$2"
  cat >"$file" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: lasthop
  cluster: {server: "https://$api_address:$api_port", certificate-authority-data: $(base64 -w0 "$state/pki/cluster-ca.crt")}
users:
- name: lasthop
  user:
    client-certificate-data: $(base64 -w0 "$state/pki/client-$name.crt")
    client-key-data: $(base64 -w0 "$state/pki/client-$name.key")
contexts:
- name: lasthop
  context: {cluster: lasthop, user: lasthop}
current-context: lasthop
YAML
  chmod 600 "$file"
}
