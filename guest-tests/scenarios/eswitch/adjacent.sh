#!/bin/sh
# shows: functions of another PF that are delegated to the e-switch: vports are made for them in switchdev mode, with representors; they are connected while the e-switch is active, and what is asked for them is counted as VFs'
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# card: adjacent_vfs = 3
# timeout: 300
# broken: vports of others that stay, representors that do not come, pages in the counter of another kind of function
. "${0%/*}/../lib/reps.sh"
. "${0%/*}/../lib/pages.sh"

# adjacents COUNT: so many of them have a representor.
adjacents() {
	[ "$(for n in 0 1 2; do port_of "$pf0" pf7vf$n; done | grep -c .)" = "$1" ]
}

# connected: how many of them the card says are.
connected() {
	emu inspect --json eswitch | jq '[.pf0.vports[] | select((.function | startswith("pf0adj")) and .enabled)] | length'
}

# vports: how many of them have a vport.
vports() {
	emu inspect --json eswitch | jq '[.pf0.vports[] | select(.function | startswith("pf0adj"))] | length'
}

begin_reps
tolerate 'E-Switch: MPFS/FDB inactive$'
here
all_vfs
same "without switchdev mode none has a vport" 0 "$(vports)"
for round in 1 2; do
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	same "each has a vport ($round)" 3 "$(vports)"
	check "each has a representor ($round)" until_true 30 adjacents 3
	check "and so has each VF ($round)" until_true 30 reps "$pf0" "$total"
	same "they are connected ($round)" 3 "$(connected)"
	before=$(vf_pages "$pf0")
	asked_for "pf0/$(card pf0adj1/vhca_id)" 20
	same "what is asked for one is a VF's ($round)" $((before + 20)) "$(vf_pages "$pf0")"
	asked_for "pf0/$(card pf0adj1/vhca_id)" -20
	check "the e-switch becomes inactive ($round)" eswitch "$pf0" switchdev_inactive
	same "none of them is connected ($round)" 0 "$(connected)"
	check "it becomes active again ($round)" eswitch "$pf0" switchdev
	same "they are connected again ($round)" 3 "$(connected)"
	check "it changes back to legacy ($round)" eswitch "$pf0" legacy
	same "none has a vport then ($round)" 0 "$(vports)"
	check "there is no representor ($round)" adjacents 0
done
check "the e-switch changes to switchdev at last" eswitch "$pf0" switchdev
check "with all representors" until_true 30 adjacents 3
check "the VFs go" numvfs "$pf0" 0
check "those of the others stay" adjacents 3
check "the driver unloads with them" unload
check "and loads again" load
check_dmesg
finish
