#!/bin/sh
# shows: hosts with pages of 64 KiB: firmware pages that share one of them, given before and after the driver knows their function
# tier: full
# needs: kernel >= 7.2
# card: vfs = 1
# timeout: 180
# broken: counters by type that follow each firmware page where the driver keeps one type for the whole host page
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

[ "$(getconf PAGESIZE)" -gt 4096 ] || skip_all "this machine's pages have 4 KiB: it takes arm64 or ppc64 with 64 KiB"
begin vhca_id
asked_for pf0vf0 3
vfs_up 1
asked_for pf0vf0 20
check "the VF's counter is the firmware's, but for what shares pages with earlier ones" test "$(vf_pages)" -le "$(book by_type/vf/held)"
vfs_down
leave
check "the driver loads again" load
check_dmesg
finish
