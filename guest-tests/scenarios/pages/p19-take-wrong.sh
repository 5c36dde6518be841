#!/bin/sh
# shows: firmware that gives back more than was asked for, and pages that it never had: refused and said, no counter moves
# tier: ci
# needs: kernel >= 7.2
# card: ports = 1
# timeout: 180
# broken: a driver that frees what is not there
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
# By an id of which the driver knows: it has a root.
asked_for pf0/0x55 1
tolerate 'reclaim fail -22'
expect 'fw returned 9, driver asked 2 => corruption' 'page not found'
asked_for pf0/0x56 1
asked_for pf0/0x56 -1
check "the firmware will answer with more than is asked for" \
	fault "cmd op=MANAGE_PAGES op_mod=2 in.function_id=0x56 => out.output_num_entries=9"
check "two are offered where none is" inject pages pf0/0x56 -2
check "the driver refuses nine" until_true 20 said 'fw returned 9, driver asked 2 => corruption'
same "no counter has moved" $((own + 1)) "$(total)"
no_faults
check "the firmware will answer with a page that nobody gave" \
	fault "cmd op=MANAGE_PAGES op_mod=2 in.function_id=0x55 => out.output_num_entries=2"
check "two are offered where one is" inject pages pf0/0x55 -2
check "the driver finds one of them" until_true 20 said 'page not found'
check "and has it back" until_true 20 is_total "$own"
no_faults
agree "after all that"
leave
check "the driver loads again" load
check_dmesg
finish
