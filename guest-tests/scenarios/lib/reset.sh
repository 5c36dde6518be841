# For scenarios of the families that reset or break the card: what "it works again, and nothing was left behind" means.

# ready: both functions have a driver and a network device, and no recovery is refused for coming too soon after another.
# Sets $pf0 and $pf1, the functions' PCI addresses.
ready() {
	# Without the driver the card's process has no more files open than it always has.
	unload
	bare=$(descriptors)
	load
	set -- $(functions)
	pf0=$1 pf1=$2
	for function in "$pf0" "$pf1"; do
		until_true 60 netdev "$function"
		no_grace "$function"
	done
}

# no_grace FUNCTION: a second recovery within the grace period of 60 s would unload the driver.
no_grace() {
	devlink health set "pci/$1" reporter fw_fatal grace_period 0
}

# flood: traffic between the ports until `calm`, as fast as it goes.
flood() {
	ping -f -q 192.0.2.2 >/dev/null 2>&1 &
	flooding=$!
	sleep 0.5
}

calm() {
	kill $flooding 2>/dev/null
	wait $flooding 2>/dev/null
}

# again: both ports come up anew and no echo is lost. A function that was lost and found has a new network device: it is
# down and has no address.
again() {
	until_true 30 netdev "$pf0" || return 1
	ip netns del peer 2>/dev/null
	until_true 30 netdev "$pf1" || return 1
	two_ports || return 1
	# While the other end was away the neighbour was given up, and echoes wait for it to be found again.
	ip neigh flush all
	until_true 10 ping -q -c 1 -W 1 192.0.2.2 && all_echoes 10 ping -i 0.05 192.0.2.2
}

# holdings N: what pf N has alive in the card, and the pages that it holds.
holdings() {
	card "pf$1" | jq -cS '[.objects, .pages.held, .commands.slots_in_flight, .commands.parked]'
}

# remember: takes down what is alive now, with both ports up.
remember() {
	can_ask || return 0
	held0=$(holdings 0) held1=$(holdings 1)
}

# unchanged WHEN: as much is alive as was then, no more and no less.
unchanged() {
	can_ask || return 0
	same "what pf0 has alive is as before $1" "$held0" "$(holdings 0)"
	same "what pf1 has alive is as before $1" "$held1" "$(holdings 1)"
}

# nothing_left: without its driver, no function has anything, and the pages' books balance.
nothing_left() {
	check "the driver unloads" unload
	can_ask || return 0
	same "the card's process has no more files open than at first" "$bare" "$(descriptors)"
	for n in 0 1; do
		card "pf$n" >/run/function
		same "pf$n has no object and no page left" '[0,0]' \
			"$(jq -c '[([.objects | .. | numbers] | add // 0), .pages.held]' /run/function)"
		check "pages of pf$n: given is returned and forgotten" \
			jq -e '.pages | .given > 0 and .given == .returned + .forgotten' /run/function
	done
}

# recoveries FUNCTION: how many times the driver has recovered a function so far.
recoveries() {
	dmesg | grep -c "mlx5_core $1: .*health recovery succeeded"
}

more_recoveries() {
	[ "$(recoveries "$1")" -gt "$2" ]
}

# What the driver says while it recovers a function from a fatal error.
recovery_messages() {
	expect 'Fatal error [0-9]+ detected' 'health recovery succeeded'
	tolerate 'handling bad device here' 'starting teardown' 'mlx5_error_sw_reset:.*(start|end)$' \
		'Skipping wait for vf pages stage' ': resetting$' ': reset done$' 'starting health recovery flow'
}

# What it says besides when the firmware tells what is wrong: the health buffer, line by line.
health_messages() {
	tolerate ' assert_var\[[0-5]\] 0x[0-9a-f]{8}$' ' assert_(exit_ptr|callra) 0x[0-9a-f]{8}$' ' fw_ver [0-9.]+$' ' time [0-9]+$' \
		' hw_id 0x[0-9a-f]{8}$' ' rfr [01]$' ' crr 0$' ' severity 3 \(ERROR\)$' ' irisc_index 0$' ' synd 0x[0-9a-f]+: ' \
		' ext_synd 0x0000$' ' raw fw_ver 0x[0-9a-f]{8}$' 'Expected to see disabled NIC but it is full driver$' \
		'NIC SW reset in progress$' "Not issuing FW reset. Either it's already done or won't help."
}

# fails_and_recovers: the firmware of pf0 fails, and its driver recovers.
fails_and_recovers() {
	before=$(recoveries "$pf0")
	recovery_messages
	health_messages
	expect 'Health issue observed, firmware internal error, severity\(3\) ERROR:$'
	tolerate 'Issuing FW Reset$'
	check "the firmware fails" inject health pf0 1
	check "the driver recovers" until_true 60 more_recoveries "$pf0" "$before"
	check "the function has a network device again" until_true 60 netdev "$pf0"
}
