#!/bin/sh
# shows: a VF whose PF's machine loses its power, and boots again: its driver notices and lives, and the VF can be used again
# tier: full
# timeout: 400
# card: vfs = 2
# card: [attach]
# card: pf0vf1 = "standalone"
# append: modprobe.blacklist=mlx5_core
# vms: a=pf0vf1 b=pf0,pf1
# broken: a VF's driver that crashes or gives up when its PF is gone, a VF that is not to be had again
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/reset.sh"

health_messages
recovery_messages
tolerate 'Waiting for FW pre-initializing, timeout abort in [0-9]+s'
# The PF's machine: both ports, VFs without drivers, one with an address.
check "the PF's machine makes VFs" vm b gives_vfs
check "the VF's driver finds it" one_port 10
check "it reaches its PF" until_true 20 ping -q -c 1 -W 1 192.0.2.1
check "with all echoes" all_echoes 5 ping -i 0.05 192.0.2.1
check "the PF's machine is killed" emu vm b kill
disabled() {
	[ "$(card pf0vf1/hca)" = '"disabled"' ]
}
check "the VF is reset" until_true 30 disabled
check "the PF's machine boots again" emu vm b start
check "it makes VFs" vm b gives_vfs
# Its driver has noticed, and waits for the firmware to be ready again: for up to two hours.
check "the VF's driver has it again" until_true 90 netdev "$(functions)"
check "as before" one_port 10
check "it reaches its PF again" until_true 20 ping -q -c 1 -W 1 192.0.2.1
check "with all echoes again" all_echoes 5 ping -i 0.05 192.0.2.1
check_dmesg
finish
