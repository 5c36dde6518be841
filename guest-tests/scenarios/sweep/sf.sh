#!/bin/sh
# shows: each firmware command of an SF that is added, activated, begun and deleted fails in turn, of the PF and of the SF: no splat, and the next SF works
# tier: full
# needs: CONFIG_MLX5_SF
# card: sfs = 2
# timeout: 7200
# broken: an oops in an error path, an SF that can never be had again
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/sfs.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
with_sfs 1
switchdev_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
cat >/run/sf <<-EOF
	. "${0%/*}/../lib/tap.sh"
	. "${0%/*}/../lib/eswitch.sh"
	. "${0%/*}/../lib/sfs.sh"
	soon=3
	sf_up $pf0 88 02:00:00:00:88:88
EOF
cat >/run/no-sf <<-EOF
	. "${0%/*}/../lib/tap.sh"
	. "${0%/*}/../lib/eswitch.sh"
	. "${0%/*}/../lib/sfs.sh"
	! sf_port $pf0 88 || sf_del $pf0 88
	until_true 30 not sf_device 88
EOF
# An SF that its driver could not disable is in use for good: no other driver can have it, nor can it be deleted.
except 'DISABLE_HCA of pf0sf.*'
# Of a state that could not be asked for, or whose next change could not be armed, the driver never hears again: the SF stays as it is.
except '(QUERY|MODIFY)_VHCA_STATE of pf0, .*'
except_steering pf0sf0
known 'SET_FLOW_TABLE_ENTRY of pf0.*fs_core.c' 'a rule without a destination that cannot be set counts its destinations below zero'
known 'of pf0sf0.*en_fs.c' 'mlx5e_del_vlan_rules() warns whenever mlx5e_init_nic_rx() fails after its flow tables'
tolerate 'WARNING: drivers/net/ethernet/mellanox/mlx5/core/(fs_core.c:[0-9]+ at del_hw_fte|en_fs.c:[0-9]+ at mlx5e_del_vlan_rules)'
limit=240
sweep "an SF" "sh /run/no-sf" sh /run/sf
check_dmesg
finish
