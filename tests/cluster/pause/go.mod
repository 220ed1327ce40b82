module lasthop.dev/tests/cluster/pause

go 1.24.0
