#!/bin/sh
# shows: page requests by VHCA ids that belong to an embedded CPU, to its host's PF, and to a VF of the host that is not there
# tier: full
# needs: kernel >= 7.2
# card: embedded_cpu = true
# card: vfs = 2
# timeout: 180
# leaves: 1 modify header
# broken: pages of an embedded CPU's host in the counter of another kind of function
. "${0%/*}/../lib/ecpf.sh"

# kinds: what the driver counts for a host's PF, VFs, VFs of its own, SFs.
kinds() {
	echo "$(counter fw_pages_host_pf) $(counter fw_pages_vfs) $(counter fw_pages_ec_vfs) $(counter fw_pages_sfs)"
}

begin_ecpf 1
same "the driver names pages by VHCA ids" vhca_id "$(card pf0/pages/mode | jq -r .)"
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "the host's PF has its pages" until_true 20 host_books host_pf pf0host
host=$(counter fw_pages_host_pf)
check "it has some ($host)" test "$host" -gt 0
asked_for "pf0/$(card pf0/vhca_id)" 20
same "what is asked for the embedded CPU is its own" "$host 0 0 0" "$(kinds)"
asked_for "pf0/$(card pf0host/vhca_id)" 20
same "what is asked for the host's PF is that one's" "$((host + 20)) 0 0 0" "$(kinds)"
asked_for "pf0/$(card pf0vf1/vhca_id)" 20
todo "the driver takes whatever it does not know for an embedded CPU's VF" \
	same "what is asked for a VF of the host that is not there is a VF's" "$((host + 20)) 20 0 0" "$(kinds)"
check "the host's PF needs its pages no more" inject pages "pf0/$(card pf0host/vhca_id)" -20
check "and has them back" until_true 20 host_books host_pf pf0host
asked_for "pf0/$(card pf0vf1/vhca_id)" -20
same "all kinds are as at first" "$host 0 0 0" "$(kinds)"
check "the driver unloads" unload
check_dmesg
finish
