#!/bin/sh
# shows: the uplink's IB device cannot be made when RDMA's driver comes late: nothing else is undone, and the next time it comes (R9)
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 300
# broken: an uplink without its network device, representors that go, an IB device that never comes again
. "${0%/*}/../lib/reps.sh"

can_ask || skip_all "the card can't be asked"
begin_reps
without_rdma
all_vfs
into_switchdev
before="$(uplink "$pf0") $(reps "$pf0" "$total")"
tolerate 'mlx5_cmd_out_err:[0-9]+:\(pid [0-9]+\): ALLOC_PD\(0x800\)' 'infiniband mlx5_[0-9]+: .*([Cc]ouldn.t|[Ff]ailed)' 'mlx5_ib_add: probing of vport'
check "the firmware will refuse a protection domain" fault "pd: cmd op=ALLOC_PD fn=pf0 => status=NO_RESOURCES"
check "RDMA's driver comes" with_rdma
check "that was refused" held pd
sleep 3
check "there is no IB device" not ib_device "$pf0"
same "all network devices are there" "$before" "$(uplink "$pf0") $(reps "$pf0" "$total")"
no_faults
check "RDMA's driver goes" without_rdma
check "and comes again" with_rdma
check "the uplink and each VF have a port of its IB device" until_true 30 ib_reps "$pf0" "$total"
end_reps
