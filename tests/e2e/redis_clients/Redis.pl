# Redis.pm of Perl. Arguments: host, port, the path of a Unix socket.
use strict;
use warnings;
use Redis;

sub check { my ($is_right, $what) = @_; die "$what\n" unless $is_right }

my ($host, $port, $path) = @ARGV;
my $tcp = Redis->new(server => "$host:$port");
my $local = Redis->new(sock => $path);

check($tcp->set(key => "a\0\r\n", "EX", 100) eq "OK", "set");
check($local->get("key") eq "a\0\r\n" && !defined $local->get("none"), "get");
check(!defined $tcp->set(key => "x", "NX"), "set nx");
eval { $tcp->incr("key") };
check($@ =~ /not an integer/, "incr of a text");
my @replies;
$local->incr("number", sub { push @replies, $_[0] }) for 1 .. 100;
$local->wait_all_responses;
check("@replies" eq "@{[1 .. 100]}", "pipeline");
$tcp->multi;
$tcp->incr("number");
check(($tcp->exec)[0] == 101, "multi");
$tcp->mset(a => 1, b => 2);
my @values = $tcp->mget("a", "none", "b");
check($values[0] == 1 && !defined $values[1] && $values[2] == 2, "mget");
check("@{[sort $tcp->keys('?')]}" eq "a b", "keys");
my $release = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end';
check($tcp->eval($release, 1, "a", 2) == 0 && $tcp->eval($release, 1, "a", 1) == 1, "eval");
my $heard = "";
$local->subscribe("news", sub { $heard = $_[0] });
$tcp->publish("news", "hello");
$local->wait_for_messages(10) until $heard;
check($heard eq "hello", "message");
