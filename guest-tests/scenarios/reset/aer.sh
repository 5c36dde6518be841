#!/bin/sh
# shows: PCI Express errors, correctable, non-fatal and fatal, as the kernel's aer_inject reports them: the driver recovers both functions
# tier: ci
# timeout: 120
# broken: a port that stays away, a recovery that fails, pages or objects left
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

modprobe aer_inject 2>/dev/null
[ -e /dev/aer_inject ] || skip_all "this kernel has no aer_inject"
ready
start_two_ports
remember

# bytes NUMBER: as a little-endian dword, for printf.
bytes() {
	printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}
# aer UNCORRECTABLE CORRECTABLE: pf0 reports these bits of its status registers (struct aer_error_inj; it is 01:00.0).
aer() {
	printf "\\001\\000\\000\\000$(bytes "$1")$(bytes "$2")$(bytes 0)$(bytes 0)$(bytes 0)$(bytes 0)$(bytes 0)" >/dev/aer_inject
}
recovered() {
	[ "$(dmesg | grep -c 'device recovery successful')" -ge "$1" ]
}
resets() {
	card pf0/connection/device_resets
}
same "the first function is where this scenario says" 0000:01:00.0 "$pf0"

check "a correctable error" aer 0 $((1 << 6))
check "it is reported" until_true 30 said "severity=Correctable"
check "nothing was lost" all_echoes 10 ping -i 0.05 192.0.2.2

flood
check "a non-fatal error (Completion Timeout) under traffic" aer $((1 << 14)) 0
check "the driver recovers" until_true 60 recovered 1
calm
check "the ports work again" again
unchanged "the non-fatal error"

before=$(resets)
flood
check "a fatal error (Malformed TLP) under traffic" aer $((1 << 18)) 0
check "the driver recovers" until_true 60 recovered 2
calm
check "the ports work again" again
unchanged "the fatal error"
can_ask && check "the link was reset" [ "$(resets)" -gt "$before" ]

expect 'severity=Correctable' 'severity=Uncorrectable \(Non-Fatal\)' 'severity=Uncorrectable \(Fatal\)' 'device recovery successful'
tolerate 'aer_inject' 'PCIe Bus Error:' 'device \[15b3:101d\] error status/mask=' '^\[[^]]*\] (mlx5_core|pcieport) [0-9a-f:.]+: +\[ ?[0-9]+\] ' \
	'AER: ' 'TLP Header:' 'mlx5_error_sw_reset:.*start$' 'PCI channel offline, stop waiting for NIC IFC$' \
	'Skipping wait for vf pages stage$'
nothing_left
check_dmesg
finish
