#!/bin/sh
# Start Redis for a farm in containers: deploy/redis/redis.conf for what is kept, users.acl.example for who may what.
# The password comes in FARM_REDIS_PASSWORD and goes no further than its SHA-256, into a file in memory.
set -eu
config=${FARM_REDIS_CONFIG:-/etc/farm/redis}
name=${FARM_NAME:-farm}
[ -n "${FARM_REDIS_PASSWORD:-}" ] || { echo "FARM_REDIS_PASSWORD must be set" >&2; exit 1; }

hash=$(printf %s "$FARM_REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
umask 077
# No admin: who administers is on the host of the container, and can stop it. Whoever is the farm's user stays that.
sed -e '/^user admin /d' -e "s/>CHANGE-farm/#$hash/" \
    -e "s/~farm:/~$name:/g" -e "s/&farm:/\&$name:/g" "$config/users.acl.example" > /run/redis/users.acl
unset FARM_REDIS_PASSWORD

# Within one private network of one host there is no TLS to end; all else is as in the file. $@ comes last, and wins.
exec redis-server "$config/redis.conf" --dir /data --aclfile /run/redis/users.acl \
  --bind 0.0.0.0 --tls-port 0 --port 6379 "$@"
