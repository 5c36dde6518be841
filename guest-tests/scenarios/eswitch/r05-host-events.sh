#!/bin/sh
# shows: a host's VFs come and go by events while the e-switch changes modes or its driver is taken away: nobody waits for the work that the events left
# tier: full
# needs: kernel >= 7.2
# card: embedded_cpu = true
# card: vfs = 4
# timeout: 600
# leaves: 1 modify header
# broken: a hung task (the queue of work is destroyed while its worker waits for devlink's lock), work of the last mode done in the next
. "${0%/*}/../lib/ecpf.sh"

begin_ecpf 10

# back_at_once WHEN COMMAND…: after events it takes seconds, not more, and nothing of the host is left.
back_at_once() {
	when=$1
	shift
	before=$(uptime_seconds)
	check "$when" "$@"
	took=$(($(uptime_seconds) - before))
	check "within seconds ($took): $when" test $took -lt $((30 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
}

events() {
	host_vfs 4 && host_vfs 0 && host_vfs 4
}

unbound() {
	echo "$pf0" >"/sys/bus/pci/drivers/mlx5_core/$1"
}

for round in 1 2 3; do
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	check "VFs come, go and come ($round)" events
	back_at_once "the e-switch changes back at once ($round)" eswitch "$pf0" legacy
	same "in legacy mode there is no port of a host ($round)" "0 0" "$(host_ports pcipf 0 && host_ports pcivf 0 && echo 0 0)"
	check "all pages but its own are back ($round)" until_true 20 is_total "$own"

	check "the e-switch changes to switchdev again ($round)" eswitch "$pf0" switchdev
	check "what the driver asks of the host's functions is slow ($round)" fault "slow: cmd op=QUERY_ESW_FUNCTIONS fn=pf0 => delay=2s times=all"
	check "VFs come, go and come once more ($round)" events
	back_at_once "the e-switch changes back while the first event is worked on ($round)" eswitch "$pf0" legacy
	no_faults
	check "all pages but its own are back then ($round)" until_true 20 is_total "$own"

	check "the e-switch is in switchdev mode ($round)" eswitch "$pf0" switchdev
	check "VFs come, go and come for the last time ($round)" events
	back_at_once "the driver is taken away at once ($round)" unbound unbind
	check "and comes back ($round)" unbound bind
	until_true 60 netdev "$pf0"
done
check "in the end the host's VFs come as ever" eswitch "$pf0" switchdev
check "four of them" host_vfs 4
check "with representors" until_true 30 has_host 4
check "the driver unloads" unload
check_dmesg
finish
