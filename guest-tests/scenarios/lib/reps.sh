# For scenarios of the lives of representors, with all that they stand on.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/sfs.sh"
. "${0%/*}/../lib/rdma.sh"

# begin_reps: the driver is there; sets what with_vfs does.
begin_reps() {
	load
	with_vfs 2
	switchdev_messages
}

# all_vfs: all VFs of pf0, with their drivers.
all_vfs() {
	check "$total VFs come" numvfs "$pf0" "$total"
	until_true 60 vfs_are_there "$pf0" "$total"
}

# into_switchdev: each VF that is there has a representor then.
into_switchdev() {
	check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
	check "each VF has a representor" until_true 30 reps "$pf0" "$total"
}

# end_reps: all is as it was at first, the driver too.
end_reps() {
	check "RDMA's driver goes in the end" without_rdma
	check "the e-switch changes back to legacy" eswitch "$pf0" legacy
	check "the VFs go" numvfs "$pf0" 0
	check "the driver unloads" unload
	check_dmesg
	finish
}
