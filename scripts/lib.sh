# What the other scripts share. Sourced, never run.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/bin
work=$root/.work
provider=$bin/terraform-provider-fabric
dev_config=$bin/dev.tfrc

# Terraform asks its makers for news of newer versions unless it is told not to.
export CHECKPOINT_DISABLE=1

# say prints a line for the person who is watching; standard output stays free for results.
say() { printf '%s\n' "$*" >&2; }

# die prints why we stop, and stops.
die() {
  say "error: $*"
  exit 1
}

# has tells whether a command is on the path.
has() { command -v "$1" >/dev/null 2>&1; }

# somebody_is_here tells whether a question would be answered.
somebody_is_here() { [[ ${CI:-} != true && -t 0 ]]; }

# now is the time in milliseconds, whatever the language's decimal sign is.
now() { echo $((${EPOCHREALTIME//[!0-9]/} / 1000)); }

# seconds_since prints how long ago a moment was.
seconds_since() {
  local ms=$(($(now) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# build_engine_tool builds our own small client of the engine (tools/engine): it needs no docker command.
# A script calls it once, before its first engine_tool.
build_engine_tool() {
  (cd "$root" && CGO_ENABLED=0 go build -o "$bin/tools/engine" ./tools/engine) || die "unable to build tools/engine"
}
engine_tool() { "$bin/tools/engine" "$@"; }
