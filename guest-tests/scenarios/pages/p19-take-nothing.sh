#!/bin/sh
# shows: firmware that gives nothing back: the driver gives up after its time and says what is missing
# tier: full
# fresh
# card: ports = 1
# card: firmware.take_at_most = 0
# timeout: 180
# broken: an unload that never ends
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin any
agree "after probe"
tolerate 'WARNING: .*pagealloc'
expect 'FW did not return all pages. giving up\.\.\.' 'FW pages counter is [0-9]+ after reclaiming all pages'
forgotten=$(card pf0/pages/forgotten)
check "the driver unloads" unload
same "the card forgets with the function what it never gave back" "$own" $(($(card pf0/pages/forgotten) - forgotten))
same "and has no page now" 0 "$(card pf0/pages/total)"
pages_leak "$own"
check_dmesg
finish
