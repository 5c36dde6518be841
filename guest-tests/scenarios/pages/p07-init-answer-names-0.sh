#!/bin/sh
# shows: firmware that answers QUERY_PAGES (init) with function_id 0 in VHCA mode: the driver keeps a second root under key 0
# tier: full
# needs: kernel >= 7.2
# fresh
# card: ports = 1
# card: firmware.slips.init_id = 0
# timeout: 180
# broken: Linux 7.2 gives the init pages by id 0 as it was told; at the unload it asks for them by id 0, which firmware that works by VHCA
#   ids refuses: 320 pages leak, and the counter WARNs; which pages the function returns before is its affair: "page not found". A
#   slip that no firmware is known to make.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
agree "after probe"
same "init pages are given by the id that the firmware said" 320 \
	"$(wire 'select(.op == "MANAGE_PAGES" and .id == 0) | .count' | tail -n 1)"
remember_commands
check "the driver unloads" unload
tolerate 'MANAGE_PAGES\(0x108\)' 'failed reclaiming pages: err -22' 'reclaim_pages err \(-22\) func_vhca_id=0x0' \
	'FW pages counter is 320 after reclaiming all pages' 'page not found' 'WARNING: .*pagealloc'
todo "Linux 7.2 believes the answer" \
	same "at the unload no id is named that the firmware does not know" 1 "$(wire_ids .)"
same "the card has returned all pages" 0 "$(card pf0/pages/forgotten)"
todo "Linux 7.2 leaks the pages under the other key" \
	same "the driver has found each of them" "" "$(dmesg | grep -o 'FW pages counter is .*')"
restart
pages_leak
check_dmesg
finish
