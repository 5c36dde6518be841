#!/bin/sh
# shows: page requests by VHCA ids that belong to others than VFs of this PF: its own, the other PF's and that PF's VFs'
# tier: full
# needs: kernel >= 7.2
# card: vfs = 1
# timeout: 180
# broken: pages of others in the counter of VFs or of an embedded CPU's VFs
# An embedded CPU and its host: p25-ecpf. Delegated (adjacent) functions: eswitch/adjacent.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin vhca_id
echo 1 >"/sys/bus/pci/devices/$pf1/sriov_numvfs"
vfs_up 1
before=$(vf_pages)
other=$(card pf1/vhca_id) far=$(card pf1vf0/vhca_id)
for id in "$(card pf0/vhca_id)" "$other" "$far"; do
	asked_for "pf0/$id" 20
done
same "none of them is a VF's" "$before" "$(vf_pages)"
same "nor an embedded CPU's VF's, an SF's or a host PF's" "0 0 0" \
	"$(counter fw_pages_ec_vfs) $(counter fw_pages_sfs) $(counter fw_pages_host_pf)"
same "the own are the PF's" 20 "$(card pf0/pages/by_id/1/extra)"
agree "after that"
vfs_down
echo 0 >"/sys/bus/pci/devices/$pf1/sriov_numvfs"
leave
check "the driver loads again" load
check_dmesg
finish
