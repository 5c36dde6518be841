#!/bin/sh
# shows: firmware that wants no boot pages: there is nothing to rename when VHCA ids are chosen
# tier: full
# needs: kernel >= 7.2
# card: vfs = 1
# card: firmware.pages = { boot = 0, init = 320, event = 128 }
# timeout: 180
# broken: a failure in mlx5_pagealloc_migrate_pf_to_vhca_id, so that probe fails
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
agree "after probe"
same "no page was given before the mode was chosen" "" "$(wire 'select(.op == "MANAGE_PAGES" and .id == 0)')"
vfs_up 1
agree "with a VF"
vfs_down
leave
check "the driver loads again" load
check_dmesg
finish
