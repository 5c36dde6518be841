#!/bin/sh
# shows: each firmware command of 'sriov_numvfs', of the PF and of the VF that comes, fails in turn: no splat, no page of the VF lost, and the next time it comes
# tier: full
# card: vfs = 1
# timeout: 7200
# broken: an oops in an error path, pages of a VF that nobody takes back, SR-IOV that can't be enabled any more
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
set -- $(functions)
vfs=/sys/bus/pci/devices/$1/sriov_numvfs
[ -w "$vfs" ] || skip_all "the kernel has no SR-IOV"
except_steering pf0vf0
# The VF's probe is as the PF's.
known 'QUERY_HCA_CAP of pf0vf0.*pagealloc.c' 'after INIT_HCA the error path reclaims pages without TEARDOWN_HCA'
tolerate 'FW pages counter is [0-9]+ after reclaiming all pages'
# A VF that could not be enabled never says that its firmware is ready: its driver waits for that, for two minutes that no card can
# shorten.
limit=240
sweep "'sriov_numvfs'" "echo 0 >$vfs" sh -c "echo 1 >$vfs"
check "a VF comes" sh -c "echo 1 >$vfs"
check "it has a network device" until_true 60 netdev "$(readlink -f "/sys/bus/pci/devices/$1/virtfn0" | sed 's/.*\///')"
check "it goes" sh -c "echo 0 >$vfs"
check_dmesg
finish
