#!/bin/sh
# shows: firmware that gives all pages of a VF up at once: the driver frees them without a command, and the counters fall
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: a counter that drifts, pages freed twice, canaries broken
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 2
agree "with VFs"
other=$(card pf0vf1/pages/held)
remember_commands
check "the VF's pages are given up" inject pages pf0vf0 release-all
check "the VF's counter falls by them" until_true 20 is_vf_pages "$other"
same "there was no command for it" "" "$(wire .)"
agree "after that"
check "nobody's pages are asked for and given up" sh -c 'emu inject pages pf0/0x77 40 && sleep 1 && emu inject pages pf0/0x77 release-all'
check "they are gone" until_true 20 is_total $((own + other))
vfs_down
agree "without VFs"
leave
check "the driver loads again" load
check_dmesg
finish
