#!/bin/sh
# shows: events that offer 2^31 or 60000 pages are served 50000 at a time; events about no page are ignored
# tier: full
# needs: kernel >= 7.2
# card: ports = 1
# timeout: 180
# broken: a length that wraps, a negative count, a command for nothing
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
for offer in -2147483648 -60000; do
	asked_for pf0/0x77 100
	remember_commands
	check "$offer pages are offered" inject pages pf0/0x77 "$offer"
	check "all that were given go back" until_true 20 is_total "$own"
	same "the driver asked for 50000" 50000 "$(wire 'select(.id == 119) | .count')"
	# The offer stands beyond what there was.
	check "the card begins anew with that id" inject pages pf0/0x77 release-all
done
remember_commands
check "an event about no page" inject pages pf0 0
asked_for pf0 7
asked_for pf0 -7
same "only 7 came and went" "7
7" "$(wire .count)"
agree "after that"
leave
check "the driver loads again" load
check_dmesg
finish
