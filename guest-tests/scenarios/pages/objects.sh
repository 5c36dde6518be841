#!/bin/sh
# shows: firmware that needs more pages as the driver makes objects, and gives them back as they go, by itself
# tier: full
# card: ports = 1
# card: firmware.pages = { boot = 64, init = 320, event = 8 }
# timeout: 240
# broken: pages that are never given back, a driver that waits for them, "FW pages counter is …"
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin any
device=$(netdev "$pf0")
check "the interface comes up" ip link set "$device" up
agree "with the interface up"
up=$(total)
each_rule() {
	n=0
	while [ $n -lt 1000 ]; do
		"$@" || return 1
		n=$((n + 1))
	done
}
make() { ethtool -N "$device" flow-type udp4 dst-port $((1000 + n)) action 0 loc $n >/dev/null; }
drop() { ethtool -N "$device" delete $n; }
more() { [ "$(total)" -gt $((up + $1)) ]; }
fewer() { [ "$(total)" -le $((up + $1)) ]; }
check "a thousand rules are made" each_rule make
check "pages were asked for them (now $(total), before $up)" until_true 20 more 60
agree "with a thousand rules"
check "the rules go" each_rule drop
check "their pages went back (now $(total))" until_true 20 fewer 48
agree "without them"
check "the interface goes down" ip link set "$device" down
leave
check "the driver loads again" load
check_dmesg
finish
