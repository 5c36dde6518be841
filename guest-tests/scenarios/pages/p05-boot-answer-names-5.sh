#!/bin/sh
# shows: firmware that answers QUERY_PAGES (boot) with function_id 5: the driver keeps those pages under key 5 for ever
# tier: full
# needs: kernel >= 7.2
# fresh
# card: ports = 1
# card: firmware.slips.boot_id = 5
# timeout: 180
# broken: Linux 7.2 looks for boot pages under key 0 only, migrates nothing and says nothing; at the unload it asks for function 5, which
#   firmware that works by VHCA ids refuses: "reclaim_pages err (-22) func_vhca_id=0x5", 64 pages leak, and the counter WARNs. What it
#   got by the right id were any 64 pages of the function: those kept under key 5 are "page not found".
#   NVIDIA's firmware is said never to do that (the series' thread), so it is not fixed. The half with an embedded CPU (key 0x10005):
#   p05-embedded-cpu.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

boot_pages_under_5
check_dmesg
finish
