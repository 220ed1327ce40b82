# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with scripts/cluster
# Sourced by scripts/cluster: builds Go programs once, into a cache folder whose name says what is in it. A folder
# appears only when it is complete, by a rename.

cache=${LASTHOP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lasthop}
modules=$root/tests/cluster

# Sets `bin` to the directory with the programs of Kubernetes.
build_kubernetes() {
  local version flags
  version=$(module_version "$modules" k8s.io/kubernetes)
  IFS=. read -r _ minor _ <<<"$version"
  flags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # what `kubectl version` prints
    flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
  done
  build_program "$modules" kubernetes "$version" "$flags" \
    "About 10 minutes on two cores, 2.5 GiB of memory and 5 GiB of disk, this once."
  bin=$built
  for program in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do
    [[ -e $bin/$program ]] || ln -sf kubernetes "$bin/$program"
  done
}

# Sets `coredns` and `pause`.
build_node_programs() {
  build_program "$modules/coredns" coredns "$(module_version "$modules/coredns" github.com/coredns/coredns)" "-s -w" \
    "About 2 minutes."
  coredns=$built/coredns
  build_program "$modules/pause" pause v1 "-s -w" "A few seconds."
  pause=$built/pause
}

module_version() {
  awk -v module="$2" '$1 == module || ($1 == "require" && $2 == module) { print $NF; exit }' "$1/go.mod"
}

# build_program DIRECTORY NAME VERSION LDFLAGS HOW_LONG: sets `built` to the folder that holds it.
build_program() {
  local directory=$1 name=$2 version=$3
  local digest
  digest=$(cd "$directory" && { cat go.mod go.sum ./*.go 2>/dev/null || true; } | sha256sum)
  local folder=$cache/$name-$version-${digest:0:12}
  built=$folder/bin
  [[ ! -x $built/$name ]] || return 0

  check_go "$name $version"
  mkdir -p "$cache"
  local lock
  exec {lock}>"$folder.lock"
  flock -n "$lock" || {
    say "cluster: $name is being built by another process; waiting"
    flock "$lock"
  }
  if [[ ! -x $built/$name ]]; then
    rm -rf "$folder" "$folder".partial.*
    compile "$@" "$folder.partial.$$"
    mv "$folder.partial.$$" "$folder"
  fi
  rm -f "$folder.lock"
  exec {lock}>&-
}

check_go() {
  local version
  command -v go >/dev/null ||
    give_up "$1 has to be built, and there is no Go: install Go 1.24 or newer (https://go.dev/dl/)," \
      "or give a directory with kube-apiserver, etcd and kubectl as KUBEBUILDER_ASSETS"
  version=$(cd / && go env GOVERSION)
  [[ $version =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 21 ]] ||
    give_up "$1 has to be built with Go 1.24 or newer, and this is $version"
}

compile() {
  local directory=$1 name=$2 version=$3 flags=$4 how_long=$5 folder=$6
  local log=$folder/build.log
  mkdir -p "$folder/bin"
  trap 'stop_compiling "$folder"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  say "cluster: building $name $version from its Go module. $how_long"

  export CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false -trimpath -tags=notest,grpcnotrace"
  local total=0 began_build=$SECONDS
  watch_go "$log" "modules downloaded" "" nice -n 19 go -C "$directory" list -deps -f '{{.ImportPath}}' .
  total=$(grep -c . "$log.out")
  watch_go "$log" "packages compiled" "of at most $total" \
    nice -n 19 go -C "$directory" build -v -ldflags "$flags" -o "$folder/bin/$name" .
  rm -f "$log" "$log.out"
  trap - EXIT INT TERM HUP
  say "cluster: built $name $version in $((SECONDS - began_build)) s"
}

# watch_go LOG WHAT OF COMMAND...: counts the lines that the command prints on standard error, one a module or package.
watch_go() {
  local log=$1 what=$2 of=$3 began_watch=$SECONDS reported=0 elapsed lines
  shift 3
  : >"$log"
  "$@" >"$log.out" 2>"$log" &
  compiling=$!
  while kill -0 "$compiling" 2>/dev/null; do
    sleep 0.3
    elapsed=$((SECONDS - began_watch))
    lines=$(grep -c . "$log" || true)
    if [[ -t 2 ]]; then
      printf '\r  %3d:%02d  %d %s %s ' $((elapsed / 60)) $((elapsed % 60)) "$lines" "$what" "$of" >&2
    elif [[ $elapsed -ge $((reported + 20)) ]]; then
      reported=$elapsed
      say "  $elapsed s  $lines $what $of"
    fi
  done
  [[ ! -t 2 ]] || printf '\r\e[K' >&2
  if ! wait "$compiling"; then
    say "cluster: the build failed:"
    grep -v '^go: downloading' "$log" | tail -n 20 >&2
    exit 1
  fi
  compiling=
}

stop_compiling() {
  [[ -z ${compiling:-} ]] || kill "$compiling" 2>/dev/null || true
  rm -rf "$1"
}
