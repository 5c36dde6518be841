#!/bin/sh
# shows: ids that the driver has given nothing for offer pages, or give all up: it finds none, says so, and lives on
# tier: full
# needs: kernel >= 7.2
# fresh
# card: ports = 1
# timeout: 180
# broken: a crash; counters that move. Linux 7.2 WARNs once in release_all_pages or find_fw_page when the key has no root.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
check "an id that has nothing offers 10 pages" inject pages pf0/0x78 -10
agree "after an offer of nothing"
same "nothing has moved" "$own" "$(total)"
same "the driver asked for them" 10 "$(wire 'select(.id == 120) | .count')"
quiet
point $? "and has nothing to say of it"

tolerate 'page not found' 'WARNING: .*pagealloc'
check "the firmware will answer with a page that nobody gave" \
	fault "cmd op=MANAGE_PAGES op_mod=2 in.function_id=0x79 => out.output_num_entries=1"
check "it offers one" inject pages pf0/0x79 -1
expect 'page not found'
check "the driver does not find it" until_true 20 said 'page not found'
same "nothing has moved" "$own" "$(total)"
check "an id that has nothing gives all up" inject pages pf0/0x7a release-all
asked_for pf0 20
same "nothing else has moved" $((own + 20)) "$(total)"
agree "after all that"
no_faults
leave
check "the driver loads again" load
check_dmesg
finish
