# For scenarios in which every firmware command of something fails in turn.

# What drivers say of commands that fail, and what they tell users of what they could not do.
tolerate '^\[ *[0-9.]+\] (mlx5_core|mlx5_ib|probe of) ' 'mlx5_cmd_out_err: [0-9]+ callbacks suppressed'

# sweep WHAT UNDO COMMAND…: every round of emu sweep is a point. There must be some: a command without firmware commands shows
# nothing.
sweep() {
	what=$1 undo=$2
	shift 2
	emu sweep --undo "$undo" --limit 60 -- "$@" >/run/sweep 2>&1
	rounds=0
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			rounds=$((rounds + 1))
			case $line in ok*) point 0 "$what, ${line#*- }" ;; *) point 1 "$what, ${line#*- }" ;; esac
			;;
		*) say "$line" ;;
		esac
	done </run/sweep
	planned=$(sed -n 's/^1\.\.//p' /run/sweep)
	check "$what: as many rounds as firmware commands (${planned:-none})" test "$rounds" = "${planned:-none}" -a "$rounds" -gt 0
}
