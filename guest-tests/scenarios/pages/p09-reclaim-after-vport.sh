#!/bin/sh
# shows: pages of a VF that go back when its vport is forgotten already (the driver: DISABLE_HCA, then the vport, then it waits for pages)
# tier: ci
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 240
# broken: counters by type that are looked up anew at the reclaim: fw_pages_vfs never falls, sriov_numvfs=0 waits two minutes ("aborting
#   while there are … pending pages", "timeout reclaiming VFs pages"). The first version of the series did that.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 2
asked_for pf0vf0 200
agree "with VFs"
same "they are the VFs'" "$(book by_type/vf/held)" "$(vf_pages)"
# What the driver takes is held up until the vports are gone.
check "MANAGE_PAGES (take) is slow from now on" fault "late: cmd op=MANAGE_PAGES op_mod=2 fn=pf0 => delay=2s times=all"
vfs_down
check "the take was slow" test $took -ge 1
no_faults
same "all pages but the PF's own are back" "$own" "$(total)"
agree "without VFs"
leave
check "the driver loads again" load
check_dmesg
finish
