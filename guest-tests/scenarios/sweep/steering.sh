#!/bin/sh
# shows: the first flow table of a probe cannot be created, or not be made the root: the probe fails without a splat, and the next one works
# tier: full
# timeout: 300
# vms: a b
# broken: (Linux 7.2 and before) mlx5_fs_core_init() undoes by mlx5_fs_core_cleanup(), which destroys two xarrays that are initialised last: lockdep comes
#   upon a lock without a key, says so and switches itself off
# Found by sweep/sf. It happens in a machine of its own, since lockdep finds nothing afterwards.
. "${0%/*}/../lib/tap.sh"

check "the driver unloads in the second machine" vm b unload
for opcode in CREATE_FLOW_TABLE SET_FLOW_TABLE_ROOT; do
	check "$opcode will fail" fault "x: cmd op=$opcode fn=pf1 nth=1 => status=INTERNAL"
	vm b modprobe mlx5_core
	check "the fault has been met" held x
	vm b dmesg >/run/said
	check "the probe has failed" grep -q 'Failed to init flow steering' /run/said
	todo "xarrays are destroyed that are not initialised yet" \
		same "no splat ($opcode)" "" "$(grep -E 'INFO: trying|BUG: |WARNING: ' /run/said)"
	no_faults
	check "the driver unloads" vm b unload
	check "and loads again" vm b load
	b_anew
done
check_dmesg
finish
