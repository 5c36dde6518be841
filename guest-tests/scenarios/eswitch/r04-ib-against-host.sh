#!/bin/sh
# shows: RDMA's driver comes and goes as fast as it can while the host of an embedded CPU makes VFs and gives them up: everything works afterwards (R4)
# tier: full
# needs: kernel >= 7.2
# card: embedded_cpu = true
# card: vfs = 4
# timeout: 900
# leaves: 1 modify header
# broken: a crash in a representor's load, work of an event that nobody does any more, a lock that is never given back
. "${0%/*}/../lib/ecpf.sh"

# ib_of_host COUNT: the IB device of pf0 has a port for the uplink, its own vport, the host's PF and each of COUNT VFs.
ib_of_host() {
	[ "$(ib_netdevs "$pf0" | grep -c .)" = $(($1 + 3)) ]
}

begin_ecpf 1
races_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "${rounds:=10} rounds of the host's VFs against RDMA's driver" rounds_against "$rounds" "host_vfs 4" "host_vfs 0"
check "RDMA's driver goes" until_true 10 without_rdma
check "the host has four VFs" host_vfs 4
check "with representors" until_true 30 has_host 4
check "RDMA's driver comes" with_rdma
check "the uplink, its own vport, the host's PF and each VF have a port of its IB device" until_true 30 ib_of_host 4
check "the host gives its VFs up" host_vfs 0
check "their ports go" until_true 30 ib_of_host 0
check "the host has two VFs" host_vfs 2
check "which have ports, too" until_true 30 ib_of_host 2
check "RDMA's driver goes at last" without_rdma
check "the driver unloads" unload
check_dmesg
finish
