#!/bin/sh
# shows: pages asked for a VF before its vport is known to the driver: they count as nobody's when they are given, and when they go back
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: counters by type that are looked up anew at the reclaim: fw_pages_vfs falls below 0 (4294967…), sriov_numvfs=0 waits two minutes
#   ("aborting while there are … pending pages"), "VFs FW pages counter is …" at the unload. The first version of the series did that.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
asked_for pf0vf0 40
same "they are nobody's: the driver does not know the id yet" 0 "$(vf_pages)"
agree "though the VF is not there" 40
vfs_up 1
check "pages that come now are the VF's" test "$(vf_pages)" -gt 0
agree "with the VF" 40
# In the order of the firmware: some of either kind.
asked_for pf0vf0 -40
check "the VF's counter has not fallen below 0 ($(vf_pages))" test "$(vf_pages)" -le 64
vfs_down
same "all pages but the PF's own are back" "$own" "$(total)"
agree "without the VF"
leave
check "the driver loads again" load
check_dmesg
finish
