#!/bin/sh
# shows: RDMA's driver comes in switchdev mode, and the work that would load its representors cannot be queued: it is registered without them, and has them the next time (R10)
# tier: full
# needs: module failfn, kernel >= 7.2
# card: vfs = 2
# timeout: 300
# broken: a probe that fails, a network device that goes with it, no second attempt
. "${0%/*}/../lib/reps.sh"

begin_reps
all_vfs
into_switchdev
before=$(reps "$pf0" "$total")
check "there is no memory for the work" modprobe failfn function=mlx5_esw_add_work errno=12
check "RDMA's driver comes" with_rdma
same "one call has failed" 1 "$(cat /sys/module/failfn/parameters/failed)"
sleep 3
check "none of its representors is there" no_ib "$pf0"
same "the network devices of all representors stay" "$before" "$(reps "$pf0" "$total")"
check "the fault is over" rmmod failfn
check "RDMA's driver goes" without_rdma
check "and comes" with_rdma
check "now the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
end_reps
