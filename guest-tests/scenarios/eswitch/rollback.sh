#!/bin/sh
# shows: the uplink's network device cannot become an ordinary one, so that it stays a representor as the e-switch changes to legacy mode
# tier: full
# fresh
# card: vfs = 1
# timeout: 240
# append: oops=panic slub_debug=FZPU
# known-death: RIP: 0010:mlx5e_
# broken: mlx5e_netdev_change_profile() goes back to the representor's profile, whose private part mlx5e_vport_rep_unload() frees all the same: the
#   device uses it from then on (mlx5e_is_uplink_rep() in mlx5e_set_rx_mode_work(), for one)
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"

can_ask || skip_all "the card can't be asked"
load
with_vfs 1
switchdev_messages
tolerate 'mlx5_cmd_out_err' 'mlx5e_rss_create_tir' 'mlx5e_init_nic_rx' 'new profile init failed' "Flow (group|table) [0-9]+ wasn't destroyed"
for round in 1 2 3; do
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	check "its network device will not become an ordinary one ($round)" fault "x: cmd op=CREATE_TIR fn=pf0 nth=1 => status=INTERNAL"
	eswitch "$pf0" legacy
	no_faults
	same "the mode is legacy ($round)" legacy "$(eswitch_mode "$pf0")"
	check "the device comes up all the same ($round)" ip link set "$(netdev "$pf0")" up
	sleep 1
	check "and goes down ($round)" ip link set "$(netdev "$pf0")" down
done
check "the driver unloads" unload
check "and loads" load
check_dmesg
finish
