#!/usr/bin/env bash
# Starts a cluster on this machine: distributors and generators, each a process with a
# loopback address of its own, a Prometheus that they write to, and spangen, which sends
# them traces. Ctrl-C ends all of it, and spangen's account comes last.
#
#     operations/cluster/run.sh [--distributors N] [--generators N] [--rate SPANS] [--dir DIR]
#
# Defaults: 2, 3, 2000 spans a second, and a new directory, which is removed at the end
# unless something failed. SPANMILL_BIN_DIR has spanmill, spanmillctl and spangen;
# SPANMILL_PROMETHEUS is Prometheus (one that is on the PATH otherwise).
#
# Linux only: elsewhere only 127.0.0.1 of the loopback addresses can be bound.
set -euo pipefail
# Each process in a group of its own: Ctrl-C reaches this script alone, which ends them in
# order.
set -m

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=$here/../../config/cluster.yaml

distributors=2 generators=3 rate=2000 directory='' prometheus_address=127.0.0.10:9090
while [ $# -gt 0 ]; do
  case $1 in
    --distributors) distributors=$2 ;;
    --generators) generators=$2 ;;
    --rate) rate=$2 ;;
    --dir) directory=$2 ;;
    *)
      sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
  shift 2
done

binaries=${SPANMILL_BIN_DIR:?names the directory of spanmill, spanmillctl and spangen}
prometheus=${SPANMILL_PROMETHEUS:-$(command -v prometheus || true)}
if [ -z "$prometheus" ]; then
  echo "run.sh needs Prometheus: 'make cluster' fetches it" >&2
  exit 1
fi

is_temporary=
if [ -z "$directory" ]; then
  directory=$(mktemp -d "${TMPDIR:-/tmp}/spanmill-cluster.XXXXXX")
  is_temporary=yes
fi
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)

# Distributors are 127.0.0.11 and so on, generators 127.0.0.21 and so on.
nodes=()
for ((n = 1; n <= distributors; n++)); do nodes+=("distributor-$n"); done
for ((n = 1; n <= generators; n++)); do nodes+=("generator-$n"); done
address_of() {
  case $1 in
    distributor-*) echo "127.0.0.$((10 + ${1#*-}))" ;;
    generator-*) echo "127.0.0.$((20 + ${1#*-}))" ;;
  esac
}

random() { head -c 32 /dev/urandom | base64; }
if [ ! -e "$directory/secrets" ]; then
  (umask 077 && cat >"$directory/secrets") <<SECRETS
export SPANMILL_GOSSIP_KEY='$(random)'
export SPANMILL_CLUSTER_SEED='$(random)'
export SPANMILL_NODE_TOKEN='$(random)'
SECRETS
fi

# A program of the cluster: a directory with what starts it, its log, and the id of its process.
# Run by itself, `start` brings back one that was ended.
write_start() { # NAME COMMAND...
  mkdir -p "$directory/$1"
  {
    echo '#!/usr/bin/env bash'
    echo "cd '$directory/$1'"
    [ "${environment:-}" = '' ] || printf '%s\n' "$environment"
    echo 'echo $$ >pid'
    printf 'exec'
    printf ' %q' "${@:2}"
    echo ' >>log 2>&1'
  } >"$directory/$1/start"
  chmod +x "$directory/$1/start"
}

# The process of a program, if it still runs and is the one that was started.
running() { # NAME
  local pid
  pid=$(cat "$directory/$1/pid" 2>/dev/null) || return 1
  [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$directory/$1" ] && echo "$pid"
}

# Ends programs together and waits for them: a spanmill has 30 s, and five more.
end() { # SIGNAL NAME...
  local name pid waited
  for name in "${@:2}"; do
    pid=$(running "$name") && kill "-$1" "$pid" || true
  done
  for name in "${@:2}"; do
    for ((waited = 0; waited < 350; waited++)); do
      running "$name" >/dev/null || break
      sleep 0.1
    done
    if pid=$(running "$name"); then
      echo "$name does not end and is killed; see $directory/$name/log" >&2
      kill -KILL "$pid"
      failed=yes
    fi
  done
}

failed=yes
senders=()
finish() {
  trap '' INT TERM
  trap - EXIT
  echo
  echo "ending: senders, distributors, generators, Prometheus"
  # To this one spangen says what was accepted.
  [ ${#senders[@]} -eq 0 ] || end INT "${senders[@]}"
  for role in distributor generator; do
    local of_role=()
    for name in "${nodes[@]}"; do
      [[ $name != "$role"-* ]] || of_role+=("$name")
    done
    [ ${#of_role[@]} -eq 0 ] || end TERM "${of_role[@]}"
  done
  end TERM prometheus
  for name in "${senders[@]}"; do
    echo
    echo "$name:"
    tail -n 12 "$directory/$name/log"
  done
  if [ -n "$is_temporary" ] && [ -z "$failed" ]; then
    rm -rf "$directory"
  else
    echo "what they wrote is in $directory"
  fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

targets=$(for name in "${nodes[@]}"; do printf "'%s:3200'," "$(address_of "$name")"; done)
mkdir -p "$directory/prometheus"
cat >"$directory/prometheus/prometheus.yml" <<CONFIG
global: {scrape_interval: 5s}
rule_files: ['$here/../prometheus/alerts.yaml']
scrape_configs:
  - job_name: spanmill
    static_configs: [{targets: [${targets%,}]}]
CONFIG
environment=''
write_start prometheus "$prometheus" --config.file=prometheus.yml --storage.tsdb.path=data \
  --web.listen-address="$prometheus_address" --web.enable-remote-write-receiver \
  --enable-feature=exemplar-storage,native-histograms

for name in "${nodes[@]}"; do
  environment=". '$directory/secrets'
export SPANMILL_ADDRESS=$(address_of "$name") SPANMILL_ADMIN_ADDRESS=$(address_of "$name")
export SPANMILL_JOIN=$(address_of "${nodes[0]}"):7946
export SPANMILL_ZONE=zone-${name#*-} SPANMILL_DATA=data SPANMILL_INSTANCE=$name
export SPANMILL_REMOTE_WRITE=http://$prometheus_address/api/v1/write"
  write_start "$name" "$binaries/spanmill" --target="${name%-*}" \
    --config.file="$config" --config.expand-env
done

environment=''
for ((n = 1; n <= distributors; n++)); do
  senders+=("spangen-$n")
  write_start "spangen-$n" "$binaries/spangen" --endpoint "http://$(address_of "distributor-$n"):4317" \
    --rate $((rate / distributors)) --seed "$n" --quiet
done

start() { # NAME
  if running "$1" >/dev/null; then
    echo "$1 runs already, from $directory" >&2
    exit 1
  fi
  rm -f "$directory/$1/pid"
  "$directory/$1/start" &
  # The shell is not to tell of its end.
  disown
}

# Waits until a page answers with success, as long as the program runs.
ready() { # NAME URL
  local waited
  for ((waited = 0; waited < 600; waited++)); do
    curl --silent --fail --output /dev/null --max-time 2 "$2" && return
    if ((waited > 10)) && ! running "$1" >/dev/null; then
      echo "$1 has ended:" >&2
      tail -n 15 "$directory/$1/log" >&2
      exit 1
    fi
    sleep 0.1
  done
  echo "$1 is not ready after a minute; see $directory/$1/log" >&2
  exit 1
}

start prometheus
for name in "${nodes[@]}"; do start "$name"; done
ready prometheus "http://$prometheus_address/-/ready"
for name in "${nodes[@]}"; do ready "$name" "http://$(address_of "$name"):3200/ready"; done
for name in "${senders[@]}"; do start "$name"; done

first=$(address_of "${nodes[0]}")
cat <<WHERE

A cluster of $distributors distributors and $generators generators gets $rate spans a second.

$(printf '%-16s %-14s %s\n' NODE ADDRESS PID
for name in "${nodes[@]}"; do
  printf '%-16s %-14s %s\n' "$name" "$(address_of "$name")" "$(running "$name" || echo -)"
done)

the ring             http://$first:3200/ring
                     $binaries/spanmillctl ring --url http://$first:3200
its metrics          http://$prometheus_address/graph?g0.tab=0&g0.expr=sum%20by%20(service)%20(rate(traces_spanmetrics_calls_total%5B1m%5D))
alerts               http://$prometheus_address/alerts
send spans           http://$first:4317 (OTLP/gRPC), http://$first:4318 (OTLP/HTTP)
logs, data           $directory/{$(IFS=,; echo "${nodes[*]}")}

Take one away and bring it back:
  kill \$(cat $directory/generator-1/pid)       # -9 for a crash
  $directory/generator-1/start &

Ctrl-C ends all.
WHERE

failed=
# Woken by a signal; what was started by hand in between is not our child.
while :; do sleep 3600 & wait $! || true; done
