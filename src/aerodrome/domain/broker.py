"""What an environment may do at the broker that it shares with others."""

from __future__ import annotations

# What kombu's Redis transport sends, in the versions of the runtimes and of the control plane.
_BROKER_COMMANDS = (
    *("auth", "hello", "ping", "quit", "reset", "select", "client|setinfo", "client|setname", "client|id"),
    *(
        "multi",
        "exec",
        "discard",
        "watch",
        "unwatch",
        "eval",
        "evalsha",
        "script|load",
        "script|exists",
        "time",
        "info",
    ),
    *("get", "set", "del", "exists", "expire", "pexpire", "hget", "hset", "hdel", "hlen"),
    *("llen", "lpush", "rpush", "rpop", "lpop", "brpop", "lrange", "sadd", "srem", "smembers"),
    *("zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore"),
    *("publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"),
)


def broker_acl(user: str, password: str, prefix: str) -> list[str]:
    """Arguments of `ACL SETUSER`: the user reaches keys and channels below `prefix`, with the commands Celery uses.

    Whatever isn't listed is denied: no administration, no look at other clients. A pattern that is subscribed to must
    be allowed literally, so Celery's channel for remote control (of database 0) stands beside the general rule.
    """
    return [
        *(user, "reset", "on", f">{password}", f"~{prefix}*", f"&{prefix}*"),
        *(f"&{prefix}/0.celery.pidbox", "-@all"),
        *(f"+{command}" for command in _BROKER_COMMANDS),
    ]
