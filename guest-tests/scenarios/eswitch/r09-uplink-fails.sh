#!/bin/sh
# shows: the uplink's IB device cannot be made when RDMA's driver comes late: nothing else is undone, and the next time it comes (R9)
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 300
# broken: an uplink without its network device, representors that go, an IB device that never comes again
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/rdma.sh"

can_ask || skip_all "the card can't be asked"
load
with_vfs 2
switchdev_messages
without_rdma
check "$total VFs come" numvfs "$pf0" "$total"
until_true 60 vfs_are_there "$pf0" "$total"
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "each VF has a representor" until_true 30 reps "$pf0" "$total"
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
check "RDMA's driver goes at last" without_rdma
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
check "the VFs go" numvfs "$pf0" 0
check "the driver unloads" unload
check_dmesg
finish
