#!/bin/sh
# shows: firmware that answers QUERY_PAGES (boot) with the function's own VHCA id: nothing is under key 0, and by luck all is right
# tier: full
# needs: kernel >= 7.2
# card: ports = 1
# card: firmware.slips.boot_id = 1
# timeout: 180
# broken: a second root under the same key, pages left behind
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
agree "after probe"
same "boot pages were given by the own VHCA id" 1 "$(wire_ids 'select(.op == "MANAGE_PAGES")')"
asked_for pf0 50
asked_for pf0 -50
leave
check "the driver loads again" load
check_dmesg
finish
