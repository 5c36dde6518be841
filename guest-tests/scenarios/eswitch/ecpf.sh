#!/bin/sh
# shows: an embedded CPU manages the e-switch of a host: the host's PF and VFs have representors, come and go by events, and give their pages back; traffic of the embedded CPU goes on
# tier: full
# needs: kernel >= 7.2
# card: embedded_cpu = true
# card: vfs = 4
# timeout: 300
# broken: representors of a host that stay or do not come, pages in the counter of another kind of function, a time-out while the driver goes
. "${0%/*}/../lib/ecpf.sh"

begin_ecpf 3
same "the host can have four VFs" 4 "$possible"
check "both ports come up" two_ports
check "without an e-switch the ports reach each other" all_echoes 5 ping -i 0.05 192.0.2.2
same "its own pages are what the card holds" "$(card pf0/pages/held)" "$own"
same "it is an embedded CPU's" 0xfffe "$(emu inspect --json eswitch | jq -r '.pf0.vports[0].vport')"

for round in 1 2; do
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	check "the host's PF has a representor, and no VF is there ($round)" until_true 20 has_host 0
	check "its pages are a host PF's ($round)" until_true 20 host_books host_pf pf0host
	check "and it has some ($round)" test "$(counter fw_pages_host_pf)" -gt 0
	check "the wire is reached by the uplink ($round)" all_echoes 5 ping -i 0.05 192.0.2.2
	check "the host makes four VFs ($round)" host_vfs 4
	check "each has a representor ($round)" until_true 30 has_host 4
	# The host's driver enables a VF before the embedded CPU hears of it.
	todo "what is asked for a VF before its vport is there is taken for an embedded CPU's VF's" \
		check "their pages are VFs' ($round)" until_true 5 host_books vfs $(host_vf_names)
	before=$(vf_pages)
	asked_for pf0vf1 20
	same "what is asked for one that is there is a VF's ($round)" $((before + 20)) "$(vf_pages)"
	check "the host gives them up ($round)" host_vfs 0
	check "their representors go ($round)" until_true 30 has_host 0
	check "and their pages come back ($round)" until_true 20 is_vf_pages 0
	check "the host makes four again ($round)" host_vfs 4
	check "they have representors again ($round)" until_true 30 has_host 4
	check "the e-switch changes back to legacy with them ($round)" eswitch "$pf0" legacy
	same "no port of a host is left ($round)" "0 0" "$(host_ports pcipf 0 && host_ports pcivf 0 && echo 0 0)"
	check "all pages but its own are back ($round)" until_true 20 is_total "$own"
	todo "the manager's ingress ACL is made twice, and its first modify header is forgotten" \
		same "no modify header is left in the card ($round)" 0 "$(card pf0/objects | jq '."modify header" // 0')"
done
check "the e-switch changes to switchdev at last" eswitch "$pf0" switchdev
check "the host has four VFs at last" host_vfs 4
check "with representors" until_true 30 has_host 4
check "the driver unloads with them" unload
check "and loads again" load
check_dmesg
finish
