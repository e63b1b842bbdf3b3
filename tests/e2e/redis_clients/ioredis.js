// ioredis of Node.js. Arguments: host, port, the path of a Unix socket.
const Redis = require('ioredis');
const assert = require('assert');
const [host, port, path] = process.argv.slice(2);
const release = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end';

async function main() {
  const tcp = new Redis({ host, port: Number(port) });
  const local = new Redis(path);

  assert.equal(await tcp.set('key', 'a\0\r\n', 'EX', 100), 'OK');
  assert.equal(await local.get('key'), 'a\0\r\n');
  assert.equal(await tcp.get('none'), null);
  await assert.rejects(tcp.incr('key'), /not an integer/);
  const pipeline = local.pipeline();
  for (let n = 0; n < 100; n++) pipeline.incr('number');
  assert.deepEqual((await pipeline.exec()).map((reply) => reply[1]), Array.from({ length: 100 }, (_, n) => n + 1));
  assert.deepEqual(await tcp.multi().incr('number').get('none').exec(), [[null, 101], [null, null]]);
  await tcp.mset('a', '1', 'b', '2');
  assert.deepEqual(await tcp.mget('a', 'none', 'b'), ['1', null, '2']);
  const found = [];
  for await (const keys of tcp.scanStream({ match: '?' })) found.push(...keys);
  assert.deepEqual([...new Set(found)].sort(), ['a', 'b']);
  tcp.defineCommand('release', { numberOfKeys: 1, lua: release });
  assert.equal(await tcp.release('a', '2'), 0);
  assert.equal(await tcp.release('a', '1'), 1);
  const message = new Promise((resolve) => local.on('message', (_, text) => resolve(text)));
  await local.subscribe('news');
  await tcp.publish('news', 'hello');
  assert.equal(await message, 'hello');
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
