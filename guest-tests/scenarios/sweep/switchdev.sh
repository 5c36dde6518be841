#!/bin/sh
# shows: each firmware command of a change to switchdev mode fails in turn: the e-switch is legacy again or has changed, and the next change works
# tier: full
# card: vfs = 1
# timeout: 7200
# broken: an oops in an error path, rules that stay in the card, an e-switch whose mode cannot be changed any more
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"
. "${0%/*}/../lib/eswitch.sh"

with_lone_vf
switchdev_messages
known 'SET_FLOW_TABLE_ENTRY of pf0.*fs_core.c' 'a rule without a destination that cannot be set counts its destinations below zero'
tolerate 'WARNING: drivers/net/ethernet/mellanox/mlx5/core/fs_core.c:[0-9]+ at del_hw_fte'
known 'of pf0.*holds pf0: queue counter set [0-9]+ before, [0-9]+ now$' 'mlx5e_init_ul_rep_rx() keeps its queue counters when it fails'
sweep_mode switchdev legacy
check_dmesg
finish
