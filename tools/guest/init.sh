#!/bin/sh
# PID 1 of the test guest: sets up a bare system, then runs commands for the host (the
# agent's protocol is described in doc.go).
export PATH=/usr/sbin:/usr/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /tmp /mnt /run
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
ip link set lo up 2>/dev/null

while read -r module; do
	insmod "/modules/$module.ko" || echo "guest: $module did not load"
done </modules/order

# The port appears some moments after its driver.
find_port() {
	for name in /sys/class/virtio-ports/*/name; do
		[ -e "$name" ] && [ "$(cat "$name")" = belay.agent ] || continue
		name=${name%/name}
		echo "/dev/${name##*/}"
		return 0
	done
	return 1
}
tries=0
until port=$(find_port); do
	tries=$((tries + 1))
	[ $tries -lt 600 ] || { echo 'guest: no agent port'; poweroff -f; }
	sleep 0.05
done
exec 3<>"$port"

# Answers are written whole, one at a time.
reply() {
	flock /tmp/reply.lock cat "$1" >&3
}

run() {
	id=$1
	echo "$2" | base64 -d >"/tmp/$id.sh"
	sh "/tmp/$id.sh" >"/tmp/$id.out" 2>&1 3>&- </dev/null
	code=$?
	{
		printf '\ndone %s %s ' "$id" "$code"
		tail -c 262144 "/tmp/$id.out" | base64 -w 0
		echo
	} >"/tmp/$id.reply"
	reply "/tmp/$id.reply"
	rm -f "/tmp/$id".*
}

printf '\nhello %s\n' "$(cat /proc/sys/kernel/random/boot_id)" >/tmp/hello
reply /tmp/hello
while read -r id script end <&3; do
	[ "$end" = . ] || continue
	run "$id" "$script" &
done
# The host closed the port: nobody is left to serve.
poweroff -f
