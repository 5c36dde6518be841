#!/bin/sh
# shows: pages that the firmware asked for by event and then refuses, or does not take: dropped and counted; "can't give" has the right id
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: pages that leak or count though they were refused, a function id or embedded_cpu_function in "can't give"
# The half without memory needs failslab: p23 has it for the page tree.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 1
before=$(total)
dropped=$(counter fw_pages_give_dropped)
is_dropped() { [ "$(counter fw_pages_give_dropped)" = "$1" ]; }

check "the firmware will refuse what it asks for" fault "cmd op=MANAGE_PAGES op_mod=1 fn=pf0 => status=BAD_PARAM"
remember_commands
check "it asks" inject pages pf0vf0 33
check "the driver counts them as dropped" until_true 20 is_dropped $((dropped + 33))
same "and not as given" "$before" "$(total)"
same "no \"can't give\" is sent: the firmware knows" "" "$(wire 'select(.op_mod == 0)')"
quiet
point $? "and has nothing to say of it"

tolerate 'MANAGE_PAGES\(0x108\)' 'func_vhca_id 0x[13], npages [0-9]+, err' 'give fail -'
for whose in pf0:1 pf0vf0:3; do
	check "the command will fail on its way" fault "cmd op=MANAGE_PAGES op_mod=1 fn=pf0 => before delivery=FW_ERR"
	remember_commands
	check "pages are asked for ${whose%:*}" inject pages "${whose%:*}" 44
	can_not_give() { [ -n "$(wire 'select(.op_mod == 0)')" ]; }
	check "the driver can't give" until_true 20 can_not_give
	same "it says so by VHCA id" "{\"id\":${whose#*:},\"ec\":0,\"status\":0}" "$(wire 'select(.op_mod == 0) | {id, ec, status}')"
	same "nothing counts as given" "$before" "$(total)"
done
no_faults
# The firmware that was refused by its own mistake still waits for 33.
check "the driver can give again" inject pages pf0vf0 10
check "it does" until_true 20 is_total $((before + 10))
vfs_down
leave
check "the driver loads again" load
check_dmesg
finish
