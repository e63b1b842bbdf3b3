<?php
// The extension redis of PHP, and its session handler. Arguments: host, port, the path of a Unix socket.
function check($is_right, $what)
{
    if (!$is_right) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}

[, $host, $port, $path] = $argv;
$tcp = new Redis();
check($tcp->connect($host, (int) $port), "TCP");
$local = new Redis();
check($local->connect($path), "Unix socket");

check($tcp->set("key", "a\0\r\n", ["ex" => 100]) === true, "set");
check($local->get("key") === "a\0\r\n" && $local->get("none") === false, "get");
check(in_array($tcp->ttl("key"), [99, 100]), "ttl");
check($tcp->set("key", "x", ["nx"]) === false, "set nx");
check($tcp->incr("key") === false && strpos($tcp->getLastError(), "not an integer"), "incr of a text");
check($local->multi(Redis::PIPELINE)->incr("n")->incr("n")->exec() === [1, 2], "pipeline");
check($tcp->multi()->incr("n")->get("none")->exec() === [3, false], "multi");
$tcp->watch("n");
$local->incr("n");
check($tcp->multi()->set("n", 1)->exec() === false, "watch");
check($tcp->mset(["a" => 1, "b" => 2]) && $tcp->mget(["a", "none", "b"]) === ["1", false, "2"], "mget");
$found = [];
$cursor = null;
while (($keys = $tcp->scan($cursor, "?")) !== false) {
    $found = array_merge($found, $keys);
}
sort($found);
check(array_unique($found) == ["a", "b", "n"], "scan");
$release = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end';
check($tcp->eval($release, ["a", "2"], 1) === 0 && $tcp->eval($release, ["a", "1"], 1) === 1, "eval");

ini_set("session.save_handler", "redis");
ini_set("session.save_path", "tcp://$host:$port");
ini_set("redis.session.locking_enabled", "1");
session_id("visitor");
session_start();
$_SESSION["name"] = "Ada";
session_write_close();
check($tcp->get("PHPREDIS_SESSION:visitor") === 'name|s:3:"Ada";', "session");
session_start();
check($_SESSION["name"] === "Ada" && session_destroy(), "session again");
check($tcp->keys("PHPREDIS_SESSION:*") === [], "session destroyed");

