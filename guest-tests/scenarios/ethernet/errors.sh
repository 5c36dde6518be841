#!/bin/sh
# shows: what the driver does about queues that fail: error completions on a send queue and on a receive queue are reported, the queues are reset, traffic goes on; health recovery by hand
# tier: ci
# timeout: 120
# broken: a queue that stays dead, a flush that is not completed, WQEs of a queue's former life executed after its reset
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/queues.sh"

start_two_ports
reporters

same "the tx reporter is healthy" healthy "$(health tx state)"
queues=$(devlink -j health diagnose "$handle" reporter tx)
check "the tx reporter names ready send queues" sh -c "printf '%s' '$queues' | jq -e '[.. | objects | select(has(\"sqn\"))] | length > 0 and all(.[\"HW state\"] == 1)'"
sqns=$(printf '%s' "$queues" | jq '.. | objects | .sqn? // empty')
say "send queues:" $sqns

# MODIFY_SQ from RDY to ERR: what the driver posts next is flushed, it hears of it and takes the queue up again.
before=$(counter tx_recover)
all=0
for sqn in $sqns; do
	break_sq "$sqn" || all=1
done
point $all "the firmware puts the send queues into the error state"
ping -q -n -c 3 -i 0.2 -W 1 192.0.2.2 >/dev/null
peer ping -q -n -c 3 -i 0.2 -W 1 192.0.2.1 >/dev/null
check "the driver recovers a send queue" until_true 10 grew tx_recover "$before"
# Two queues failed: for older kernels the second error is within the grace period, and the rest is the administrator's.
[ "$(health tx state)" = healthy ] || check "the tx reporter recovers the rest" devlink health recover "$handle" reporter tx
check "traffic goes both ways after a send queue failed" both_ways
check "the tx reporter counts the error" test "$(health tx error)" -gt 0
same "the tx reporter is healthy again" healthy "$(health tx state)"

# The port's MTU is raised behind the driver's back, and frames come that are longer than any receive WQE: each costs a WQE,
# and the queue goes on (LOCAL_LENGTH_ERR is not an error that the driver recovers a queue from).
# Only where a WQE is one frame's: a striding receive queue has room for it.
ethtool --set-priv-flags "$port0" rx_striding_rq off 2>/dev/null
before=$(counter rx_wqe_err)
recovered=$(counter rx_recover)
check "the port takes longer frames" command "08050000 00000000 00005003 00000000 00010000 00000000 23280000 00000000"
ip -n peer link set "$port1" mtu 8000
peer ping -q -n -c 3 -i 0.3 -W 1 -M do -s 7000 192.0.2.1 >/dev/null
check "frames that are too long are errors" grew rx_wqe_err "$before"
ip -n peer link set "$port1" mtu 1500
check "the port takes usual frames only" command "08050000 00000000 00005003 00000000 00010000 00000000 05f20000 00000000"
check "traffic goes both ways after that" both_ways
same "no receive queue had to be recovered" "$recovered" "$(counter rx_recover)"

# The key of all buffers is taken away for the time of one frame: the receive queue fails, and the driver resets it.
before=$(counter rx_recover)
# Its number is in the send WQE that the driver printed above: address, length and key of the packet.
number=$(dmesg | grep -A 3 'WQE DUMP' | sed -n 's/.*00000020: .. .. .. .. \(..\) \(..\) \(..\) .*/\1\2\3/p' | head -n 1)
say "the key's number is $number"
check "the firmware shows the memory key" command "02010000 00000000 00$number 00000000"
key=$(dd if=/sys/kernel/debug/mlx5/$function/cmd/out bs=272 count=1 2>/dev/null | busybox xxd -p | tr -d '\n' | cut -c 33-160)
check "the key goes" command "02020000 00000000 00$number 00000000"
peer ping -q -n -c 1 -W 1 192.0.2.1 >/dev/null
check "the driver recovers a receive queue" until_true 10 grew rx_recover "$before"
check "the key comes back" command "02000000 00000000 00000000 00000000 $key $(zeros 192)"
for reporter in tx rx; do
	# More than one error within the grace period, and the reporter leaves it to the administrator.
	[ "$(health $reporter state)" = healthy ] || check "the $reporter reporter recovers" devlink health recover "$handle" reporter $reporter
done
check "traffic goes both ways after a receive queue failed" both_ways
check "the rx reporter counts the error" test "$(health rx error)" -gt 0
same "the rx reporter is healthy again" healthy "$(health rx state)"

for reporter in tx rx; do
	check "the $reporter reporter diagnoses" devlink health diagnose "$handle" reporter $reporter
	check "the $reporter reporter recovers by hand" devlink health recover "$handle" reporter $reporter
	check "traffic goes both ways after that" both_ways
done

one_namespace
# The errors above are told as they should be; nothing else may be.
tolerate 'Error cqe on cqn' 'ERR CQE on [SR]Q' 'WQE DUMP'
check "the kernel told of error completions" sh -c "dmesg | grep -q 'Error cqe on cqn'"
check_dmesg
finish
