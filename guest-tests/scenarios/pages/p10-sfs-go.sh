#!/bin/sh
# shows: pages of an SF that go back when its vport is forgotten already, and when it is asked to leave first; and those of two SFs at once
# tier: full
# needs: CONFIG_MLX5_SF, kernel >= 7.2
# card: sfs = 4
# timeout: 300
# broken: fw_pages_sfs that drifts: nobody waits for pages of SFs or warns of them, the counter is all that shows
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/sfs.sh"

begin vhca_id
two_sfs
check "there are pages of SFs ($(sf_pages "$pf0"))" test "$(sf_pages "$pf0")" -gt 0
asked_for pf0sf0 200
agree_sf "with more of them"
# What the driver takes is held up until the vport is gone.
check "MANAGE_PAGES (take) is slow from now on" fault "late: cmd op=MANAGE_PAGES op_mod=2 fn=pf0 => delay=1s times=all"
check "one is deleted" sf_del "$pf0" 1
check "one is asked to leave" sf_set "$pf0" 2 state inactive
check "its driver leaves" until_true 20 sf_is "$pf0" 2 "inactive detached"
check "and it is deleted" sf_del "$pf0" 2
check "no page is left for SFs" until_true 30 has_sf_pages "$pf0" 0
no_faults
agree_sf "without SFs"
same "all pages but the PF's own are back" "$own" "$(total)"
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
leave
check "the driver loads again" load
check_dmesg
finish
