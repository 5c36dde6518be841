#!/bin/sh
# shows: a VF is given to vfio-pci and comes back, three times: the device is reset on the way, the PF does not mind, and the VF works again
# tier: full
# needs: CONFIG_VFIO_NOIOMMU
# card: vfs = 2
# timeout: 240
# broken: a VF that vfio-pci cannot have, a reset that fails, a VF that is of no use afterwards
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/vfs.sh"

start_two_ports
with_vfs 2
check "VFs come" numvfs "$pf0" 2
until_true 60 vfs_are_there "$pf0" 2
vf=$(vf "$pf0" 0)
device=/sys/bus/pci/devices/$vf
tolerate 'vfio-noiommu device: this will taint' 'Adding kernel taint for vfio-noiommu group' 'vfio-pci .*: ' 'vfio_pci: '
noiommu() {
	modprobe vfio enable_unsafe_noiommu_mode=1 && modprobe vfio-pci && [ "$(cat /sys/module/vfio/parameters/enable_unsafe_noiommu_mode)" = Y ]
}
check "vfio is there, without an IOMMU" noiommu
group() {
	[ -e "/dev/vfio/noiommu-$(basename "$(readlink "$device/iommu_group")")" ]
}
for round in 1 2 3; do
	check "vfio-pci has the VF ($round)" given_to vfio-pci "$vf"
	check "there is a group for programs ($round)" until_true 10 group
	check "it can be opened ($round)" sh -c ": <>/dev/vfio/noiommu-$(basename "$(readlink "$device/iommu_group")")"
	check "the VF is reset ($round)" sh -c "echo 1 >$device/reset"
	! can_ask || same "the card has nothing of it ($round)" '"disabled"' "$(card pf0vf0/hca)"
	check "the PF works meanwhile ($round)" all_echoes 5 ping -i 0.05 192.0.2.2
	check "mlx5_core has the VF again ($round)" given_to mlx5_core "$vf"
	check "with a network device ($round)" until_true 60 netdev "$vf"
	check "it comes up ($round)" house "$pf0" 0 vf0 10
	check "and reaches the wire ($round)" reach vf0 2
	ip netns del vf0
	until_true 30 netdev "$vf"
done
echo >"$device/driver_override"
vfs_go 40 "in the end"
one_namespace
check_dmesg
finish
