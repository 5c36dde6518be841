#!/bin/sh
# shows: a function whose own VHCA id is 0: the key of its boot pages is its key afterwards, too
# tier: full
# needs: kernel >= 7.2
# card: vfs = 1
# card: vhca_ids.pf0 = 0
# timeout: 180
# broken: "failed to migrate page root key" (-EBUSY), so that probe fails
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
same "the function's VHCA id is 0" 0 "$(card pf0/vhca_id)"
agree "after probe"
asked_for pf0 50
asked_for pf0 -50
vfs_up 1
agree "with a VF"
vfs_down
leave
same "no page command was refused" 0 "$(wire .status | sort -u)"
check "the driver loads again" load
check_dmesg
finish
