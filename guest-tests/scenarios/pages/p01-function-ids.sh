#!/bin/sh
# shows: firmware that does not offer icm_mng_function_id_mode: every page command and event names functions by function id
# tier: full
# card: vfs = 2
# card: firmware.icm_mng_function_id_mode = "func_id"
# timeout: 180
# broken: a VHCA id in QUERY_PAGES or MANAGE_PAGES, which this firmware refuses (BAD_PARAM); pages left behind
# embedded_cpu_function is 0 everywhere here; where an embedded CPU sets it: p10-host-goes.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin func_id
agree "after probe"
same "only function 0 has been named" 0 "$(wire_ids .)"
vfs_up 2
agree "with VFs"
asked_for pf0vf1 30
asked_for pf0vf1 -30
asked_for pf0 30
asked_for pf0 -30
agree "after events"
vfs_down
agree "without VFs"
leave
same "function 0 and the VFs' function ids have been named" "0 1 2" "$(wire_ids .)"
same "embedded_cpu_function was never set" 0 "$(wire .ec | sort -u)"
same "no page command was refused" 0 "$(wire .status | sort -u)"
check "the driver loads again" load
check_dmesg
finish
