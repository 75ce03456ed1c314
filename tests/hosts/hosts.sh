#!/usr/bin/env bash
# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Real test hosts on one machine: systemd as PID 1, sshd, an address of their own.
#
#   hosts.sh -d STATE_DIR up N          build the image if missing or of other packages, start h1..hN,
#                                       wait until ssh answers
#   hosts.sh -d STATE_DIR inventory     print an Ansible inventory (INI) of the hosts
#   hosts.sh -d STATE_DIR status        one line per host
#   hosts.sh -d STATE_DIR ssh H [CMD]   ssh to one host as root
#   hosts.sh -d STATE_DIR stop H        clean shutdown         (disk and address are kept)
#   hosts.sh -d STATE_DIR kill H        power loss: SIGKILL    (disk and address are kept)
#   hosts.sh -d STATE_DIR start H       power on again
#   hosts.sh -d STATE_DIR cut H | join H   unplug / replug the host's network cable
#   hosts.sh -d STATE_DIR down [--purge]   stop and delete everything; --purge: the image too
#
# Needs root and a Debian or Ubuntu machine; systemd, D-Bus or Docker need not run on it.
# Packages that are missing are installed with apt. The mirror (and proxy) are those of
# this machine's apt. STATE_DIR may also come from $HOSTS_STATE_DIR. Each STATE_DIR is a
# separate set of hosts with its own bridge and subnet.
#
# Environment: HOSTS_PACKAGES  more packages for the image (comma separated)
#              HOSTS_SUITE     distribution of the image (default: this machine's)
#              HOSTS_TIMEOUT   seconds to wait for all hosts to be up (default 180)
#              HOSTS_COPY=1    copy the image per host rather than overlay it
set -euo pipefail
umask 022

PACKAGES=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,python3,python3-venv,iproute2,procps,ca-certificates

die() { echo "hosts.sh: $*" >&2; exit 1; }
say() { echo "hosts.sh: $*" >&2; }

STATE=${HOSTS_STATE_DIR:-}
while getopts d: opt; do
  case $opt in d) STATE=$OPTARG ;; *) die "usage: hosts.sh -d STATE_DIR COMMAND" ;; esac
done
shift $((OPTIND - 1))
CMD=${1:-}
[ -n "$STATE" ] && [ -n "$CMD" ] || die "usage: hosts.sh -d STATE_DIR up N | down | inventory | status | ssh | stop | kill | start | cut | join"
[ "$(id -u)" = 0 ] || die "needs root"
shift
mkdir -p "$STATE"
STATE=$(cd "$STATE" && pwd -P)
SELF=$(cd "$(dirname "$0")" && pwd -P)/$(basename "$0")

TAG=t$(printf %s "$STATE" | cksum | awk '{printf "%07x", $1 % 268435456}')   # 8 characters
BRIDGE=br-$TAG
IMAGE=$STATE/image
KEY=$STATE/ssh/id_ed25519
KNOWN=$STATE/ssh/known_hosts

# ---------------------------------------------------------------- small helpers

num()   { [[ $1 =~ ^h([1-9][0-9]*)$ ]] || die "not a host: $1"; echo "${BASH_REMATCH[1]}"; }
net()   { cat "$STATE/net"; }                       # first three octets of the subnet
addr()  { echo "$(net).$((10 + $1))"; }
netns() { echo "$TAG-h$1"; }
hosts() { [ ! -d "$STATE/hosts" ] || find "$STATE/hosts" -mindepth 1 -maxdepth 1 -name 'h*' -printf '%f\n' | sort -V; }

# Two processes stand behind host number $1: the keeper (this script, __run) and its systemd-nspawn.
# A pid file alone proves nothing, so the command line must be ours too.
alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$2" || return 1
  echo "$pid"
}
keeper_of() { alive "$STATE/hosts/h$1/keeper" "-d $STATE __run $1 "; }
pid_of()    { alive "$STATE/hosts/h$1/pid" "--machine=$TAG-h$1 "; }
# Off: no keeper, and no process left in its cgroup (a host outlives a systemd-nspawn that was killed).
is_off() { ! keeper_of "$1" >/dev/null && ! grep -qs 'populated 1' "$(cgroup_root)/$TAG/h$1/cgroup.events"; }
wait_off() { local i; for ((i = 0; i < $2 * 10; i++)); do is_off "$1" && return; sleep 0.1; done; return 1; }
cgroup_root() {     # where cgroup v2 is mounted; on a machine without it, a mount of our own
  local at
  at=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  if [ -z "$at" ]; then
    at=$STATE/cgroup
    mkdir -p "$at"
    mount -t cgroup2 cgroup2 "$at"
  fi
  echo "$at"
}
leader_of() { local p; p=$(pid_of "$1") && pgrep -P "$p" | head -n 1; }   # the host's PID 1

ssh_host() {
  local n=$1; shift
  ssh -i "$KEY" -o BatchMode=yes -o ConnectTimeout=3 -o IdentitiesOnly=yes \
    -o "UserKnownHostsFile=$KNOWN" -o StrictHostKeyChecking=yes -F /dev/null "root@$(addr "$n")" "$@"
}

# ---------------------------------------------------------------- packages and image

install_missing() {
  local want=() pair
  for pair in debootstrap:debootstrap systemd-nspawn:systemd-container ip:iproute2 ssh:openssh-client \
              pgrep:procps mountpoint:util-linux flock:util-linux; do
    command -v "${pair%%:*}" >/dev/null || want+=("${pair#*:}")
  done
  [ ${#want[@]} = 0 ] && return
  say "installing ${want[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}"; } \
    >"$STATE/apt.log" 2>&1 </dev/null || { tail -n 5 "$STATE/apt.log" >&2; die "apt-get failed"; }
}

mirror_of() {
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v s="$1" '$1 == s && !m { m = $2 } END { print m }'
}

build_image() {
  local suite mirror components proxy v contents root=$IMAGE.tmp
  suite=${HOSTS_SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
  contents="$suite $PACKAGES${HOSTS_PACKAGES:+,$HOSTS_PACKAGES}"
  [ "$(cat "$IMAGE.done" 2>/dev/null)" = "$contents" ] && return
  [ -z "$(hosts)" ] || die "the image is not of the packages asked for and hosts use it: run down first"
  # The machine's own mirror for that distribution, with every component it uses from it.
  # (indextargets is silent where apt has no package lists, as in a freshly made image.)
  mirror=$(mirror_of "$suite")
  [ -n "$mirror" ] || { apt-get update -qq >"$STATE/apt.log" 2>&1 && mirror=$(mirror_of "$suite"); }
  [ -n "$mirror" ] || die "apt on this machine has no source for $suite"
  components=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
    awk -v s="$suite" -v m="$mirror" '$1 == s && $2 == m { print $3 }' | sort -u | paste -sd,)
  for v in http https; do     # debootstrap downloads with wget: hand it apt's proxy
    proxy=$(apt-config shell p "Acquire::$v::Proxy" | sed -n "s/^p='\(.*\)'$/\1/p")
    case $proxy in '' | DIRECT) ;; *) export "${v}_proxy=$proxy" ;; esac
  done
  say "building the image ($suite): one to two minutes"
  rm -rf --one-file-system "$root"
  debootstrap --variant=minbase --components="$components" \
    --include="${contents#* }" "$suite" "$root" "$mirror" \
    >"$STATE/debootstrap.log" 2>&1 </dev/null || { tail -n 5 "$STATE/debootstrap.log" >&2; die "debootstrap failed"; }

  rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/dbus/machine-id
  rm -rf "$root"/var/lib/apt/lists/*
  : >"$root/etc/machine-id"
  : >"$root/etc/resolv.conf"          # names fail at once rather than time out
  echo 'LANG=C.UTF-8' >"$root/etc/default/locale"
  # Nothing that starts by itself in the middle of a test, and no login prompt on the console.
  for v in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
           console-getty.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$v"
  done
  # ops: an ordinary login with passwordless sudo, for plays that use become.
  chroot "$root" useradd --create-home --shell /bin/bash ops
  echo 'ops ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ops"
  chmod 440 "$root/etc/sudoers.d/ops"
  rm -rf --one-file-system "$IMAGE" "$IMAGE.done"
  mv "$root" "$IMAGE"
  echo "$contents" >"$IMAGE.done"
}

make_keys() {
  install -d -m 700 "$STATE/ssh"
  [ -f "$KEY" ] || ssh-keygen -q -t ed25519 -N '' -C "$TAG" -f "$KEY"
}

# ---------------------------------------------------------------- network

make_bridge() {
  local i x
  if [ ! -f "$STATE/net" ]; then      # the first free 10.213.x.0/24
    for ((i = 0; i < 256; i++)); do
      x=$(( (16#${TAG:1} + i) % 256 ))
      ip -4 route show table all | grep -q "10\.213\.$x\." && continue
      echo "10.213.$x" >"$STATE/net"
      break
    done
    [ -f "$STATE/net" ] || die "no free subnet"
  fi
  ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
  ip addr show dev "$BRIDGE" | grep -qF "$(net).1/24" || ip addr add "$(net).1/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
}

plug() {     # a network namespace with eth0 on the bridge; survives a kill or reboot of the host
  local n=$1 ns
  ns=$(netns "$n")
  mountpoint -q /run/netns || touch "$STATE/netns-mount"      # ip netns add is about to make it one
  ip netns list | awk '{print $1}' | grep -qx "$ns" || ip netns add "$ns"
  if ! ip -n "$ns" link show eth0 >/dev/null 2>&1; then
    ip link add "$TAG-$n" type veth peer name eth0 netns "$ns"
    ip -n "$ns" addr add "$(addr "$n")/24" dev eth0
  fi
  ip -n "$ns" link set lo up
  ip -n "$ns" link set eth0 up
  ip link set "$TAG-$n" master "$BRIDGE" up
  # A default route gives Ansible its ansible_default_ipv4; nothing is forwarded beyond the machine.
  ip -n "$ns" route replace default via "$(net).1"
}

# systemd in every host takes some inotify instances out of root's one allowance.
raise_inotify() {
  local f=/proc/sys/fs/inotify/max_user_instances enough=$((64 + 16 * $1))
  [ "$(cat $f)" -ge "$enough" ] && return
  [ -f "$STATE/inotify" ] || cat $f >"$STATE/inotify"
  echo "$enough" >$f
}

# ---------------------------------------------------------------- one host

# Runs in the host's network namespace and in a mount namespace of its own: whatever is mounted
# here disappears with the host. (Not systemd-nspawn --network-namespace-path: systemd 252 then shows
# the host the machine's own /sys/class/net, so Ansible's facts name the wrong MAC address and MTU.)
run_host() {
  local n=$1 dir=$STATE/hosts/h$1 root cg
  echo $$ >"$dir/keeper"
  root=$dir/root
  mkdir -p "$root" "$dir/upper" "$dir/work"
  if [ ! -e "$dir/copied" ]; then      # an overlay on the image; where that cannot be mounted, a copy
    if [ -n "${HOSTS_COPY:-}" ] ||
       ! mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$dir/upper,workdir=$dir/work" "$root"; then
      cp -a --reflink=auto "$IMAGE/." "$root/"
      touch "$dir/copied"
    fi
  fi
  if [ ! -f "$dir/made" ]; then
    echo "h$n" >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 h%s\n' "$n" >"$root/etc/hosts"
    printf '%s' "$TAG-h$n" | md5sum | cut -c1-32 >"$root/etc/machine-id"
    ssh-keygen -q -t ed25519 -N '' -C "h$n" -f "$root/etc/ssh/ssh_host_ed25519_key" </dev/null
    cp "$root/etc/ssh/ssh_host_ed25519_key.pub" "$dir/hostkey.pub"
    local user home
    for user in root ops; do
      home=$root$(awk -F: -v u="$user" '$1 == u { print $6 }' "$root/etc/passwd")
      install -d -m 700 "$home/.ssh"
      install -m 600 "$KEY.pub" "$home/.ssh/authorized_keys"
      chown -R --reference="$home" "$home/.ssh"
    done
    touch "$dir/made"
  fi
  # A pure cgroup v2 tree, whatever layout the machine has, and a cgroup of its own for this host
  # (two systemd-nspawn --keep-unit started from one cgroup would share it and mix their processes).
  [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
  cg=/sys/fs/cgroup/$TAG/h$n
  mkdir -p "$cg"
  # systemd-nspawn's locks and sockets: it will not clean up there unless /run is a tmpfs.
  mkdir -p /run/systemd/nspawn
  mount -t tmpfs -o mode=755 tmpfs /run/systemd/nspawn
  local rc=133
  while [ $rc = 133 ]; do       # 133: the host rebooted, and with --keep-unit the restart is left to us
    rc=0
    (
      echo $BASHPID >"$cg/cgroup.procs"
      echo $BASHPID >"$dir/pid"
      exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --boot --directory="$root" \
        --machine="$TAG-h$n" --hostname="h$n" --settings=no --register=no --keep-unit \
        --capability=CAP_NET_ADMIN \
        --resolv-conf=off --timezone=off --link-journal=no --console=read-only
    ) || rc=$?
  done
  { echo 1 >"$cg/cgroup.kill"; } 2>/dev/null || true     # nothing survives a systemd-nspawn that was killed itself
}

start_host() {
  local n=$1 dir=$STATE/hosts/h$1 i
  keeper_of "$n" >/dev/null && return
  kill_host "$n"      # what a killed keeper left running
  mkdir -p "$dir"
  plug "$n"
  sweep_cgroup "$TAG/h$n"
  rm -f "$dir/pid" "$dir/keeper"
  # fd 9 is the lock: a host must not inherit it.
  # ip netns exec enters the network namespace and a mount namespace with that network's /sys.
  setsid ip netns exec "$(netns "$n")" "$SELF" -d "$STATE" __run "$n" </dev/null >>"$dir/console.log" 2>&1 9>&- &
  for ((i = 0; i < 250; i++)); do keeper_of "$n" >/dev/null && return; sleep 0.02; done
}

wait_host() {       # until systemd says it has finished starting
  local n=$1 end=$2 state='' starts=0
  while [ "$(date +%s)" -lt "$end" ]; do
    if ! keeper_of "$n" >/dev/null; then      # it was still shutting down when it was to be started
      [ $((starts++)) -lt 2 ] || break
      start_host "$n"
    fi
    if pid_of "$n" >/dev/null && [ -f "$STATE/hosts/h$n/hostkey.pub" ]; then
      if ! grep -q "^$(addr "$n") " "$KNOWN" 2>/dev/null; then
        echo "$(addr "$n") $(cut -d' ' -f1,2 "$STATE/hosts/h$n/hostkey.pub")" >>"$KNOWN"
      fi
      # Before the port is open a refused connection costs nothing; ssh itself would.
      if (exec 3<>"/dev/tcp/$(addr "$n")/22") 2>/dev/null; then
        state=$(ssh_host "$n" systemctl is-system-running --wait 2>/dev/null </dev/null || true)
        case $state in
          running) return 0 ;;
          degraded) say "h$n is up, but degraded: $(ssh_host "$n" systemctl --failed --plain --no-legend </dev/null)"; return 0 ;;
        esac
      fi
    fi
    sleep 0.2
  done
  say "h$n did not come up; see $STATE/hosts/h$n/console.log"
  return 1
}

stop_host() {       # systemd-nspawn answers SIGTERM by asking the host's PID 1 to halt
  local pid
  pid=$(pid_of "$1") && kill -TERM "$pid" 2>/dev/null && wait_off "$1" "${2:-30}" && return
  kill_host "$1"
}

kill_host() {       # the kernel kills every process of the host, and systemd-nspawn, at once
  local cg keeper
  is_off "$1" && return
  cg=$(cgroup_root)/$TAG/h$1
  { echo 1 >"$cg/cgroup.kill"; } 2>/dev/null || true
  wait_off "$1" 3 && return
  keeper=$(keeper_of "$1") && kill -KILL "$keeper" 2>/dev/null || true
  { echo 1 >"$cg/cgroup.kill"; } 2>/dev/null || true
  wait_off "$1" 5 || die "h$1 does not die"
}

sweep_cgroup() {    # remove the empty cgroups that a host left, in every hierarchy
  local top
  for top in $(awk '$3 == "cgroup2" || $3 == "cgroup" { print $2 }' /proc/mounts); do
    [ -d "$top/$1" ] && find "$top/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

# ---------------------------------------------------------------- commands

locked() { mkdir -p "$STATE"; exec 9>"$STATE/lock"; flock 9; }

case $CMD in
up)
  N=${1:-}
  [[ $N =~ ^[1-9][0-9]*$ ]] && [ "$N" -le 200 ] || die "up N: N from 1 to 200"
  locked
  install_missing
  build_image
  make_keys
  make_bridge
  raise_inotify "$N"
  for ((n = 1; n <= N; n++)); do start_host "$n"; done
  end=$(( $(date +%s) + ${HOSTS_TIMEOUT:-180} ))
  for ((n = 1; n <= N; n++)); do wait_host "$n" "$end" || exit 1; done
  say "$N hosts up; the machine is $(net).1 to them"
  ;;
down)
  locked
  all=$(hosts)
  for h in $all; do stop_host "$(num "$h")" 20 & done
  wait
  for ns in $(ip netns list 2>/dev/null | awk -v t="$TAG-h" 'index($1, t) == 1 { print $1 }'); do ip netns del "$ns"; done
  ip link show "$BRIDGE" >/dev/null 2>&1 && ip link del "$BRIDGE"
  sweep_cgroup "$TAG"
  if mountpoint -q "$STATE/cgroup"; then umount "$STATE/cgroup"; rmdir "$STATE/cgroup"; fi
  if [ -f "$STATE/netns-mount" ] && [ -z "$(ls -A /run/netns 2>/dev/null)" ]; then
    umount /run/netns 2>/dev/null && rmdir /run/netns || true
  fi
  rmdir --ignore-fail-on-non-empty /run/systemd/nspawn 2>/dev/null || true
  [ -f "$STATE/inotify" ] && cat "$STATE/inotify" >/proc/sys/fs/inotify/max_user_instances
  rm -rf --one-file-system "$STATE/hosts"
  rm -f "$STATE/inotify" "$STATE/netns-mount" "$STATE/net" "$KNOWN"
  if [ "${1:-}" = --purge ]; then
    rm -rf --one-file-system "$IMAGE" "$IMAGE.tmp" "$STATE/ssh"
    rm -f "$IMAGE.done" "$STATE"/*.log "$STATE/lock"
    rmdir --ignore-fail-on-non-empty "$STATE"
  fi
  ;;
inventory)
  [ -f "$STATE/net" ] || die "no hosts: run up first"
  echo "[hosts]"
  for h in $(hosts); do echo "$h ansible_host=$(addr "$(num "$h")")"; done
  cat <<EOF

[hosts:vars]
ansible_user=root
ansible_ssh_private_key_file=$KEY
ansible_ssh_common_args=-F /dev/null -o IdentitiesOnly=yes -o UserKnownHostsFile=$KNOWN -o StrictHostKeyChecking=yes
ansible_python_interpreter=/usr/bin/python3
machine_address=$(net).1
EOF
  ;;
status)
  for h in $(hosts); do
    n=$(num "$h")
    if pid=$(pid_of "$n"); then
      echo "$h $(addr "$n") pid=$pid init=$(leader_of "$n") $(ssh_host "$n" systemctl is-system-running 2>/dev/null </dev/null || true)"
    else
      echo "$h $(addr "$n") off"
    fi
  done
  ;;
ssh)   n=$(num "${1:-}"); shift; ssh_host "$n" "$@" ;;
stop)  locked; stop_host "$(num "${1:-}")" ;;
kill)  locked; kill_host "$(num "${1:-}")" ;;
start) locked; n=$(num "${1:-}"); start_host "$n"; wait_host "$n" $(( $(date +%s) + ${HOSTS_TIMEOUT:-180} )) ;;
cut)   ip link set "$TAG-$(num "${1:-}")" down ;;
join)  ip link set "$TAG-$(num "${1:-}")" up ;;
__run) run_host "$1" ;;
*) die "unknown command: $CMD" ;;
esac
