#!/usr/bin/env bash
# Boots real systemd hosts (Debian, systemd as PID 1) on a machine that has neither systemd as PID 1 nor docker.
# One host = own pid, mount, net, uts, ipc and cgroup namespaces + a thin overlay over one shared base tree.
#
#   host.sh create NAME          lay the host out (the first call also builds the base tree)
#   host.sh start NAME           boot it; returns when systemd has finished starting
#   host.sh exec NAME CMD...     run CMD in it as root (stdin, stdout, exit code pass through; 125 = host.sh failed)
#   host.sh stop NAME            orderly power-off (services are stopped, then the network goes)
#   host.sh kill NAME            power cut: frozen, cable pulled, unsynced writes lost, everything SIGKILLed
#   host.sh destroy NAME         remove it and everything it left
#   host.sh list | ip NAME | root NAME | base | clean      (clean = destroy every host and the base tree)
#
# Every verb is idempotent. Hosts reach each other and this machine (GATEWAY below), nothing else: no default route.
# Environment:
#   HOST_STATE  where everything is kept                       (/var/tmp/systemd-host)
#   HOST_NET    first three numbers of the hosts' /24          (10.99.0; this machine is .1)
#   HOST_DISK   image: own ext4 image, kill loses unsynced writes, as a power cut does
#               dir:   plain folder, kill loses nothing that was written  (image; set it when you create)
#   HOST_SIZE   size of that image, sparse; small for a disk that fills up     (8G; set it when you create)
#   HOST_LAYER  a folder that lies over the base tree in this host, read-only, shared by hosts   (none; set it when you create)
#   HOST_PKGS   extra Debian packages in the base tree, comma separated   (none)
#   HOST_SUITE  Debian suite                                   (bookworm)
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

STATE=$(realpath -m "${HOST_STATE:-/var/tmp/systemd-host}")
NET=${HOST_NET:-10.99.0}
DISK=${HOST_DISK:-image}
SIZE=${HOST_SIZE:-8G}
SUITE=${HOST_SUITE:-bookworm}
LAYER=${HOST_LAYER:+$(realpath -m "$HOST_LAYER")}
PKGS=systemd,systemd-sysv,libnss-systemd,dbus,python3,python3-venv,git,ca-certificates,curl,iproute2,iputils-ping,procps${HOST_PKGS:+,$HOST_PKGS}
TAG=sh$(cksum <<<"$STATE $NET" | cut -c1-5) # in every kernel object's name: two HOST_STATEs or HOST_NETs never meet
BRIDGE=${TAG}br
GATEWAY=$NET.1
# What a host may never do to this machine's kernel: set the clock, load modules, touch raw I/O, read the kernel log.
CAPS=-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-block_suspend,-mac_admin,-mac_override,-sys_pacct,-perfmon,-bpf,-audit_read,-audit_control
SELF=$(readlink -f "${BASH_SOURCE[0]}")
T0=${EPOCHREALTIME/./}

die() { echo "host.sh: $*" >&2; exit 125; }
[[ $STATE$LAYER != *[,:\\\ ]* ]] || die "HOST_STATE and HOST_LAYER must not hold a comma, colon, backslash or space: '$STATE' '$LAYER'"
[[ $NET =~ ^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$ ]] || die "HOST_NET is the first three numbers of a /24, not '$NET'"
say() { local t=$(( (${EPOCHREALTIME/./} - T0) / 1000 )); printf '%s (%d.%03d s)\n' "$*" $((t / 1000)) $((t % 1000)); }
retry() { # retry SECONDS CMD...: until CMD succeeds
  local end=$(( ${EPOCHREALTIME/./} + $1 * 1000000 )); shift
  until "$@"; do [ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1; sleep 0.02; done
}
lock() { # one verb at a time per host; destroy removes the lock's file, hence the second look
  local f=$STATE/.lock-$1
  mkdir -p "$STATE"
  until [ "$f" -ef /proc/self/fd/9 ]; do exec 9>"$f"; flock -w 300 9 || die "another host.sh holds $f"; done 2>/dev/null
}
global() { # global FUNCTION...: under the lock all hosts share
  mkdir -p "$STATE"; local fd rc=0
  exec {fd}>"$STATE/.lock"; flock -w 600 "$fd" || die "another host.sh holds $STATE/.lock"
  "$@" || rc=$?; exec {fd}>&-; return $rc
}
usehost() { # sets H and friends
  [[ ${1:-} =~ ^[a-z][a-z0-9-]{0,30}$ ]] || die "a host's name is a-z, 0-9 and -, starting with a letter, at most 31: '${1:-}'"
  NAME=$1 H=$STATE/hosts/$1 NS=$TAG-$1
}
need() { usehost "${1:-}"; [ -f "$H/ready" ] || die "no host '$NAME': run 'host.sh create $NAME' first"; IP=$(<"$H/ip"); VETH=$TAG-${IP##*.}; }
starttime() { local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; set -- ${s##*) }; [ "$1" != Z ] && echo "${20}"; }
alive() { # alive FILE: FILE holds "pid starttime" of a process that still runs; sets PID
  local t=; { read -r PID t <"$H/$1"; } 2>/dev/null && [ "$(starttime "$PID")" = "$t" ]
}
running() { alive init; }
gone() { ! alive "$1"; }
mounted() { mountpoint -q "$1"; }

tools() {
  [ "$(id -u)" = 0 ] || die "must run as root"
  local want=() c
  for c in unshare:util-linux nsenter:util-linux setpriv:util-linux flock:util-linux mountpoint:util-linux ip:iproute2 \
           mkfs.ext4:e2fsprogs perl:perl-base mmdebstrap:mmdebstrap; do
    command -v "${c%%:*}" >/dev/null || want+=("${c#*:}")
  done
  [ ${#want[@]} = 0 ] && return
  echo "host.sh: installing ${want[*]}" >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${want[@]}"; } >"$STATE/apt.log" 2>&1 ||
    die "apt-get could not install ${want[*]}; see $STATE/apt.log"
}

# ---- the base tree ----
basedir() { echo "$STATE/base-$SUITE-$(cksum <<<"$PKGS" | cut -d' ' -f1)"; }
build_base() {
  local b; b=$(basedir); [ -d "$b" ] && return
  tools
  echo "host.sh: building the base tree $b (once, about half a minute)" >&2
  rm -rf --one-file-system "$b.new"
  mmdebstrap --variant=minbase --include="$PKGS" --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$SUITE" "$b.new" >"$STATE/base.log" 2>&1 || { rm -rf --one-file-system "$b.new"; die "mmdebstrap failed; see $STATE/base.log"; }
  local u
  for u in console-getty.service getty@.service e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer \
           fstrim.timer dpkg-db-backup.timer dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
           sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "$b.new/etc/systemd/system/$u"
  done
  ln -sf /lib/systemd/system/multi-user.target "$b.new/etc/systemd/system/default.target"
  mkdir -p "$b.new/var/log/journal" "$b.new/etc/systemd/journald.conf.d"
  printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\n' >"$b.new/etc/systemd/journald.conf.d/host.conf"
  rm -f "$b.new/etc/resolv.conf" "$b.new/etc/hostname"
  mv "$b.new" "$b"
}

# ---- disk: an overlay over the base tree, mounted at $H/root as long as the host exists ----
loop() { findmnt -n -o SOURCE "$H/disk"; }
dead_disk() { [ -f "$H/disk.img" ] && mounted "$H/disk" && local l && l=$(loop) && [ "$(<"/sys/block/${l#/dev/}/size")" = 1 ]; }
disk_up() {
  ! dead_disk || disk_down # after a power cut; the mount below replays the journal
  mounted "$H/root" && return
  mkdir -p "$H/disk" "$H/root"
  if [ -f "$H/disk.img" ] && ! mounted "$H/disk"; then
    mount -o loop,noinit_itable,nodiscard "$H/disk.img" "$H/disk" ||
      die "cannot mount $H/disk.img (no loop device left? HOST_DISK=dir at create does without)"
  fi
  mkdir -p "$H/disk/up" "$H/disk/work"
  # xino: inode numbers stay what they are from one mount to the next, as on any disk that is no overlay
  mount -t overlay "$TAG-$NAME" -o "xino=on,lowerdir=$(<"$H/base"),upperdir=$H/disk/up,workdir=$H/disk/work" "$H/root" || die "cannot mount the overlay at $H/root"
}
loop_gone() { [ -z "$(losetup -j "$H/disk.img")" ]; }
disk_down() {
  local m
  for m in root disk; do
    ! mounted "$H/$m" || retry 5 umount -q "$H/$m" || die "cannot unmount $H/$m: a process on this machine has a file or its working folder there"
  done
  [ ! -f "$H/disk.img" ] || retry 5 loop_gone || die "$H/disk.img is still attached to a loop device"
}
disk_cut() { # the image takes no write from here on: its loop device shrinks to one sector, at once and under the ext4's feet
  [ -f "$H/disk.img" ] && mounted "$H/disk" || return 0
  perl -e 'use Fcntl; sysopen(my $loop, $ARGV[0], O_RDWR) or die "$ARGV[0]: $!\n"; my $status = "\0" x 232;
           ioctl($loop, 0x4C05, $status) or die "LOOP_GET_STATUS64: $!\n"; substr($status, 32, 8) = pack("Q", 512); # lo_sizelimit
           for (1 .. 1000) { exit 0 if ioctl($loop, 0x4C04, $status); last unless $!{EAGAIN}; select(undef, undef, undef, 0.005) }
           die "LOOP_SET_STATUS64: $!\n"' "$(loop)" || die "the power cut of $H/disk.img failed"
}

# ---- network: one bridge on this machine, a veth pair and a network namespace per running host ----
bridge_up() {
  [ ! -d "/sys/class/net/$BRIDGE" ] || return 0
  [[ "$(ip -4 -o addr)" != *" $NET."* ]] || die "$NET.0/24 is in use on this machine; choose another HOST_NET"
  ip link add "$BRIDGE" type bridge forward_delay 0 stp_state 0
  ip link set "$BRIDGE" addrgenmode none
  ip addr add "$GATEWAY/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
}
net_up() {
  net_down
  ip netns add "$NS"
  ip link add "$VETH" type veth peer name eth0 address "$(printf '02:99:%02x:%02x:%02x:%02x' ${IP//./ })" netns "$NS"
  ip link set "$VETH" addrgenmode none master "$BRIDGE" up
  ip -n "$NS" link set lo up
  ip -n "$NS" link set eth0 addrgenmode none up
  ip -n "$NS" addr add "$IP/24" dev eth0
}
net_down() {
  [ ! -d "/sys/class/net/$VETH" ] || ip link del "$VETH" 2>/dev/null || true
  [ ! -e "/run/netns/$NS" ] || ip netns del "$NS"
}

# ---- cgroup v2: where this machine has it mounted, or a mount of our own ----
cgroot() { local m; m=$(findmnt -n -f -o TARGET -t cgroup2) || true; echo "${m:-$STATE/cgroup2}"; }
cg_up() {
  CG=$(cgroot)
  mounted "$CG" || { mkdir -p "$CG"; mount -t cgroup2 cgroup2 "$CG" || die "cannot mount cgroup2"; }
  CG=$CG/$TAG/$NAME; mkdir -p "$CG"
}
cg_down() { CG=$(cgroot)/$TAG/$NAME; [ ! -d "$CG" ] || find "$CG" -depth -type d -exec rmdir {} \; 2>/dev/null || true; [ ! -d "$CG" ]; }

# ---- the boot, in three steps: __supervise (outside) -> __enter (new namespaces) -> __boot (own cgroup root) -> systemd ----
v_supervise() {
  need "$1"; echo "$$ $(starttime $$)" >"$H/supervisor"
  local rc
  while :; do
    rc=0; nsenter --net="/run/netns/$NS" unshare --mount --uts --ipc --pid --fork --kill-child bash "$SELF" __enter "$NAME" || rc=$?
    rm -f "$H/init"; echo "$(date -Is) systemd ended: $rc (129 reboot, 130 power-off)"
    retry 5 cg_down || true
    [ $rc = 129 ] || break
    cg_up
  done
  net_down; rm -f "$H/supervisor"
}
v_enter() { # pid 1 of the new pid namespace; /proc is still the outer one, so it tells our outer pid
  need "$1"; local pid rest
  read -r pid rest </proc/self/stat
  cg_up; echo 0 >"$CG/cgroup.procs"
  echo "$pid $(starttime "$pid")" >"$H/init.new"; mv "$H/init.new" "$H/init"
  exec unshare --cgroup bash "$SELF" __boot "$NAME"
}
v_boot() {
  need "$1"; local d=$H/root n
  mount --make-rprivate /
  cd "$d"
  mount -t sysfs -o ro,nosuid,noexec,nodev sysfs sys
  mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=755,nosuid,size=4m dev dev
  for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${n%:*}" c 1 "${n#*:}"; done
  mknod -m 666 dev/tty c 5 0
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
  mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
  ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
  for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "dev/${n#*:}"; done
  touch dev/console; mount --bind dev/null dev/console
  mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
  mount -t proc -o nosuid,noexec,nodev proc proc
  mount --bind proc/sys proc/sys; mount --bind proc/sys/net proc/sys/net # a host sets its own net.* and nothing else
  mount -o remount,bind,ro proc/sys
  [ ! -e proc/sysrq-trigger ] || mount --bind dev/null proc/sysrq-trigger
  mkdir run/.old; pivot_root . run/.old; cd /
  umount -l /run/.old; rmdir /run/.old
  exec env -i container=host PATH="$PATH" setpriv --bounding-set="$CAPS" /lib/systemd/systemd --system
}
inside() { # inside PID CMD...: become CMD in the running host
  local pid=$1; shift
  exec nsenter -t "$pid" -m -u -i -n -p -C env -i PATH="$PATH" HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 \
    TERM="${TERM:-dumb}" sh -c 'cd; { mkdir -p /sys/fs/cgroup/exec && echo 0 >/sys/fs/cgroup/exec/cgroup.procs; } 2>/dev/null; c=$1; shift; exec setpriv --bounding-set="$c" "$@"' sh "$CAPS" "$@"
}
booted() { running || return 0; [ -S "/proc/$PID/root/run/systemd/private" ]; }

# ---- verbs ----
take_ip() {
  local n used; used=" $(cat "$STATE"/hosts/*/ip 2>/dev/null | tr '\n' ' ')"
  for n in $(seq 2 254); do [[ $used == *" $NET.$n "* ]] || { echo "$NET.$n" >"$H/ip"; return; }; done
  die "no address left in $NET.0/24"
}
v_create() {
  usehost "${1:-}"; mkdir -p "$STATE"; tools; lock "$NAME"
  [ ! -f "$H/ready" ] || { disk_up; say "$NAME exists at $(<"$H/ip")"; return; }
  [[ $DISK =~ ^(image|dir)$ ]] || die "HOST_DISK is image or dir, not '$DISK'"
  global bridge_up; global build_base
  local half=; [ ! -d "$H" ] || half=1
  [ -z "$half" ] || { disk_down; rm -rf --one-file-system "$H"; } # a create that was cut short
  [ -z "$LAYER" ] || [ -d "$LAYER" ] || die "HOST_LAYER is no folder: '$LAYER'"
  mkdir -p "$H"; echo "${LAYER:+$LAYER:}$(basedir)" >"$H/base"
  global take_ip
  [ "$DISK" = dir ] || { truncate -s "$SIZE" "$H/disk.img"; mkfs.ext4 -q -F -m 0 -i 32768 -J size=16 -E nodiscard,lazy_itable_init=1,lazy_journal_init=1 "$H/disk.img"; }
  disk_up
  echo "$NAME" >"$H/root/etc/hostname"
  printf '127.0.0.1 localhost\n%s %s\n%s outer\n' "$(<"$H/ip")" "$NAME" "$GATEWAY" >"$H/root/etc/hosts"
  tr -d - </proc/sys/kernel/random/uuid >"$H/root/etc/machine-id"
  if [ -x "$H/root/usr/sbin/sshd" ]; then # HOST_PKGS=openssh-server: host keys of its own
    rm -f "$H"/root/etc/ssh/ssh_host_*; chroot "$H/root" ssh-keygen -A >/dev/null
  fi
  sync -f "$H/disk"; touch "$H/ready"
  say "$NAME created at $(<"$H/ip")"
}
v_start() {
  need "${1:-}"; tools; lock "$NAME"
  ! running || { say "$NAME already runs at $IP"; return; }
  retry 5 gone supervisor || die "$NAME is still going down (process $PID)"
  rm -f "$H/init" "$H/supervisor"
  disk_up; global bridge_up; net_up; retry 5 cg_down || die "$CG still holds processes"; cg_up
  setsid bash "$SELF" __supervise "$NAME" </dev/null >>"$H/console.log" 2>&1 9>&- &
  disown
  retry 10 test -s "$H/init" || die "$NAME did not come up; see $H/console.log: $(tail -3 "$H/console.log")"
  retry 30 booted || die "$NAME: systemd does not answer after 30 s; see $H/console.log"
  running || die "$NAME ended while it booted; see $H/console.log: $(tail -3 "$H/console.log")"
  local s; s=$(inside "$PID" timeout 120 systemctl is-system-running --wait) || true
  case $s in
    running) say "$NAME runs at $IP" ;;
    degraded) say "$NAME runs at $IP, with failed units: $(inside "$PID" systemctl list-units --failed --plain --no-legend --no-pager | cut -d' ' -f1 | tr '\n' ' ')" ;;
    *) die "$NAME is '${s:-silent}' after 120 s" ;;
  esac
}
v_stop() {
  need "${1:-}"; lock "$NAME"
  if running; then
    kill -s RTMIN+4 "$PID" # systemd: power off
    retry 100 gone init || { echo "host.sh: $NAME did not power off in 100 s, killing it" >&2; kill -9 "$PID"; retry 5 gone init; }
  fi
  retry 5 gone supervisor || kill -9 -- "-$PID"
  after_death; sync -f "$H/disk"
  say "$NAME is off"
}
after_death() {
  net_down; retry 5 cg_down || die "$CG still holds processes: $(cat "$CG"/cgroup.procs "$CG"/*/cgroup.procs 2>/dev/null | tr '\n' ' ')"
  rm -f "$H/init" "$H/supervisor"
}
frozen() { grep -q '^frozen 1' "$CG/cgroup.events"; }
power_cut() {
  if running || alive supervisor; then
    cg_up; echo 1 >"$CG/cgroup.freeze"; retry 1 frozen || true
    [ ! -d "/sys/class/net/$VETH" ] || ip link del "$VETH"
    disk_cut
    ! alive supervisor || kill -9 -- "-$PID" # its process group: the supervisor, nsenter, unshare
    ! running || kill -9 "$PID"
    retry 10 gone init || die "$NAME: process $PID does not die"
    retry 5 gone supervisor || die "$NAME: process $PID does not die"
  fi
  after_death
}
v_kill() {
  need "${1:-}"; lock "$NAME"
  power_cut; disk_up
  say "$NAME is dead"
}
v_exec() {
  need "${1:-}"; shift; [ $# -gt 0 ] || die "exec NAME CMD..."
  running || die "$NAME is not running"
  inside "$PID" "$@"
}
bridge_down() {
  rmdir "$STATE/hosts" 2>/dev/null || [ ! -d "$STATE/hosts" ] || return 0 # hosts are left
  [ ! -d "/sys/class/net/$BRIDGE" ] || ip link del "$BRIDGE"
  local c; c=$(cgroot); [ ! -d "$c/$TAG" ] || rmdir "$c/$TAG"
  [ "$c" != "$STATE/cgroup2" ] || ! mounted "$c" || umount "$c"
}
v_destroy() {
  usehost "${1:-}"; lock "$NAME"
  if [ -d "$H" ]; then
    if [ -f "$H/ip" ]; then IP=$(<"$H/ip") VETH=$TAG-${IP##*.}; power_cut; fi
    disk_down; rm -rf --one-file-system "$H"
  fi
  rm -f "$STATE/.lock-$NAME"; global bridge_down
  say "$NAME is gone"
}
v_list() {
  local h s
  for h in "$STATE"/hosts/*/; do
    [ -f "$h/ready" ] || continue
    need "$(basename "$h")"; s=off; ! running || s=on
    printf '%-16s %-14s %-4s %s\n' "$NAME" "$IP" "$s" "$(du -sh --apparent-size "$H/disk/up" | cut -f1)"
  done
}
v_clean() {
  local h
  for h in "$STATE"/hosts/*/; do [ ! -d "$h" ] || bash "$SELF" destroy "$(basename "$h")"; done
  [ ! -d "$STATE/hosts" ] || die "hosts are left under $STATE/hosts"
  rm -rf --one-file-system "$STATE"; say "nothing is left"
}

case ${1:-} in
  create | start | stop | kill | exec | destroy | list | clean) v=$1; shift; "v_$v" "$@" ;;
  ip) need "${2:-}"; echo "$IP" ;;
  root) need "${2:-}"; echo "$H/root" ;;
  base) mkdir -p "$STATE"; tools; global build_base; say "$(basedir)" ;;
  __supervise | __enter | __boot) v=${1#__}; shift; "v_$v" "$@" ;;
  *) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$SELF" >&2; exit 125 ;;
esac
