#!/bin/sh
# shows: by function ids: pages of a host's PF and VFs, which an embedded CPU's driver gives, are counted as theirs and go back with them
# tier: full
# card: embedded_cpu = true
# card: vfs = 4
# card: firmware.icm_mng_function_id_mode = "func_id"
# timeout: 240
# leaves: 1 modify header
# broken: pages of a host in the counter of another kind of function, a counter that does not come back to 0, a time-out of two minutes as the driver goes
. "${0%/*}/../lib/ecpf.sh"

begin_ecpf 4
same "its own pages are what the card holds" "$(card pf0/pages/held)" "$own"
for round in 1 2; do
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	check "the pages of the host's PF are counted as that ($round)" until_true 20 host_books host_pf pf0host
	check "it has some ($round)" test "$(counter fw_pages_host_pf)" -gt 0
	check "the host makes four VFs ($round)" host_vfs 4
	check "each has a representor ($round)" until_true 30 has_host 4
	check "their pages are counted as VFs' ($round)" until_true 20 host_books vfs $(host_vf_names)
	check "they have some ($round)" test "$(vf_pages)" -gt 0
	asked_for pf0vf2 64
	asked_for pf0host 32
	check "all agree after more was asked for ($round)" until_true 20 host_books vfs $(host_vf_names)
	check "for the host's PF, too ($round)" until_true 20 host_books host_pf pf0host
	check "the host gives its VFs up ($round)" host_vfs 0
	check "their representors go ($round)" until_true 30 has_host 0
	check "and their pages come back ($round)" until_true 20 is_vf_pages 0
	check "the host makes VFs again ($round)" host_vfs 2
	check "which have representors ($round)" until_true 30 has_host 2
	before=$(uptime_seconds)
	check "the e-switch changes back to legacy ($round)" eswitch "$pf0" legacy
	took=$(($(uptime_seconds) - before))
	check "within seconds ($took, $round)" test $took -lt $((40 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
	check "all pages but its own are back ($round)" until_true 20 is_total "$own"
	same "none is a host's ($round)" "0 0" "$(counter fw_pages_host_pf) $(vf_pages)"
done
check "the e-switch changes to switchdev at last" eswitch "$pf0" switchdev
check "the host has four VFs at last" host_vfs 4
check "with representors" until_true 30 has_host 4
before=$(uptime_seconds)
check "the driver unloads with them" unload
check "within seconds ($(($(uptime_seconds) - before)))" test $(($(uptime_seconds) - before)) -lt $((40 * ${MLX5EMU_TIMEOUT_SCALE:-1}))
check "it loads again" load
check "the e-switch changes to switchdev then" eswitch "$pf0" switchdev
check "the pages of the host's PF are there" until_true 20 host_books host_pf pf0host
held=$(total)
host=$(counter fw_pages_host_pf)
# Its own are named by the same function id as those of its host's PF, with embedded_cpu_function.
check "the embedded CPU's own pages are given up" inject pages pf0 release-all
check "they are not the host's" until_true 20 is_total "$host"
same "which are as many as before" "$host" "$(counter fw_pages_host_pf)"
check "there were others ($held)" test "$held" -gt "$host"
check "the driver unloads without them" unload
check_dmesg
finish
