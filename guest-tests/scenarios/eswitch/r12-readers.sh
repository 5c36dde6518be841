#!/bin/sh
# shows: representors' network devices go and come (their driver is unbound and bound) while rules and events ask which there are, without a lock (R12, R13)
# tier: full
# card: vfs = 2
# timeout: 600
# broken: a crash of who asks for a representor that is half loaded or half gone, a lock that is never given back
. "${0%/*}/../lib/reps.sh"
. "${0%/*}/../lib/tc.sh"

can_ask || skip_all "the card can't be asked"
begin_reps
races_messages
all_vfs
into_switchdev
check "RDMA's driver comes" with_rdma
check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"

driver=/sys/bus/auxiliary/drivers/mlx5_core.eth-rep
name=$(ls "/sys/bus/pci/devices/$pf0" | grep '^mlx5_core.eth-rep')
unbind() {
	echo "$name" >$driver/unbind
}
bind() {
	echo "$name" >$driver/bind
}

# Whoever asks: a rule that redirects to the uplink looks for that, and RDMA's driver looks for ports when a network device changes.
ask() {
	while [ -e /run/asking ]; do
		up=$(uplink "$pf0") rep0=$(rep "$pf0" 0) || continue
		ip link set "$rep0" up && ip link set "$rep0" mtu $((1400 + turn % 2)) && try changed true
		turn=$((turn + 1))
		takes_rules "$rep0" && rule "$rep0" 1 ip action mirred egress redirect dev "$up" && try ruled true
	done >/run/asked.said 2>&1
}
for n in 1 2 3; do
	touch /run/asking
	turn=0
	ask &
	asker=$!
	for round in 1 2 3 4 5 6 7 8 9 10; do
		try gone unbind
		try back bind
	done 2>/run/bound.said
	rm /run/asking
	wait $asker
done
for what in gone back; do
	same "all thirty have $what" 30 "$(busybox grep -c yes /run/raced.$what)"
done
check "representors were changed meanwhile ($(busybox grep -c yes /run/raced.changed))" grep -q yes /run/raced.changed
say "rules came meanwhile: $(busybox grep -c yes /run/raced.ruled 2>/dev/null)"
works_after_races

# One is loaded, and stands in a firmware command, while others are asked for.
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
all_vfs
check "RDMA's driver comes" with_rdma
check "all are there" until_true 30 ib_reps "$pf0" "$total"
check "a driver goes" unbind
check "a command is held" fault "slow: cmd op=CREATE_SQ fn=pf0 nth=3 => hold"
bind &
binding=$!
check "a representor is being loaded" held slow
check "who asks is answered" timeout 20 sh -c 'rdma link show && devlink dev show'
rmmod mlx5_ib &
going=$!
sleep 1
check "the command is answered" release slow
no_faults
wait $binding
point $? "the driver is bound"
wait $going
point $? "and RDMA's driver has gone meanwhile"
works_after_races
check_dmesg
finish
