# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with scripts/cluster
# Sourced by scripts/cluster: saying things, and starting, watching and stopping processes. A component's output is in
# $state/log/NAME.log, its process id and start time in $state/pids/NAME.

say() { printf '%s\n' "$@" >&2; }

give_up() {
  say "cluster: $1" "${@:2}"
  exit 1
}

# A line of progress with the time since the script began.
step() {
  local tenths=$(((${EPOCHREALTIME/./} - began) / 100000))
  printf '%4d.%d s  %s\n' $((tenths / 10)) $((tenths % 10)) "$*" >&2
}

# start NAME COMMAND...: in a session of its own, so that Ctrl-C for the caller does not reach it. It inherits no open
# files: a lock or a pipe of whoever called us would stay open for as long as the cluster lives. And containers inherit
# the umask, so it is the usual one.
start() {
  local name=$1
  shift
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      [[ $fd -le 2 ]] || eval "exec $fd>&-"
    done
    umask 022
    exec setsid "$@"
  ) >>"$state/log/$name.log" 2>&1 </dev/null &
  disown # or bash reports its end
  read_stat $! || true
  echo "$! ${stat[19]:-0}" >"$state/pids/$name"
}

# Sets `stat` to the fields of /proc/PID/stat from the third on: [0] is the state, [19] the start time.
read_stat() {
  local line
  stat=()
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra stat <<<"${line##*) }"
}

# A process id may have been given to another process since; the pair of id and start time is not given twice. A zombie
# that nobody has reaped yet counts as dead.
alive() {
  local pid started
  read -r pid started 2>/dev/null <"$state/pids/$1" || return 1
  read_stat "$pid" && [[ ${stat[19]} == "$started" && ${stat[0]} != [ZX] ]]
}

every_component_lives() {
  local file
  for file in "$state"/pids/*; do
    alive "${file##*/}" || return 1
  done
}

# stop NAME [SIGNAL]: returns when it is gone; what has not gone after ten seconds is killed.
stop() {
  local name=$1 signal=${2:-TERM} pid turn
  for turn in {1..240}; do
    alive "$name" || break
    read -r pid _ <"$state/pids/$name"
    [[ $turn -ne 1 ]] || kill -s "$signal" "$pid" 2>/dev/null || true
    [[ $turn -ne 200 ]] || kill -s KILL "$pid" 2>/dev/null || true
    sleep 0.05
  done
  rm -f "$state/pids/$name"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds. Says why not, with the last lines of the log, where
# a component has died or the time is over.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2 file name
  shift 2
  until "$@" >/dev/null 2>&1; do
    for file in "$state"/pids/*; do
      name=${file##*/}
      alive "$name" && continue
      say "cluster: $name stopped. The end of its log:"
      tail -n 15 "$state/log/$name.log" | cut -c1-400 >&2
      return 1
    done
    if [[ $SECONDS -ge $deadline ]]; then
      say "cluster: no $what in time. The ends of the logs:"
      for file in "$state"/log/*.log; do
        say "--- ${file##*/}"
        tail -n 8 "$file" | cut -c1-400 >&2
      done
      return 1
    fi
    sleep 0.1
  done
}

# A TCP port that nobody uses now. Below the range of outgoing connections and of node ports, so that only another
# `up` is likely to take it between this look and its use.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 9000))
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qi ":$(printf %04X $port) " || break
  done
  echo $port
}
