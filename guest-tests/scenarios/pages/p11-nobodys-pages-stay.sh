#!/bin/sh
# shows: pages that are nobody's are not waited for when VFs go; the unload has them back
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: sriov_numvfs=0 that waits for them, "FW pages counter is …" at the unload
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 2
asked_for pf0/0x77 60
agree "with pages for an id that is no function's"
vfs_down
same "nobody's pages are still with the card" 60 "$(book by_type/none/held)"
same "and the driver counts them in all" $((own + 60)) "$(total)"
leave
same "the unload has taken them back by their id" 60 "$(card pf0/pages/by_id/119/returned)"
check "the driver loads again" load
check_dmesg
finish
