#!/bin/sh
# shows: a PF that manages vports but not VHCA resources (vport_group_manager 1, vhca_resource_manager 0) knows its VFs by VHCA id
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: pages of VFs that count as nobody's: fw_pages_vfs stays 0
# The card never has vhca_resource_manager.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 2
check "pages of VFs are known as theirs ($(vf_pages))" test "$(vf_pages)" -gt 0
agree "with VFs"
vfs_down
leave
check "the driver loads again" load
check_dmesg
finish
