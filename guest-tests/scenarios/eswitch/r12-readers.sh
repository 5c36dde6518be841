#!/bin/sh
# shows: representors go and come while rules and events ask which there are, without a lock; and one stands half loaded meanwhile (R12, R13)
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

# Whoever asks: a rule that redirects to the uplink looks for that (kernels with CONFIG_MLX5_CLS_ACT), and RDMA's driver looks for
# ports when a network device changes.
ask() {
	turn=0
	while [ -e /run/asking ]; do
		turn=$((turn + 1))
		up=$(uplink "$pf0") rep0=$(rep "$pf0" 0) || continue
		ip link set "$up" mtu $((1400 + turn % 2))
		ip link set "$rep0" up && ip link set "$rep0" mtu $((1400 + turn % 2)) && try changed true
		takes_rules "$rep0" && rule "$rep0" 1 ip action mirred egress redirect dev "$up" && try ruled true
	done >/run/asked.said 2>&1
}
rm -f /run/raced.*
touch /run/asking
ask &
asker=$!
for round in 1 2 3 4 5 6 7 8 9 10; do
	try gone numvfs "$pf0" 0
	try back numvfs "$pf0" "$total"
	until_true 30 reps "$pf0" "$total"
done 2>/run/raced.said
rm /run/asking
wait $asker
for what in gone back; do
	same "all ten times the VFs have $what" 10 "$(busybox grep -c yes /run/raced.$what)"
done
check "representors were changed meanwhile ($(busybox grep -c yes /run/raced.changed))" grep -q yes /run/raced.changed
[ ! -e /run/raced.ruled ] || say "$(busybox grep -c yes /run/raced.ruled) rules came meanwhile"
ip link set "$(uplink "$pf0")" mtu 1500
works_after_races

# The second of them is being loaded, and stands in a firmware command, while others are asked for.
check "the driver loads again" load
all_vfs
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "RDMA's driver comes" with_rdma
check "all are there" until_true 30 ib_reps "$pf0" "$total"
check "the VFs go" numvfs "$pf0" 0
check "a command is held" fault "slow: cmd op=CREATE_TIR fn=pf0 nth=2 => hold"
numvfs "$pf0" "$total" &
coming=$!
check "a representor is being loaded" held slow
check "who asks RDMA's driver is answered" timeout 20 rdma link show
rmmod mlx5_ib &
going=$!
sleep 1
check "the command is answered" release slow
no_faults
wait $coming
point $? "the VFs have come"
wait $going
point $? "and RDMA's driver has gone meanwhile"
works_after_races
check_dmesg
finish
