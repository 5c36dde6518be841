#!/bin/sh
# Between two scenarios in one machine: takes down what the last one left, says what should not have been left, and makes the
# machine what it was after boot. The runner runs it, with what the last scenario tolerates in /run/mlx5emu.tolerated.
#
#   between.sh prepare      once, before the first scenario: notes down what is to be restored
#   between.sh end TOKEN    after a scenario: nothing of it goes on, the driver is unloaded
#   between.sh oracles      prints what is wrong, a line each; exit status 1 if something is
#   between.sh begin        each function is reset, the driver is loaded as it was after boot, the kernel's log is empty
. "${0%/*}/tap.sh" >/dev/null

settings=/run/mlx5emu.settings

# Everything under net that does not belong to one device.
net_settings() {
	busybox sysctl -a 2>/dev/null | grep '^net\.' | grep -Ev '\.(conf|neigh)\.(eth|en|mlx)' | sort
}

prepare() {
	functions | wc -l >/run/mlx5emu.count
	net_settings >$settings
	# A leak of the boot is not a scenario's.
	[ ! -e /sys/kernel/debug/kmemleak ] || echo clear >/sys/kernel/debug/kmemleak
	begin_log
}

begin_log() {
	dmesg -C
	[ ! -e /sys/kernel/debug/clear_warn_once ] || echo 1 >/sys/kernel/debug/clear_warn_once
	rm -f /run/mlx5emu.tolerated /run/mlx5emu.known_leaks
}

# Processes that the last scenario started: its token is in their environment.
leftovers() {
	for process in /proc/[0-9]*; do
		number=${process#/proc/}
		[ "$number" != $$ ] && grep -qz "^MLX5EMU_TOKEN=$1\$" "$process/environ" 2>/dev/null && echo "$number"
	done
}

end() {
	kill -9 $(leftovers "$1") 2>/dev/null
	ip -all netns delete 2>/dev/null
	for device in $(ls /sys/bus/pci/devices); do
		[ "$(cat "/sys/bus/pci/devices/$device/sriov_numvfs" 2>/dev/null || echo 0)" = 0 ] || echo 0 >"/sys/bus/pci/devices/$device/sriov_numvfs"
	done
	if driver_loaded; then
		modprobe -r mlx5_vfio_pci 2>/dev/null
		unload || { echo "the driver does not unload"; return 1; }
	fi
	for function in $(functions); do
		# A kernel with the driver built in.
		[ ! -e "/sys/bus/pci/devices/$function/driver" ] || echo "$function" >"/sys/bus/pci/devices/$function/driver/unbind"
	done
}

oracles() {
	bad=0
	[ ! -s /run/mlx5emu.tolerated ] || tolerated=$(cat /run/mlx5emu.tolerated)
	bad_messages >/run/mlx5emu.bad
	if [ -s /run/mlx5emu.bad ]; then
		sed 's/^/the kernel says: /' /run/mlx5emu.bad
		bad=1
	fi
	# Lockdep switches itself off with its first report: from then on it would find nothing.
	if [ -r /proc/lockdep_stats ] && grep -q '^ *debug_locks: *0' /proc/lockdep_stats; then
		echo "lockdep has switched itself off (debug_locks is 0)"
		bad=1
	fi
	if [ -e /sys/kernel/debug/kmemleak ]; then
		# An object counts only when it is old enough, and is believed only when it is found twice.
		echo scan >/sys/kernel/debug/kmemleak
		sleep 6
		echo scan >/sys/kernel/debug/kmemleak
		# The file has no size: it is read to see whether there is something in it.
		cat /sys/kernel/debug/kmemleak >/run/mlx5emu.leaks
		if [ -s /run/mlx5emu.leaks ]; then
			echo clear >/sys/kernel/debug/kmemleak
			unknown_leaks >/run/mlx5emu.bad
			if [ -s /run/mlx5emu.bad ]; then
				head -n 100 /run/mlx5emu.bad
				bad=1
			fi
		fi
	fi
	return $bad
}

# Reports of leaks, but for those that are known in this scenario (known_leak).
unknown_leaks() {
	touch /run/mlx5emu.known_leaks
	busybox awk '
		FILENAME != ARGV[2] { size[++known] = $1; left[known] = $2; regex[known] = $3; next }
		function judge(  n) {
			for (n = 1; n <= known; n++)
				if (report ~ "size " size[n] "\\)" && report ~ regex[n] && left[n]-- > 0) report = ""
			printf "%s", report
			report = ""
		}
		/^unreferenced object/ { judge() }
		{ report = report "kmemleak: " $0 "\n" }
		END { judge() }
	' /run/mlx5emu.known_leaks /run/mlx5emu.leaks
}

begin() {
	[ "$(functions | wc -l)" = "$(cat /run/mlx5emu.count)" ] || echo 1 >/sys/bus/pci/rescan
	[ "$(functions | wc -l)" = "$(cat /run/mlx5emu.count)" ] || { echo "a function is missing on the bus"; return 1; }
	for function in $(functions); do
		at=/sys/bus/pci/devices/$function
		[ ! -e "$at/reset_method" ] || echo default >"$at/reset_method"
		[ ! -e "$at/driver_override" ] || echo >"$at/driver_override"
		echo 1 >"$at/reset" || { echo "$function can't be reset"; return 1; }
	done
	net_settings >/run/mlx5emu.now
	comm -23 $settings /run/mlx5emu.now | while IFS= read -r line; do
		busybox sysctl -w "${line%% = *}=${line#* = }" >/dev/null 2>&1
	done
	rm -rf /tmp/* /run/capture.*
	begin_log
	load || { echo "the driver does not load"; return 1; }
	# What sits on it, as init does it.
	modprobe -abq $(cat /sys/bus/auxiliary/devices/*/modalias 2>/dev/null)
	return 0
}

"$@"
