#!/bin/sh
# shows: a command is answered after the driver has given it up: its output goes where the driver said, which is memory that it must not use for something else
# tier: full
# fresh
# card: timeouts.cmd = 4000
# timeout: 180
# append: oops=panic
# known-death: RIP: 0010:dma_pool_(alloc|free)
# broken: mailboxes are given back to their DMA pool when a command times out, while the firmware still has them: its late answer overwrites the
#   pool's list of free blocks (cmd_exec frees inb and outb whatever wait_func says; only the entry of the queue is left), and the next commands
#   that need mailboxes follow it
. "${0%/*}/../lib/tap.sh"

can_ask || skip_all "the card can't be asked"
start_two_ports
tolerate 'ACCESS_REG\(0x805\) No done completion$' 'ACCESS_REG\(0x805\) timeout\. Will cause a leak of a command resource$' \
	'Command completion arrived after timeout \(entry idx = [0-9]+\)\.$' 'fw query failed to find boot img component index, err -110$' \
	'mlx5_fw_version_query:.*failed'
set -- $(functions)
pf0=$1
# MCQS, which is asked for the versions of the firmware.
check "a command will wait" fault "held: cmd op=ACCESS_REG fn=pf0 in.register_id=0x9060 => hold"
devlink dev info "pci/$pf0" >/dev/null
check "the driver gives it up" said 'ACCESS_REG.* timeout\. Will cause a leak'
check "it is answered then" release held
sleep 1
no_faults
check "commands that need mailboxes are executed as ever" ethtool -L "$port0" combined 2
check "and the ports reach each other" all_echoes 5 ping -i 0.05 192.0.2.2
check "the driver goes" unload
check "and comes" load
check_dmesg
finish
