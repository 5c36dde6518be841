#!/bin/sh
# shows: VHCA ids on functions that manage no vports (VFs): no counters by type, and no word about them at the unload
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: WARNs of counters by type on a function that has none
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 2
vf=$(readlink -f "/sys/bus/pci/devices/$pf0/virtfn0")
vf=${vf##*/}
same "the VF's driver names pages by VHCA id, too" '"vhca_id"' "$(card pf0vf0/pages/mode)"
same "it has given none" 0 "$(counter fw_pages_total "$vf")"
check "it has no counter by type" test ! -e "/sys/kernel/debug/mlx5/$vf/pages/fw_pages_vfs"
check "the PF has" test -e "/sys/kernel/debug/mlx5/$pf0/pages/fw_pages_vfs"
check "the VF's driver goes" sh -c "echo $vf >/sys/bus/pci/devices/$vf/driver/unbind"
check "and comes" sh -c "echo $vf >/sys/bus/pci/drivers/mlx5_core/bind"
agree "after that"
vfs_down
leave
check "the driver loads again" load
check_dmesg
finish
