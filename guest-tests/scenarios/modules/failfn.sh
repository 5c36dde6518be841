#!/bin/sh
# shows: failfn: of the calls of a driver's function, those that are named fail, and the driver lives on
# tier: ci
# timeout: 120
# needs: module failfn
# dmesg: failfn: give function=NAME
# dmesg: failfn: no call of no_such_function can be made to fail
# broken: a port that comes up although a function fails that it needs, or that does not come up afterwards
. "${0%/*}/../lib/tap.sh"
driver_loaded || load

set -- $(functions)
until_true 60 netdev "$1"
port=$(netdev "$1")
parameters=/sys/module/failfn/parameters
try() {
	ip link set "$port" down
	ip link set "$port" up 2>&1
}
try_fails() {
	said=$(try) && return 1
	case $said in *"$1"*) ;; *) say "$said" && return 1 ;; esac
}

check "without it the port comes up" try
calls_for() {
	echo 0 >$parameters/calls
	try >/dev/null
	cat $parameters/calls
}

check "it is loaded" modprobe failfn function=mlx5_core_create_cq nth=1000000 errno=12
calls=$(calls_for)
check "opening the port makes completion queues ($calls)" [ "$calls" -gt 1 ]

echo "$calls" >$parameters/nth
echo 0 >$parameters/calls
check "the last of them fails with ENOMEM, and so does opening" try_fails "Cannot allocate memory"
same "one call has failed" 1 "$(cat $parameters/failed)"
check "the next time none fails" try

echo 28 >$parameters/errno
echo 1 >$parameters/nth
echo 0 >$parameters/calls
check "the first fails with another error" try_fails "No space left on device"
same "two calls have failed" 2 "$(cat $parameters/failed)"

refused() {
	! "$@"
}
check "it goes" modprobe -r failfn
check "and the port comes up" try
check "a function that is not there is refused" refused modprobe -q failfn function=no_such_function
check "an error that is none is refused" refused modprobe -q failfn function=mlx5_core_create_cq errno=5000
check_dmesg
finish
