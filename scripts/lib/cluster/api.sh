# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with scripts/cluster
# Sourced by scripts/cluster: etcd and kube-apiserver.

service_cidr=10.199.1.0/24
first_service_ip=10.199.1.1

check_api_tools() {
  [[ $(uname -s) == Linux ]] || give_up "this needs Linux"
  local tool missing=()
  for tool in openssl flock setsid base64; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [[ ${#missing[@]} -eq 0 ]] ||
    give_up "missing: ${missing[*]}. On Debian or Ubuntu: apt-get install openssl util-linux coreutils"
}

# Sets `bin` to the directory with the programs.
find_kubernetes() {
  local program
  if [[ $1 == node || -z ${KUBEBUILDER_ASSETS:-} ]]; then
    build_kubernetes
    return
  fi
  bin=$(cd "$KUBEBUILDER_ASSETS" && pwd) || give_up "KUBEBUILDER_ASSETS is '$KUBEBUILDER_ASSETS', which is no directory"
  for program in kube-apiserver etcd kubectl; do
    [[ -x $bin/$program ]] || give_up "KUBEBUILDER_ASSETS is '$bin', and there is no $program in it"
  done
}

kubectl() { "$state/bin/kubectl" --kubeconfig "$state/kubeconfig" --cache-dir "$state/kubectl" "$@"; }

# start_control_plane ADDRESS: the address that the API server listens on. Sets api_address and api_port.
start_control_plane() {
  local attempt
  api_address=$1
  make_ca cluster-ca
  make_ca etcd-ca
  make_ca front-proxy-ca
  make_certificate etcd-ca etcd /CN=etcd IP:127.0.0.1
  make_certificate cluster-ca apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$api_address,IP:$first_service_ip,DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  make_certificate cluster-ca kubelet-client /O=system:masters/CN=kube-apiserver
  make_service_account_key
  # Who changed what, and what the webhooks said of it: for the person who reads a failed test.
  cat >"$state/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources: [{group: coordination.k8s.io}, {group: "", resources: [events]}, {group: events.k8s.io}]
- level: Metadata
YAML

  # Between the choice of a port and its use, somebody else may take it.
  for attempt in 1 2 3 4 5; do
    api_port=$(free_port)
    make_kubeconfig "$state/kubeconfig" /O=system:masters/CN=admin
    start_etcd
    start_api_server
    if wait_for 120 "answer from kube-apiserver" api_is_ready; then
      step "etcd and kube-apiserver are ready"
      return
    fi
    grep -q 'address already in use' "$state"/log/{etcd,kube-apiserver}.log || exit 1
    say "cluster: a port was taken by another program; trying others"
    stop kube-apiserver KILL
    stop etcd KILL
    rm -rf "$state/etcd" "$state"/log/{etcd,kube-apiserver}.log
  done
  give_up "no free ports in $attempt attempts"
}

# Besides /readyz: a moment passes until the API server has made its first namespaces.
api_is_ready() {
  kubectl get --raw /readyz && kubectl get namespace default
}

start_etcd() {
  local peer_port
  etcd_port=$(free_port) peer_port=$(free_port)
  # Clients show a certificate, as other users of this machine reach 127.0.0.1 as well.
  local tls=(--trusted-ca-file="$state/pki/etcd-ca.crt" --cert-file="$state/pki/etcd.crt" --key-file="$state/pki/etcd.key")
  start etcd "$bin/etcd" --name=default --data-dir="$state/etcd" --log-level=warn --unsafe-no-fsync \
    --listen-client-urls="https://127.0.0.1:$etcd_port" --advertise-client-urls="https://127.0.0.1:$etcd_port" \
    --listen-peer-urls="https://127.0.0.1:$peer_port" --initial-advertise-peer-urls="https://127.0.0.1:$peer_port" \
    --initial-cluster="default=https://127.0.0.1:$peer_port" \
    --client-cert-auth "${tls[@]}" --peer-client-cert-auth "${tls[@]/#--/--peer-}"
}

start_api_server() {
  local pki=$state/pki more
  if [[ $api_address == 127.0.0.1 ]]; then
    more=(
      --disable-admission-plugins=ServiceAccount # which lets no Pod in before a controller has made "default"
      --endpoint-reconciler-type=none            # the Service "kubernetes" may not lead to a loopback address
    )
  else
    more=(
      --kubelet-certificate-authority="$pki/cluster-ca.crt" --kubelet-preferred-address-types=InternalIP
      --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key"
    )
  fi
  start kube-apiserver "$bin/kube-apiserver" \
    --bind-address="$api_address" --secure-port="$api_port" --advertise-address="$api_address" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/cluster-ca.crt" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy \
    --etcd-servers="https://127.0.0.1:$etcd_port" --etcd-cafile="$pki/etcd-ca.crt" \
    --etcd-certfile="$pki/etcd.crt" --etcd-keyfile="$pki/etcd.key" \
    --service-cluster-ip-range=$service_cidr \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/service-accounts.pub" \
    --service-account-signing-key-file="$pki/service-accounts.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --audit-policy-file="$state/audit-policy.yaml" --audit-log-path="$state/log/audit.json" \
    --profiling=false "${more[@]}"
}
