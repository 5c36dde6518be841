#!/bin/sh
# shows: RDMA's driver goes and comes with VFs and an SF there: each time every representor has its port; SFs that come and go while it is there get and lose theirs (R2)
# tier: full
# needs: CONFIG_MLX5_SF, kernel >= 7.2
# card: vfs = 2
# card: sfs = 4
# timeout: 400
# broken: lost IB representors, an SF that cannot be added while RDMA's driver is there
. "${0%/*}/../lib/reps.sh"

begin_reps
with_sfs 2
check "RDMA's driver comes" with_rdma
all_vfs
into_switchdev
check "an SF comes" sf_up "$pf0" 88 02:00:00:00:88:88
# all_have SFNUM…: the uplink, each VF and these SFs.
all_have() {
	devices="$(uplink "$pf0") $(reps "$pf0" "$total")"
	for sfnum in "$@"; do
		devices="$devices $(sf_rep "$pf0" "$sfnum")"
	done
	ib_has "$pf0" $devices
}
check "the uplink, each VF and the SF have a port of its IB device" until_true 30 all_have 88
for round in 1 2 3; do
	check "RDMA's driver goes ($round)" without_rdma
	check "it comes again ($round)" with_rdma
	check "each has its port again ($round)" until_true 30 all_have 88
done
check "a second SF comes" sf_up "$pf0" 89 02:00:00:00:88:89
check "it has a port, too" until_true 30 all_have 88 89
sf_ib() {
	[ -n "$(ls "/sys/bus/auxiliary/devices/$(sf_device "$1")/infiniband" 2>/dev/null)" ]
}
check "it is begun for RDMA, too" sf_begin 89 enable_eth enable_rdma
check "it has an IB device of its own" until_true 30 sf_ib 89
check "the first one goes" sf_del "$pf0" 88
check "its port goes with it" until_true 30 all_have 89
check "the second one goes" sf_del "$pf0" 89
check "and its port" until_true 30 all_have
end_reps
