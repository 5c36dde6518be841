#!/bin/sh
# shows: the driver gives boot pages by function id 0, chooses VHCA ids in SET_HCA_CAP, and names all pages by them from then on
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: WARN (!root) in find_fw_page or free_fwp, "FW pages counter is … after reclaiming all pages", ids that the firmware refuses
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
agree "after probe"
same "boot pages are asked for and given by function id" '{"op":"QUERY_PAGES","op_mod":1,"id":0}
{"op":"MANAGE_PAGES","op_mod":1,"id":0}' "$(wire 'select(.id == 0) | {op, op_mod, id}')"
same "init pages are asked for by the own VHCA id" 1 "$(wire_ids 'select(.op == "QUERY_PAGES" and .op_mod == 2)')"
vfs_up 2
agree "with VFs"
remember_commands
asked_for pf0 100
asked_for pf0 -100
same "events name the own VHCA id, and so do the answers" 1 "$(wire_ids .)"
remember_commands
asked_for pf0vf0 100
asked_for pf0vf1 100
agree "after events"
asked_for pf0vf1 -100
vfs_down
same "pages of VFs are given and taken by their VHCA ids" "3 4" "$(wire_ids .)"
agree "without VFs"
remember_commands
leave
same "at the unload all is taken by the own VHCA id" 1 "$(wire_ids .)"
same "no page command was refused" 0 "$(wire .status | sort -u)"
same "the mode ends with the driver" '"func_id"' "$(card pf0/pages/mode)"
check "the driver loads again" load
check_dmesg
finish
