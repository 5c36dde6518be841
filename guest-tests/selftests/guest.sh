#!/bin/sh
# Runs the kernel's own tests of network drivers in the guest: the first port is the device, the second one, in a network
# namespace, is the remote end.
#   guest.sh LIMIT TEST…     LIMIT in seconds; TEST as in tools/testing/selftests/drivers/net, without .py: ping, hw/csum;
#                            with :FLAG=on or :FLAG=off behind it, one of the driver's private flags is set before;
#                            what follows a space are arguments of the test
# For each test, what it prints goes to /results/TEST.tap (all but letters and digits in its name become -), its status and
# what the kernel complained of is added as lines "status: N", "dmesg: LINE".
. /scenarios/lib/tap.sh >/dev/null

limit=$1
shift
tar -xf /bundle/userland.tar -C / && mkdir -p /opt/kernel && tar -xf /bundle/tests.tar -C /opt/kernel || exit 2
export PATH=/usr/sbin:/usr/bin
mount -t bpf bpf /sys/fs/bpf

load && two_ports || { echo "the two ports do not come up" >&2; exit 2; }
# Tests set the link down and up, and expect that the addresses are still there.
echo 1 >"/proc/sys/net/ipv6/conf/$port0/keep_addr_on_down"
# Older tests do not switch it on themselves.
ethtool -K "$port0" ntuple on
export NETIF="$port0" LOCAL_V4=192.0.2.1 REMOTE_V4=192.0.2.2 LOCAL_V6=2001:db8::1 REMOTE_V6=2001:db8::2
export REMOTE_TYPE=netns REMOTE_ARGS=peer

# complaints: kernel messages that no test may cause.
complaints() {
	quiet | sed 's/^/dmesg: /'
}

cd /opt/kernel/tools/testing/selftests/drivers/net || exit 2
for spec in "$@"; do
	result=/results/$(echo "$spec" | tr -c 'a-z0-9_\n' -).tap
	dmesg -C
	echo "$spec" >&2
	arguments=
	case $spec in *" "*) arguments=${spec#* } ;; esac
	spec=${spec%% *}
	test=${spec%%:*}
	flag=${spec#"$test"}
	flag=${flag#:}
	[ -z "$flag" ] || ethtool --set-priv-flags "$port0" "${flag%=*}" "${flag#*=}" || exit 2
	started=$(uptime_seconds)
	# Arguments may be patterns: nothing is expanded but words.
	(cd "./${test%"${test##*/}"}" && set -f && timeout -k 10 "$limit" python3 "./${test##*/}.py" $arguments) >"$result" 2>&1
	echo "status: $?" >>"$result"
	echo "seconds: $(($(uptime_seconds) - started))" >>"$result"
	complaints >>"$result"
	# What a test left behind is put right for the next one.
	ip link set "$port0" mtu 1500 up
done
exit 0
