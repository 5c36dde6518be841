#!/bin/sh
# shows: behind an IOMMU that translates, the card's ports and VFs work as ever, a VF is vfio-pci's for a while, and nobody touches memory that is not mapped
# tier: ci
# card: vfs = 2
# card: placement.iommu = true
# timeout: 240
# broken: VFs whose BARs nobody maps, memory that the card reaches although it is mapped no more, a fault in the IOMMU's log
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/tcp.sh"

start_two_ports
with_vfs 2
translated() {
	case $(cat "/sys/bus/pci/devices/$1/iommu_group/type") in DMA | DMA-FQ) ;; *) return 1 ;; esac
}
for function in "$pf0" "$pf1"; do
	check "what $function does is translated" translated "$function"
done
check "every echo comes back" all_echoes 20 ping -i 0.02 192.0.2.2
check "4 MiB arrive" copied 192.0.2.2
check "and go back" copied_back 192.0.2.1

for round in 1 2; do
	check "VFs come ($round)" numvfs "$pf0" 2
	check "each has a network device ($round)" until_true 60 vfs_are_there "$pf0" 2
	for n in 0 1; do
		check "what VF $n does is translated ($round)" translated "$(vf "$pf0" $n)"
		check "it comes up ($round)" house "$pf0" $n vf$n 1$n
	done
	check "they reach each other ($round)" reach vf0 11
	check "and the wire ($round)" reach vf1 2
	for n in 0 1; do
		ip netns del vf$n
	done
	until_true 30 vfs_are_there "$pf0" 2
	vfs_go 40 "($round)"
done

# A program could have one.
check "the VFs come again" numvfs "$pf0" 2
until_true 60 vfs_are_there "$pf0" 2
vf=$(vf "$pf0" 0)
device=/sys/bus/pci/devices/$vf
tolerate 'vfio-pci .*: ' 'vfio_pci: '
check "vfio is there" modprobe vfio-pci
check "it has a VF" given_to vfio-pci "$vf"
check "programs can open it" until_true 10 sh -c ": <>/dev/vfio/$(basename "$(readlink "$device/iommu_group")")"
check "the PF works meanwhile" all_echoes 5 ping -i 0.05 192.0.2.2
check "mlx5_core has it again" given_to mlx5_core "$vf"
check "with a network device" until_true 60 netdev "$vf"
check "it comes up" house "$pf0" 0 vf0 10
check "and reaches the wire" reach vf0 2
ip netns del vf0
until_true 30 netdev "$vf"
echo >"$device/driver_override"
vfs_go 40 "in the end"
check "the driver unloads" unload
check "and loads again" load
check "the IOMMU has met no fault" not said 'DMAR: .*(fault|\[DMA )'
check_dmesg
finish
