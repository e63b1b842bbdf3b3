# ruby-redis. Arguments: host, port, the path of a Unix socket.
require 'redis'

def check(is_right, what)
  abort what unless is_right
end

host, port, path = ARGV
tcp = Redis.new(host: host, port: port.to_i)
local = Redis.new(path: path)

check tcp.set("key", "a\0\r\n", ex: 100) == "OK", "set"
check local.get("key") == "a\0\r\n" && local.get("none").nil?, "get"
check (99..100).include?(tcp.ttl("key")), "ttl"
check tcp.set("key", "x", nx: true) == false, "set nx"
begin
  tcp.incr("key")
  abort "incr of a text"
rescue Redis::CommandError => error
  check error.message.include?("not an integer"), error.message
end
check local.pipelined { |pipeline| 100.times { pipeline.incr("number") } } == (1..100).to_a, "pipeline"
check tcp.multi { |transaction| transaction.incr("number"); transaction.get("none") } == [101, nil], "multi"
check tcp.watch("number") { local.incr("number"); tcp.multi { |t| t.set("number", 1) } }.nil?, "watch"
check tcp.mset("a", 1, "b", 2) == "OK" && tcp.mget("a", "none", "b") == ["1", nil, "2"], "mget"
check tcp.scan_each(match: "?").to_a.sort == ["a", "b"], "scan"
release = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end'
check tcp.eval(release, ["a"], ["2"]) == 0 && tcp.eval(release, ["a"], ["1"]) == 1, "eval"
heard = nil
local.subscribe("news") do |on|
  on.subscribe { tcp.publish("news", "hello") }
  on.message { |_, message| heard = message; local.unsubscribe }
end
check heard == "hello" && local.ping == "PONG", "subscribe"
