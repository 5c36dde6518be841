#!/bin/sh
# shows: ids that are no function's, or another PF's, ask for pages: they are given and count as nobody's
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 180
# broken: a crash, pages in the counter of VFs
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
vfs_up 1
before=$(vf_pages)
for id in 0x77 0xffff 0; do
	asked_for pf0/$id 25
done
same "no VF has them" "$before" "$(vf_pages)"
same "the card holds them" 75 "$(book by_type/none/held)"
agree "with nobody's pages"
asked_for pf0/0x77 -25
asked_for pf0/0 -10
agree "after some went back"
vfs_down
leave
same "no page command was refused" 0 "$(wire .status | sort -u)"
check "the driver loads again" load
check_dmesg
finish
