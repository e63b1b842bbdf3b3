// redis of Node.js, from version 4. Arguments: host, port, the path of a Unix socket.
const { createClient } = require('redis');
const assert = require('assert');
const [host, port, path] = process.argv.slice(2);
const release = 'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end';

async function main() {
  const tcp = createClient({ url: `redis://${host}:${port}`, name: 'tests' });
  const local = createClient({ socket: { path } });
  await Promise.all([tcp.connect(), local.connect()]);

  assert.equal(await tcp.set('key', 'a\0\r\n', { EX: 100 }), 'OK');
  assert.equal(await local.get('key'), 'a\0\r\n');
  assert.equal(await tcp.get('none'), null);
  assert.equal(await tcp.set('key', 'x', { NX: true }), null);
  await assert.rejects(tcp.incr('key'), /not an integer/);
  await assert.rejects(tcp.sendCommand(['LPUSH', 'list', '1']), /unknown command/);
  const numbers = await Promise.all(Array.from({ length: 100 }, () => local.incr('number')));
  assert.deepEqual(numbers, Array.from({ length: 100 }, (_, n) => n + 1));
  assert.deepEqual(await tcp.multi().incr('number').get('none').exec(), [101, null]);
  await tcp.mSet({ a: '1', b: '2' });
  assert.deepEqual(await tcp.mGet(['a', 'none', 'b']), ['1', null, '2']);
  const found = [];
  for await (const keys of tcp.scanIterator({ MATCH: '?' })) found.push(...[keys].flat());
  assert.deepEqual(found.sort(), ['a', 'b']);
  assert.equal(await tcp.eval(release, { keys: ['a'], arguments: ['2'] }), 0);
  assert.equal(await tcp.eval(release, { keys: ['a'], arguments: ['1'] }), 1);
  const message = new Promise((resolve) => local.subscribe('news', resolve).then(() => tcp.publish('news', 'hello')));
  assert.equal(await message, 'hello');
  await tcp.quit();
  await local.quit();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
