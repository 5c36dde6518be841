#!/bin/sh
# shows: RDMA's driver is there before the e-switch changes to switchdev, and comes and goes afterwards, with VFs that come and go: its representors are there each time
# tier: full
# card: vfs = 2
# timeout: 240
# broken: an IB device without the representors, a representor's network device that goes with RDMA's driver
. "${0%/*}/../lib/reps.sh"

begin_reps
check "RDMA's driver comes" with_rdma
all_vfs
into_switchdev
check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
for round in 1 2 3; do
	check "RDMA's driver goes ($round)" without_rdma
	check "the representors stay ($round)" reps "$pf0" "$total"
	check "it comes again ($round)" with_rdma
	todo_before 7.2 "RDMA's representors do not come late" \
		check "each has its port again ($round)" until_true 30 ib_reps "$pf0" "$total"
done
check "the VFs go" numvfs "$pf0" 0
todo_before 7.2 "RDMA's representors do not come late" \
	check "the uplink keeps its port" until_true 30 ib_reps "$pf0" 0
todo_before 7.2 "without RDMA's representor of the uplink a VF's cannot be loaded, and the VF does not come" \
	check "one VF comes" numvfs "$pf0" 1
todo_before 7.2 "RDMA's representors do not come late" \
	check "it has a port of the IB device" until_true 30 ib_reps "$pf0" 1
check "the VF goes" numvfs "$pf0" 0
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
check "the IB device is the port's own" until_true 30 ib_device "$pf0"
check_dmesg
finish
