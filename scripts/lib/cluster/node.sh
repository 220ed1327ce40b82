# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with scripts/cluster
# Sourced by scripts/cluster: all that makes a node of this machine, and its removal.
#
# Nothing of it can be reached from other machines: the node's address is one that only this machine has, on a bridge
# without ports. Each pod has a point-to-point link to the machine, so that all traffic between pods is routed: answers
# to a Service's address then pass kube-proxy's rules again without br_netfilter.

pod_cidr=10.199.0.0/24
node_ip=10.199.0.1
dns_ip=10.199.1.10 # also in tests/cluster/coredns/coredns.yaml
interface=lasthop0
packages="containerd runc containernetworking-plugins nftables iproute2 mount python3"

# What kubelet and the network need to set; put back by `down`.
sysctls=(net/ipv4/ip_forward vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

# These paths are fixed in the programs; `down` removes what was not there before.
fixed_directories=(/var/lib/kubelet/device-plugins /var/lib/kubelet /var/lib/cni/results /var/lib/cni
  /var/log/containers /run/containerd/s /run/containerd)

check_node_tools() {
  [[ $UID -eq 0 ]] || give_up "a node needs root: it makes network interfaces, mounts and control groups"
  local missing
  PATH+=:/usr/sbin:/sbin # not everybody's root has them
  missing=$(missing_node_tools)
  if [[ -n $missing && $1 == yes ]]; then
    say "cluster: missing: $missing; installing $packages"
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y --no-install-recommends $packages >&2 ||
      give_up "apt-get could not install the packages (an 'apt-get update' first may help)"
    missing=$(missing_node_tools)
  fi
  [[ -z $missing ]] ||
    give_up "a node needs what this machine has not: $missing. On Debian or Ubuntu:" \
      "  apt-get install --no-install-recommends $packages"
}

missing_node_tools() {
  local tool missing=()
  for tool in containerd containerd-shim-runc-v2 ctr runc nft ip mount python3; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [[ -n $(cni_plugins) ]] || missing+=("CNI plugins (ptp, host-local, loopback)")
  [[ ${#missing[@]} -eq 0 ]] || printf '%s, ' "${missing[@]}" | sed 's/, $//'
}

cni_plugins() {
  local directory
  for directory in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    if [[ -x $directory/ptp && -x $directory/host-local && -x $directory/loopback ]]; then
      echo "$directory"
      return
    fi
  done
}

# There is one /kubepods, one table "kube-proxy" and one set of addresses on a machine.
check_no_other_node() {
  local other
  [[ ${#state} -le 70 ]] || give_up "$state is too long for the path of a socket; set TMPDIR to a shorter one"
  for other in "$clusters"/*/node; do
    [[ ! -d $other || $other == "$state/node" ]] ||
      give_up "one node a machine, and '$(basename "$(dirname "$other")")' has one; stop it with:" \
        "  scripts/cluster down --name $(basename "$(dirname "$other")")"
  done
  [[ -z $(pod_processes) ]] || give_up "another kubelet has pods on this machine"
  ! nft list table ip kube-proxy >/dev/null 2>&1 || give_up "another kube-proxy has rules on this machine"
  [[ -z $(ip -4 route show root 10.199.0.0/23) ]] ||
    give_up "the addresses 10.199.0.0/23 are in use on this machine:" "$(ip -4 route show root 10.199.0.0/23)"
}

prepare_node_network() {
  check_no_other_node
  local node=$state/node name directory
  mkdir "$node"
  for directory in "${fixed_directories[@]}"; do
    [[ -e $directory ]] || echo "$directory"
  done >"$node/new-directories"
  for name in "${sysctls[@]}"; do
    [[ ! -r /proc/sys/$name ]] || echo "$name $(<"/proc/sys/$name")"
  done >"$node/sysctls"
  echo 1 >/proc/sys/net/ipv4/ip_forward

  ip link add "$interface" type bridge
  ip address add "$node_ip/32" dev "$interface"
  ip link set "$interface" up
  # So that a program of the machine reaches Services, also where there is no default route.
  ip route add "$service_cidr" dev "$interface" src "$node_ip"
}

start_controllers() {
  local kubeconfig
  for component in kube-controller-manager kube-scheduler; do
    kubeconfig=$state/$component.kubeconfig
    make_kubeconfig "$kubeconfig" "/CN=system:$component"
    local more=()
    if [[ $component == kube-controller-manager ]]; then
      more=(
        --use-service-account-credentials --root-ca-file="$state/pki/cluster-ca.crt"
        --service-account-private-key-file="$state/pki/service-accounts.key"
        --cluster-signing-cert-file="$state/pki/cluster-ca.crt"
        --cluster-signing-key-file="$state/pki/cluster-ca.key"
      )
    fi
    # At the usual rate of requests it takes the controllers 6 s to start; so it takes 2.
    start "$component" "$bin/$component" --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" \
      --authorization-kubeconfig="$kubeconfig" --leader-elect=false --secure-port=0 --bind-address=127.0.0.1 \
      --kube-api-qps=500 --kube-api-burst=1000 "${more[@]+"${more[@]}"}"
  done
}

start_node() {
  local node=$state/node
  mkdir "$node"/{cni,containerd,kubelet,manifests}
  start_containerd
  start_kubelet
  start_kube_proxy
  wait_for 90 "node that is Ready" node_is_ready
  wait_for 60 "default ServiceAccount" kubectl get serviceaccount default
  step "the node is Ready"
}

node_is_ready() {
  [[ $(kubectl get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}') == True ]]
}

start_containerd() {
  local node=$state/node image
  cat >"$node/cni/lasthop.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "lasthop", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$node/addresses",
    "ranges": [[{"subnet": "$pod_cidr", "gateway": "$node_ip"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  # restrict_oom_score_adj: in a container the right to lower that score may be missing, and every pod would fail.
  cat >"$node/containerd.toml" <<TOML
version = 2
root = "$node/containerd/root"
state = "$node/containerd/state"
[grpc]
  address = "$node/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$node/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/lasthop-pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "$node/containerd/runc"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_plugins)"
    conf_dir = "$node/cni"
TOML
  start containerd containerd --config "$node/containerd.toml"
  wait_for 30 "answer from containerd" container_runtime version
  for image in pause coredns; do
    python3 "$root/scripts/lib/oci_image.py" --name "localhost/lasthop-$image:1" --architecture "$(go_architecture)" \
      --output "$node/$image.tar" "${!image}=/$image"
    load_image "$node/$image.tar"
    rm "$node/$image.tar"
  done
}

container_runtime() { ctr --address "$state/node/containerd.sock" --namespace k8s.io "$@"; }

load_image() { container_runtime images import "$1" >&2; }

go_architecture() {
  case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) uname -m ;;
  esac
}

start_kubelet() {
  local node=$state/node pki=$state/pki
  make_certificate cluster-ca kubelet /O=system:nodes/CN=system:node:node "IP:$node_ip,DNS:node"
  make_kubeconfig "$state/kubelet.kubeconfig" /O=system:nodes/CN=system:node:node
  cat >"$node/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
port: $(free_port)
healthzPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/cluster-ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$node/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: ""
staticPodPath: $node/manifests
podLogsDir: $node/logs
syncFrequency: 5s
# The machine's disk may well be fuller than a node's should be.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
YAML
  start kubelet "$bin/kubelet" --config="$node/kubelet.yaml" --kubeconfig="$state/kubelet.kubeconfig" \
    --root-dir="$node/kubelet" --cert-dir="$node/kubelet/pki" --hostname-override=node --node-ip="$node_ip"
}

start_kube_proxy() {
  local node=$state/node
  make_kubeconfig "$state/kube-proxy.kubeconfig" /CN=system:kube-proxy
  cat >"$node/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node
clusterCIDR: $pod_cidr
nodePortAddresses: [$node_ip/32]
clientConnection: {kubeconfig: $state/kube-proxy.kubeconfig}
healthzBindAddress: 127.0.0.1:$(free_port)
metricsBindAddress: 127.0.0.1:$(free_port)
nftables: {minSyncPeriod: 0.1s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s} # 0: leave the kernel as it is
YAML
  start kube-proxy "$bin/kube-proxy" --config="$node/kube-proxy.yaml"
}

start_dns() {
  kubectl apply -f "$root/tests/cluster/coredns/coredns.yaml" >"$state/log/coredns.log"
  wait_for 60 "DNS in the cluster" dns_is_available
  step "DNS answers"
}

dns_is_available() {
  [[ $(kubectl -n kube-system get deployment coredns -o 'jsonpath={.status.availableReplicas}') == 1 ]]
}

# --- down ---

tear_down_node() {
  local node=$state/node directory name value
  # First those that would make the pods again; kubelet then takes the pods down properly.
  stop kube-scheduler
  stop kube-controller-manager
  if alive kubelet && alive kube-apiserver; then
    kubectl delete pods --all --all-namespaces --grace-period=1 --wait=false >/dev/null 2>&1 || true
    for _ in {1..100}; do
      [[ -n $(container_runtime tasks list -q 2>/dev/null) ]] || break
      sleep 0.1
    done
  fi
  stop kubelet
  stop kube-proxy
  kill_leftover_pods
  stop containerd

  awk -v inside="$state/" 'index($2, inside) == 1 { print $2 }' /proc/mounts | sort -r | while read -r directory; do
    umount --lazy "$directory"
  done
  find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
  for name in ip ip6; do
    nft delete table "$name" kube-proxy 2>/dev/null || true
  done
  ip link delete "$interface" 2>/dev/null || true # and with it its address and route

  find /var/log/containers -maxdepth 1 -lname "$node/logs/*" -delete 2>/dev/null || true
  { grep -lF "$node/" /var/lib/cni/results/* 2>/dev/null || true; } | while read -r name; do
    rm -f "$name"
  done
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  [[ ! -f $node/new-directories ]] || while read -r directory; do
    rm -f "$directory/DEPRECATION" # the only thing that kubelet leaves in its device-plugins
    rmdir "$directory" 2>/dev/null || true
  done <"$node/new-directories"
  [[ ! -f $node/sysctls ]] || while read -r name value; do
    echo "$value" >"/proc/sys/$name" || true
  done <"$node/sysctls"
}

# The processes in the control groups of pods.
pod_processes() {
  find /sys/fs/cgroup -path '*/kubepods*' -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u
}

# What a containerd or kubelet that died, or a slow pod, left over.
kill_leftover_pods() {
  local pid shim
  for _ in {1..50}; do
    [[ -n $(pod_processes) ]] || break
    for pid in $(pod_processes); do
      kill -s KILL "$pid" 2>/dev/null || true
    done
    sleep 0.1
  done
  # A shim outlives containerd by design. Ours say so on their command line.
  for shim in /proc/[0-9]*; do
    [[ $({ tr '\0' ' ' <"$shim/cmdline"; } 2>/dev/null) == *containerd-shim*"-address $state/node/containerd.sock"* ]] || continue
    kill -s KILL "${shim#/proc/}" 2>/dev/null || true
  done
  # Its socket stays behind, at a path made of a digest.
  find "$state/node/containerd/state" -name address -exec sed -s 's,^unix://,,' {} + 2>/dev/null |
    while read -r socket || [[ -n $socket ]]; do
      rm -f "$socket"
    done || true
}
