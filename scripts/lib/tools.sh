# shellcheck shell=bash
# Sourced by the other scripts and .ci/run: saying things, the programs that a machine must have, how a release is built.

say() { printf '%s\n' "$@" >&2; }

# A line that stands out between the output of programs.
headline() {
  if [[ -t 2 ]]; then printf '\n\e[1m== %s\e[0m\n' "$*" >&2; else printf '\n== %s\n' "$*" >&2; fi
}

# need_rust: cargo by rustup, which fetches the toolchain that rust-toolchain.toml names, and a C compiler.
need_rust() {
  if ! command -v cargo >/dev/null; then
    say "there is no cargo: install Rust with rustup (https://rustup.rs)"
    return 1
  fi
  command -v cc >/dev/null || install_packages gcc libc6-dev || {
    say "there is no C compiler; on Debian or Ubuntu: apt-get install gcc libc6-dev"
    return 1
  }
}

# as_released: what cargo builds from here on is built as it is released; docs/decisions/0005 says why.
as_released() { export AWS_LC_SYS_NO_JITTER_ENTROPY=1; }

# need_programs PROGRAM[:PACKAGE]...: installs what is missing as root on Debian and Ubuntu, else says how to.
need_programs() {
  local pair missing=() packages=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null && continue
    missing+=("${pair%%:*}")
    packages+=("${pair#*:}")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  install_packages "${packages[@]}" && return
  say "missing: ${missing[*]}; on Debian or Ubuntu: apt-get install ${packages[*]}"
  return 1
}

install_packages() {
  [[ $UID -eq 0 ]] && command -v apt-get >/dev/null || return 1
  say "installing $*"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -qq)
  # On a new machine the lists are empty or name versions that are gone.
  "${apt[@]}" install --no-install-recommends "$@" >&2 2>/dev/null ||
    { "${apt[@]}" update >&2 && "${apt[@]}" install --no-install-recommends "$@" >&2; }
}
