#!/bin/sh
# shows: the answer to QUERY_PAGES for an embedded CPU's boot pages names function 5: they are kept under key 0x10005
# tier: full
# needs: kernel >= 7.2
# fresh
# card: ports = 1
# card: embedded_cpu = true
# card: firmware.slips.boot_id = 5
# timeout: 180
# broken: as p05-boot-answer-names-5. The WARN_ON_ONCE(!root) that the series' review foresaw for an embedded CPU, whose key is 0x10005 and is
#   looked for as 5, does not come: the key is looked for as it was kept.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

boot_pages_under_5
check_dmesg
finish
