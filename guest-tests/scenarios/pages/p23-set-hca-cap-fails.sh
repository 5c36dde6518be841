#!/bin/sh
# shows: SET_HCA_CAP that fails after the firmware took the mode: probe fails, and the boot pages are taken by an id that means nothing now
# tier: full
# needs: kernel >= 7.2
# fresh
# card: ports = 1
# timeout: 180
# broken: Linux 7.2 asks for its boot pages by function id 0, as it named them; firmware that works by VHCA ids refuses: 64 pages leak and
#   the counter WARNs. Accepted by the series' authors (it takes an error that is not to be expected).
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
leave
remember_commands
check "SET_HCA_CAP will be done, and fail" fault "cmd op=SET_HCA_CAP fn=pf0 => after status=INTERNAL"
modprobe mlx5_core
no_probe() { ! netdev "$pf0" && said 'set_hca_cap failed|handle_hca_cap failed|failed with error'; }
check "probe fails" until_true 60 no_probe
tolerate 'SET_HCA_CAP\(0x109\)' 'handle_hca_cap failed' 'set_hca_cap failed' 'mlx5_function_setup' 'mlx5_init_one' 'probe_one' \
	'probe with driver mlx5_core failed with error' 'MANAGE_PAGES\(0x108\)' 'failed reclaiming pages: err -22' \
	'reclaim_pages err \(-22\) func_vhca_id=0x0' 'FW pages counter is 64 after reclaiming all pages' 'WARNING: .*pagealloc'
todo "Linux 7.2 names its boot pages by function id though the firmware took the mode" \
	same "no page command was refused" 0 "$(wire .status | sort -u)"
no_faults
restart
pages_leak 64
check_dmesg
finish
