// redigo. Arguments: host, port, the path of a Unix socket.
package main

import (
	"log"
	"net"
	"os"
	"strings"

	"github.com/gomodule/redigo/redis"
)

const release = `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`

func check(right bool, what string) {
	if !right {
		log.Fatal(what)
	}
}

func dial(network, address string) redis.Conn {
	conn, err := redis.Dial(network, address)
	if err != nil {
		log.Fatal(err)
	}
	return conn
}

func main() {
	tcp := dial("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	local := dial("unix", os.Args[3])

	ok, _ := redis.String(tcp.Do("SET", "key", "a\x00\r\n", "EX", 100))
	value, _ := redis.String(local.Do("GET", "key"))
	check(ok == "OK" && value == "a\x00\r\n", "set, get")
	_, err := redis.String(tcp.Do("GET", "none"))
	check(err == redis.ErrNil, "get none")
	_, err = tcp.Do("INCR", "key")
	check(err != nil && strings.Contains(err.Error(), "not an integer"), "incr of a text")

	for i := 0; i < 100; i++ {
		_ = local.Send("INCR", "number")
	}
	_ = local.Flush()
	for i := 1; i <= 100; i++ {
		n, _ := redis.Int(local.Receive())
		check(n == i, "pipeline")
	}
	_ = tcp.Send("MULTI")
	_ = tcp.Send("INCR", "number")
	replies, err := redis.Ints(tcp.Do("EXEC"))
	check(err == nil && len(replies) == 1 && replies[0] == 101, "multi")

	script := redis.NewScript(1, release) // EVALSHA first, then EVAL
	_, _ = tcp.Do("SET", "lock", "token")
	other, _ := redis.Int(script.Do(tcp, "lock", "other"))
	own, _ := redis.Int(script.Do(tcp, "lock", "token"))
	check(other == 0 && own == 1, "script")

	subscriber := redis.PubSubConn{Conn: local}
	check(subscriber.Subscribe("news") == nil, "subscribe")
	subscriber.Receive()
	_, _ = tcp.Do("PUBLISH", "news", "hello")
	message, is := subscriber.Receive().(redis.Message)
	check(is && string(message.Data) == "hello", "message")
}
