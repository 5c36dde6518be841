#!/bin/sh
# shows: the second flow group of an aRFS table fails at the probe: the driver must undo the first, and go on without aRFS or without a device
# tier: full
# timeout: 300
# vms: a b
# broken: (Linux 7.2 and before) arfs_create_groups() frees the table's list of groups and leaves the number of them; mlx5e_destroy_groups() reads the
#   list: a NULL pointer dereference with the devlink lock held, so that nothing can be done with the device until the machine is reset
# Found by sweep/probe. It happens in a machine of its own, since nothing can be unloaded there afterwards.
. "${0%/*}/../lib/tap.sh"

check "the driver unloads in the second machine" vm b unload
for number in 2 4 6 8; do
	check "flow group $number will fail" fault "x: cmd op=CREATE_FLOW_GROUP fn=pf1 nth=$number => status=INTERNAL"
	vm b sh -c 'setsid modprobe mlx5_core >/dev/null 2>&1 &'
	probed() { vm b sh -c '[ -d /sys/bus/pci/drivers/mlx5_core/*:*/net ] || dmesg | grep -Eq "BUG: |mlx5_core.eth.*failed"'; }
	check "the driver takes it up" until_true 60 probed
	check "the fault has been met" held x
	vm b dmesg >/run/said
	if grep -q 'mlx5e_arfs_create_tables' /run/said; then
		say "$(grep -E -A1 'BUG: |RIP: ' /run/said | head -n 6)"
	fi
	todo "mlx5e_destroy_groups() reads a list that is freed" same "no oops ($number)" "" "$(grep -E 'BUG: |Oops' /run/said)"
	no_faults
	b_anew
done
check_dmesg
finish
