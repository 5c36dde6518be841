#!/bin/sh
# shows: firmware commands that fail at the probe leave no function half there, and the next probe works; a command that is held orders two actions; one that is late is waited for
# tier: full
# timeout: 180
# broken: a probe that ends in an oops, leaks pages or objects, or spoils the next one; commands of others that wait behind a held one
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

can_ask || skip_all "there is no port to the card"
ready
two_ports
point $? "both ports come up"
one_namespace

# fails_to_probe RULE: with the rule, pf0 gets no driver and pf1 does; without it, pf0 gets one.
fails_to_probe() {
	unload
	fault "$1" || return 1
	modprobe mlx5_core
	until_true 60 netdev "$pf1" || return 1
	until_true 60 acted || return 1
	! [ -e "/sys/bus/pci/devices/$pf0/driver" ]
}

acted() {
	emu fault list --json | jq -e '.[0].acted > 0 and .[0].held_count == 0'
}

binds() {
	echo "$pf0" >/sys/bus/pci/drivers/mlx5_core/bind && until_true 60 netdev "$pf0"
}

empty() {
	card pf0 | jq -e '([.objects | .. | numbers] | add // 0) == 0 and .pages.held == 0'
}

for rule in \
	'cmd op=ENABLE_HCA fn=pf0 => status=INTERNAL' \
	'cmd op=QUERY_HCA_CAP fn=pf0 => status=BAD_PARAM' \
	'cmd op=INIT_HCA fn=pf0 => status=NO_RESOURCES syndrome=PagesMissing' \
	'cmd op=CREATE_EQ fn=pf0 nth=2 => status=EXCEED_LIM'; do
	op=${rule#*op=} op=${op%% *}
	check "a failing $op ends the probe of pf0, and pf1 has a driver" fails_to_probe "$rule"
	check "nothing of pf0 is left in the card" empty
	check "the rule goes" no_faults
	check "pf0 can be probed then" binds
	expect "$op.*failed, status"
done
tolerate 'probe with driver mlx5_core failed' 'probe of [0-9a-f:.]* failed' 'mlx5_function_(open|enable|setup)' 'mlx5_(init_one|load|probe_one)'
for n in 0 1; do
	no_grace "$(eval echo "\$pf$n")"
done
check "the ports work again" again
one_namespace

# A queue of pf0 is made only when the script says so; pf1 does not wait for that.
port0=$(netdev "$pf0") port1=$(netdev "$pf1")
ip link set "$port0" down
fault 'x: cmd op=CREATE_SQ fn=pf0 => hold'
ip link set "$port0" up &
opening=$!
check "the command of pf0 is held" held x
same "the card says which" 1 "$(emu fault list --json | jq '[.[] | select(.name == "x") | .held[] | select(.function == "pf0" and (.what | startswith("CREATE_SQ in slot ")))] | length')"
check "commands of pf0's other users go on" ethtool -m "$port0"
check "pf1 is closed and opened meanwhile" sh -c "ip link set $port1 down && ip link set $port1 up"
check "pf0 waits" kill -0 $opening
check "it is released" release x
wait $opening
point $? "then pf0 opens"
no_faults

ip link set "$port0" down
fault 'cmd op=CREATE_SQ fn=pf0 => after delay=3s'
before=$(uptime_seconds)
check "a port opens though one of its commands is late" ip link set "$port0" up
check "it took as long as the command" test $(($(uptime_seconds) - before)) -ge 2
no_faults
check "the ports work" again
one_namespace
nothing_left
check_dmesg
finish
