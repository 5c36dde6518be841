#!/bin/sh
# shows: each firmware command of a change back from switchdev to legacy mode fails in turn: no splat, and the next change works
# tier: full
# card: vfs = 1
# timeout: 7200
# broken: an oops in an error path, an e-switch whose mode cannot be changed any more
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"
. "${0%/*}/../lib/eswitch.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
set -- $(functions)
pf0=$1
[ -w "/sys/bus/pci/devices/$pf0/sriov_numvfs" ] || skip_all "the kernel has no SR-IOV"
echo 0 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
check "a VF comes, without its driver" sh -c "echo 1 >/sys/bus/pci/devices/$pf0/sriov_numvfs"
switchdev_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
limit=120
sweep "'legacy'" "devlink dev eswitch show pci/$pf0 | grep -q 'mode switchdev' || devlink dev eswitch set pci/$pf0 mode switchdev" \
	devlink dev eswitch set "pci/$pf0" mode legacy
check_dmesg
finish
