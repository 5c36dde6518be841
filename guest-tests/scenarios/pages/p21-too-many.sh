#!/bin/sh
# shows: firmware that asks for 0x20000001 pages at once
# tier: full
# needs: kernel >= 7.2, kasan
# fresh
# card: ports = 1
# append: panic_on_oops=1 kasan.fault=panic
# known-death: BUG: KASAN: slab-out-of-bounds in give_pages
# timeout: 180
# broken: Linux 7.2 computes the length of the command as an int: 16 + 0x20000001 * 8 wraps to 24 bytes, and give_pages writes behind
#   them. Found in the series' review and left to a hardening of its own. A kernel that is fixed refuses or splits the request, and lives.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
tolerate 'vzalloc failed' 'give fail -' 'failed to allocate page'
check "an event asks for 0x20000001 pages" inject pages pf0 536870913
sleep 20
check "the function works" ip link show dev "$(netdev "$pf0")"
agree "after that"
leave
check_dmesg
finish
