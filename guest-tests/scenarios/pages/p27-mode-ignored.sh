#!/bin/sh
# shows: firmware that offers VHCA ids and ignores that the driver chooses them
# tier: full
# needs: kernel >= 7.2
# fresh
# card: ports = 1
# card: vfs = 1
# card: firmware.icm_mng_function_id_mode = "vhca_id_ignored"
# timeout: 180
# broken: Linux 7.2 looks at the maximum only and believes that the mode is set: firmware that still works by function ids has VF 1 for id 1
#   (the PF's own VHCA id), or nobody. It is documented so in the driver: current capabilities are not read again before init pages.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

can_ask || skip_all "the card can't be asked"
unload
here
remember_commands
modprobe mlx5_core
decided() { netdev "$pf0" || said 'probe with driver mlx5_core failed'; }
check "the probe ends" until_true 60 decided
say "pages: $(card pf0/pages | jq -c '{mode, total}')"
last_ids() {
	emu commands --json --function pf0 >/run/commands 2>/dev/null && recorded 'select(.op_mod == 2) | .id' | sort -u
}
# It asks so often that what came before is no longer recorded.
same "the driver believes its choice: it names the PF by its VHCA id" 1 "$(last_ids)"
same "the firmware works by function ids" '"func_id"' "$(card pf0/pages/mode)"
todo "Linux 7.2 does not look at what the firmware made of its choice" \
	check "the function works" netdev "$pf0"
tolerate 'INIT_HCA\(0x102\)|QUERY_PAGES\(0x107\)|MANAGE_PAGES\(0x108\)' 'mlx5_function_(setup|open)' 'mlx5_init_one' 'probe_one' \
	'probe with driver mlx5_core failed' 'failed reclaiming pages: err' \
	'init hca' 'FW did not return all pages\. giving up' 'FW pages counter is' 'WARNING: .*pagealloc' 'reclaim_pages err'
known_leak 96 64
leave
check_dmesg
finish
