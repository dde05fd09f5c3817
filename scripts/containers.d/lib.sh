# What both parts of containers-check say, wait for and ask. Sourced; `origin` is where the sidecar is.

json='Content-Type: application/json'

say() { echo "ok   $*"; }
fail() { echo "FAIL $*" >&2; docker compose logs --tail 20 >&2 || true; exit 1; }
container() { docker compose ps --all --quiet "$1"; }
inspect() { docker inspect --format "$2" "$(container "$1")"; }
status() { curl --silent --output /dev/null --max-time 20 --write-out '%{http_code}' "$@" || true; }
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
post() { curl --silent --max-time 60 -X POST "$origin$1" -H "$json" -d "$2" "${@:3}"; }

# Waits, at most two minutes, for a command to succeed.
until_true() {
  local what=$1 end=$((SECONDS + 120))
  shift
  until "$@"; do [ $SECONDS -lt $end ] || fail "not within two minutes: $what"; sleep 0.2; done
}
is_healthy() { [ "$(inspect "$1" '{{.State.Health.Status}}')" = healthy ]; }
answers() { [ "$(status "$origin/api/custom/test")" = 200 ] && [ "$(status "$origin/api/health")" = 200 ]; }

# The commands of the first block of shell after a marker in README.
lines() { sed -n "/^<!-- $1 -->/,/^\`\`\`\$/p" README.md | sed '1,2d;$d'; }
# Nobody sits at a terminal here.
without_terminal() { sed 's/docker compose exec /docker compose exec -T /'; }

# The process itself, as the kernel sees it: not root, no capability, no way to more, and nothing of its root to write to.
contained() {
  local pid found
  pid=$(inspect "$1" '{{.State.Pid}}')
  [ -r "/proc/$pid/status" ] || { echo "-    the processes of $1 cannot be seen from here"; return; }
  found=$(grep -E '^(Uid|Gid|CapEff|CapBnd|CapPrm|NoNewPrivs)' "/proc/$pid/status" | tr -s '\t\n ' ' ')
  [[ $found == *"Uid: 65532 65532 65532 65532 Gid: 65532 65532 65532 65532 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1"* ]] ||
    fail "$1 runs with $found"
  awk '$5 == "/" {split($6, options, ","); exit options[1] != "ro"}' "/proc/$pid/mountinfo" || fail "$1 can write to its root"
}

# Where podman plays Docker's part on a system without timers, nobody else runs the health checks.
beat=
keep_time() {
  [[ ${DOCKER_HOST:-} == *podman* ]] || return 0
  while sleep 1; do for id in $(podman ps --quiet --filter name=generatio-check); do podman healthcheck run "$id" >/dev/null 2>&1 || true; done; done &
  beat=$!
}
