#!/bin/sh
# shows: after an unload, a reload and a recovery the driver begins again with function ids, whatever mode it had
# tier: ci
# needs: kernel >= 7.2
# card: ports = 1
# timeout: 240
# broken: boot pages by VHCA id (a stale mode), which the firmware refuses; an event that is served when the driver is gone
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/pages.sh"

boots_by_function_id() {
	same "boot pages by function id, after $1" 0 "$(wire_ids 'select(.op == "QUERY_PAGES" and .op_mod == 1)')"
	same "init pages by VHCA id" 1 "$(wire_ids 'select(.op == "QUERY_PAGES" and .op_mod == 2)')"
	same "no page command was refused" 0 "$(wire .status | sort -u)"
	agree "after $1"
}

begin vhca_id
no_grace "$pf0"
boots_by_function_id "a probe"
remember_commands
check "the driver reloads" devlink dev reload "pci/$pf0"
until_true 60 netdev "$pf0"
boots_by_function_id "a reload"
remember_commands
fails_and_recovers
boots_by_function_id "a recovery"
leave
check "nobody hears of an event now" sh -c 'emu inject pages pf0 5 | grep "does not listen"'
remember_commands
check "the driver loads again" load
boots_by_function_id "an unload"
check_dmesg
finish
