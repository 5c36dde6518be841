# For scenarios in which every firmware command of something fails in turn.

# What drivers say of commands that fail, and what they tell users of what they could not do.
tolerate '^\[ *[0-9.]+\] ((mlx5_core|mlx5_ib)[.a-z]*|probe of) ' 'mlx5_cmd_out_err: [0-9]+ callbacks suppressed'

# known REGEX WHY: rounds that match are known to end like that, and why; they are no failures.
known=
known() {
	known="$known$1	$2
"
}

why_known() {
	printf '%s' "$known" | while IFS='	' read -r regex why; do
		if printf '%s\n' "$1" | grep -Eq "$regex"; then
			echo "$why"
			break
		fi
	done
}

# except REGEX: rounds whose name in the output is like that are left out.
excepted=
except() {
	excepted="$excepted$1
"
}

# except_steering FUNCTION: what kills a kernel, or makes lockdep switch itself off, when its flow steering begins. sweep/steering and
# sweep/arfs have these, in machines of their own.
except_steering() {
	except "(CREATE_FLOW_TABLE|SET_FLOW_TABLE_ROOT) of $1, number 1"
	except "CREATE_FLOW_GROUP of $1, number [2468]"
}

# sweep WHAT UNDO COMMAND…: (within $limit seconds, 60 if it is not set) every round of emu sweep is a point. There must be some: a command without firmware commands shows
# nothing. In the end the driver is loaded anew, for firmware may have refused to destroy something.
sweep() {
	what=$1 undo=$2
	shift 2
	set -- -- "$@"
	while read -r round; do
		[ -z "$round" ] || set -- --except "$round" "$@"
	done <<-EOF
	$excepted
	EOF
	# Each is told as it ends: what was found before the time is up is not lost.
	rm -f /run/sweep && mkfifo /run/sweep
	emu sweep --undo "$undo" --limit "${limit:-60}" "$@" >/run/sweep 2>&1 &
	rounds=0 planned=
	while read -r line; do
		case $line in
		1..*) planned=${line#1..} ;;
		"ok "*) rounds=$((rounds + 1)) && point 0 "$what, ${line#*- }" ;;
		"not ok "*)
			rounds=$((rounds + 1))
			why=$(why_known "$line")
			if [ -n "$why" ]; then
				todo "$why" point 1 "$what, ${line#*- }"
			else
				point 1 "$what, ${line#*- }"
			fi
			;;
		*) say "$line" ;;
		esac
	done </run/sweep
	check "$what: as many rounds as firmware commands (${planned:-none})" test "$rounds" = "${planned:-none}" -a "$rounds" -gt 0
	check "the driver unloads" unload
	check "and loads again" load
}

# with_lone_vf: sets $pf0; it has a VF without a driver, whose commands would be the PF's business only as far as they are about
# the VF.
with_lone_vf() {
	can_ask || skip_all "the card can't be asked"
	check "the driver loads" load
	set -- $(functions)
	pf0=$1
	[ -w "/sys/bus/pci/devices/$pf0/sriov_numvfs" ] || skip_all "the kernel has no SR-IOV"
	echo 0 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
	check "a VF comes, without its driver" sh -c "echo 1 >/sys/bus/pci/devices/$pf0/sriov_numvfs"
}

# sweep_mode MODE BACK: a change of the e-switch from BACK to MODE.
sweep_mode() {
	known 'MODIFY_FLOW_TABLE of pf0.*holds pf0: flow table' 'a table that cannot be disconnected is not destroyed, and nobody tries again'
	limit=120
	sweep "'$1'" "devlink dev eswitch show pci/$pf0 | grep -q 'mode $2' || devlink dev eswitch set pci/$pf0 mode $2" \
		devlink dev eswitch set "pci/$pf0" mode "$1"
}
