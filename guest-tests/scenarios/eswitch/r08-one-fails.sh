#!/bin/sh
# shows: of RDMA's representors one cannot be loaded: the others are, all network devices stay, and the next time all come (R8)
# tier: full
# needs: module failfn, kernel >= 7.2
# card: vfs = 2
# timeout: 300
# broken: representors' network devices that go with it, a state that says loaded, no second attempt
. "${0%/*}/../lib/reps.sh"

begin_reps
check "RDMA's driver comes" with_rdma
all_vfs
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
before=$(reps "$pf0" "$total")

for device in /sys/bus/auxiliary/devices/mlx5_core.rdma-rep.*; do
	case $(readlink -f "$device") in */"$pf0"/*) reps_device=${device##*/} ;; esac
done
driver=/sys/bus/auxiliary/drivers/mlx5_ib.rep
check "its part for representors is taken away" sh -c "echo $reps_device >$driver/unbind"
check "no IB device is left" until_true 20 not ib_device "$pf0"
# The first is the uplink's.
check "the second representor will fail" modprobe failfn function=mlx5_ib_vport_rep_load nth=2 errno=12
check "it comes back" sh -c "echo $reps_device >$driver/bind"
check "the uplink and the other VF have a port" until_true 30 ib_has "$pf0" "$(uplink "$pf0")" "$(rep "$pf0" 1)"
same "one call has failed" 1 "$(cat /sys/module/failfn/parameters/failed)"
same "the network devices of all representors are there" "$before" "$(reps "$pf0" "$total")"
check "the fault is over" rmmod failfn
check "it is taken away again" sh -c "echo $reps_device >$driver/unbind"
check "and comes back" sh -c "echo $reps_device >$driver/bind"
check "now all have a port" until_true 30 ib_reps "$pf0" "$total"
end_reps
