#!/bin/sh
# shows: interrupts that are lost of the EQs for commands and events: the driver finds the command's completion when its time-out has passed, and goes on; an event is found with the next interrupt
# tier: ci
# timeout: 120
# card: [timeouts]
# card: cmd = 8000
# broken: a command that fails though it was executed ("Will cause a leak of a command resource"), a slot that is lost
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/queues.sh"

can_ask || skip_all "the card can't be asked"
ready
start_two_ports
reporters
check "the ports work" all_echoes 10 ping -i 0.05 192.0.2.2
lost() {
	card pf0 | jq '[.. | .lost_interrupts? | numbers] | add'
}
recovered() {
	dmesg | grep -c "mlx5_core $pf0: .*Recovered [0-9]* EQEs on cmd_eq"
}
same "no interrupt is lost yet" 0 "$(lost)"

# All of them, until a time-out has passed: the driver has commands of its own, whose interrupts would tell of this one.
check "interrupts for commands are lost" inject msi-loss pf0 1000000 cmd
check "QUERY_ADAPTER succeeds, without an interrupt" command "01010000 $(zeros 12)"
check "interrupts are back" inject msi-loss pf0 0 cmd
check "interrupts were lost" test "$(lost)" -gt 0
check "the driver found completions" test "$(recovered)" -gt 0
until_true 30 sh -c "[ \$(cat /sys/kernel/debug/mlx5/$pf0/commands/slots_inuse) = 0 ]"
point $? "no slot is in use"
before=$(recovered)
for n in 1 2 3 4 5; do
	check "command $n succeeds" command "01010000 $(zeros 12)"
done
same "none had to be looked for" "$before" "$(recovered)"
check "the ports work" all_echoes 10 ping -i 0.05 192.0.2.2

# Vector 0 serves commands, events and pages: whichever comes next finds the event.
before=$(lost)
check "an event's interrupt is lost" inject msi-loss pf0 1 async
no_carrier() {
	command "01010000 $(zeros 12)"
	! carrier "" "$port0"
}
check "the cable is cut" inject link p0 down
check "the driver sees that with its next command" until_true 30 no_carrier
same "the event's interrupt was lost" $((before + 1)) "$(lost)"
check "the cable is mended" inject link p0 up
check "both ports have a link" both_up
check "the ports work" all_echoes 10 ping -i 0.05 192.0.2.2

expect "mlx5_core $pf0: .*Recovered [0-9]+ EQEs on cmd_eq" "mlx5_core $pf0: .*QUERY_ADAPTER\\(0x101\\) recovered after timeout"
# Others of the driver's commands in that time.
tolerate 'recovered after timeout$'
nothing_left
check_dmesg
finish
