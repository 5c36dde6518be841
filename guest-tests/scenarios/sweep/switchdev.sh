#!/bin/sh
# shows: each firmware command of a change to switchdev mode fails in turn: the e-switch is legacy again or has changed, and the next change works
# tier: full
# card: vfs = 1
# timeout: 7200
# broken: an oops in an error path, rules that stay in the card, an e-switch whose mode cannot be changed any more
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"
. "${0%/*}/../lib/eswitch.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
set -- $(functions)
pf0=$1
[ -w "/sys/bus/pci/devices/$pf0/sriov_numvfs" ] || skip_all "the kernel has no SR-IOV"
# Its driver's commands are the PF's business only as far as they are about the VF.
echo 0 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
check "a VF comes, without its driver" sh -c "echo 1 >/sys/bus/pci/devices/$pf0/sriov_numvfs"
switchdev_messages
known 'SET_FLOW_TABLE_ENTRY of pf0.*fs_core.c' 'a rule without a destination that cannot be set counts its destinations below zero'
limit=120
sweep "'switchdev'" "devlink dev eswitch show pci/$pf0 | grep -q 'mode legacy' || devlink dev eswitch set pci/$pf0 mode legacy" \
	devlink dev eswitch set "pci/$pf0" mode switchdev
check_dmesg
finish
