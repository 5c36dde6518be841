#!/bin/sh
# shows: RDMA's driver comes when the e-switch is in switchdev mode already: the IB device of the uplink comes, with a port for each representor
# tier: full
# card: vfs = 2
# timeout: 180
# broken: no IB device, or one without the representors: what Linux did before the representors' life cycle was put in order (7.2)
. "${0%/*}/../lib/reps.sh"

without_rdma
begin_reps
all_vfs
into_switchdev
check "RDMA's driver comes" with_rdma
todo_before 7.2 "RDMA's representors do not come late" \
	check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
check "RDMA's driver goes" without_rdma
check "the representors stay" reps "$pf0" "$total"
check "the VFs go" numvfs "$pf0" 0
check_dmesg
finish
