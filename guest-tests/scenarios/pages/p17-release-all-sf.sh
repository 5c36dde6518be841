#!/bin/sh
# shows: firmware that gives all pages of an SF up at once: the driver frees them without a command, and the counters fall
# tier: full
# needs: CONFIG_MLX5_SF, kernel >= 7.2
# card: sfs = 4
# timeout: 180
# broken: a counter that drifts, pages freed twice, canaries broken
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/sfs.sh"

begin vhca_id
two_sfs
other=$(card pf0sf1/pages/held)
remember_commands
check "an SF's pages are given up" inject pages pf0sf0 release-all
check "the counter of SFs falls by them" until_true 20 has_sf_pages "$pf0" "$other"
same "there was no command for it" "" "$(wire .)"
agree_sf "after that"
for sfnum in 1 2; do
	check "SF $sfnum goes" sf_del "$pf0" $sfnum
done
check "no page is left for SFs" until_true 30 has_sf_pages "$pf0" 0
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
leave
check "the driver loads again" load
check_dmesg
finish
