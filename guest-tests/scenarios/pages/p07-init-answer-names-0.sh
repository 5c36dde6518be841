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
pages_under_another_key 0x0 320 "Linux 7.2 believes the answer"
check_dmesg
finish
