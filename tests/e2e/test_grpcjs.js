// Promise: an unmodified @grpc/grpc-js client can stream batches and rows, ask, be refused, cancel,
// meet deadlines, compress, use TLS, check health, and read the server's reflection.
//
// usage: node test_grpcjs.js TALLYD PROTO_DIR NODE_MODULES
'use strict';
const { spawn, execFileSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const [tallyd, protos, modules] = process.argv.slice(2);
const grpc = require(path.join(modules, '@grpc/grpc-js'));
const loader = require(path.join(modules, '@grpc/proto-loader'));

const options = { keepCase: true, longs: Number, defaults: true, oneofs: true, enums: String,
                  includeDirs: [protos] };
const load = (file) => grpc.loadPackageDefinition(loader.loadSync(file, options));
const tally = load('tally.proto').tally.v1;
const healthApi = load('health.proto').grpc.health.v1;
const reflectionApi = load('reflection_v1.proto').grpc.reflection.v1;

function assert(condition, ...what) {
  if (!condition)
    throw new Error('assertion failed: ' + what.map((w) => JSON.stringify(w)).join(' '));
}

class Server {
  static async start(args = []) {
    const s = new Server();
    s.data = fs.mkdtempSync(path.join(process.env.TMPDIR || os.tmpdir(), 'tally-js-'));
    s.process = spawn(tallyd, ['--data', path.join(s.data, 'db'), '--grpc', '127.0.0.1:0', ...args],
                      { stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    s.process.stderr.on('data', (d) => { log += d; });
    const line = await new Promise((resolve, reject) => {
      let text = '';
      s.process.stdout.on('data', (d) => {
        text += d;
        if (text.includes('\n')) resolve(text);
      });
      s.process.on('exit', (code) => reject(new Error(`ended with ${code}: ${log}`)));
    });
    s.address = /grpc=(\S+)/.exec(line)[1];
    s.ended = new Promise((resolve) => s.process.on('exit', resolve));
    return s;
  }
  async stop() {
    this.process.kill('SIGTERM');
    const code = await this.ended;
    fs.rmSync(this.data, { recursive: true, force: true });
    assert(code === 0, 'exit code', code);
  }
}

const insecure = grpc.credentials.createInsecure();
const bytes = (s) => Buffer.from(s);

function batch(rows, merchant, page) {
  const ts = [1700000000000000];
  for (let i = 1; i < rows; i++) ts.push(1000);
  return { table: bytes('events'), rows, columns: [
    { name: bytes('merchant_id'), ints: Array(rows).fill(merchant) },
    { name: bytes('ts'), ints: ts, delta: true },
    { name: bytes('event_name'), blob: bytes('pageview'), lengths: [8], codes: Array(rows).fill(0) },
    { name: bytes('path'), blob: bytes(page.repeat(rows)), lengths: Array(rows).fill(page.length) },
  ] };
}

// Sends all, resolves to the acknowledgements and the status.
function append(client, requests, method = 'Append', callOptions = {}) {
  return new Promise((resolve) => {
    const acks = [];
    const call = client[method](new grpc.Metadata(), callOptions);
    call.on('data', (a) => acks.push(a));
    call.on('error', () => {});
    call.on('status', (status) => resolve({ acks, status }));
    for (const r of requests) call.write(r);
    call.end();
  });
}

function column(c, rows) {
  let values = [];
  if (c.ints.length) {
    let last = 0;
    for (const v of c.ints) values.push(last = c.delta ? last + v : v);
  } else if (c.doubles.length) {
    values = c.doubles;
  } else if (c.bools.length) {
    values = [...c.bools].map(Boolean);
  } else {
    const texts = [];
    let at = 0;
    for (const n of c.lengths) texts.push(c.blob.subarray(at, at += n).toString());
    values = c.codes.length ? c.codes.map((k) => texts[k]) : texts;
  }
  assert(values.length === rows, values.length, rows);
  return values.map((v, i) => (c.validity.length && !(c.validity[i >> 3] >> (i & 7) & 1)) ? null : v);
}

function execute(client, sql, { params = [], deadline, cancelAfter, timeout_ms = 0 } = {}) {
  return new Promise((resolve, reject) => {
    const rows = [];
    let done = false;
    const call = client.Execute({ sql, params, timeout_ms }, deadline ? { deadline } : {});
    call.on('data', (m) => {
      if (m.batch) {
        const columns = m.batch.columns.map((c) => column(c, m.batch.rows));
        for (let i = 0; i < m.batch.rows; i++) rows.push(columns.map((c) => c[i]));
      }
      done = m.done;
    });
    call.on('error', reject);
    call.on('end', () => (done ? resolve(rows) : reject(new Error('the last message is missing'))));
    if (cancelAfter) setTimeout(() => call.cancel(), cancelAfter);
  });
}

async function fails(code, promise) {
  try {
    await promise;
  } catch (e) {
    assert(e.code === code, e.code, e.details || e.message);
    return e;
  }
  throw new Error(`no error, expected ${code}`);
}

const tests = {
  async append_and_query() {
    const s = await Server.start();
    const ingest = new tally.Ingest(s.address, insecure);
    const query = new tally.Query(s.address, insecure);
    const requests = [];
    for (let i = 1; i <= 20; i++)
      requests.push({ producer: bytes('js'), sequence: i, batch: batch(1000, 3, '/a'), import: true });
    let { acks, status } = await append(ingest, requests);
    assert(status.code === 0, status);
    assert(acks.length === 20 && acks.every((a, i) => a.code === 'OK' && a.sequence === i + 1 &&
                                                      a.rows === 1000), acks);
    ({ acks } = await append(ingest, requests));
    assert(acks.every((a) => a.duplicate), acks);
    const rows = await execute(query, 'SELECT merchant_id, path, count(*) FROM events GROUP BY 1, 2');
    assert(JSON.stringify(rows) === '[[3,"/a",20000]]', rows);
    const all = await execute(query, 'SELECT ts, path FROM events');
    assert(all.length === 20000 && all.every((r) => r[1] === '/a'), all.length);
    await s.stop();
  },

  async refusals_and_errors() {
    const s = await Server.start();
    const ingest = new tally.Ingest(s.address, insecure);
    const query = new tally.Query(s.address, insecure);
    const { acks } = await append(ingest, [
      { batch: { ...batch(10, 1, '/'), table: bytes('nowhere') } },
      { batch: { ...batch(10, 1, '/'), rows: 11 } },
      { sequence: 1 },
    ]);
    assert(acks.map((a) => a.code).join() === 'NOT_FOUND,INVALID,INVALID', acks);
    const e = await fails(grpc.status.INVALID_ARGUMENT, execute(query, 'SELEC'));
    assert(e.metadata.get('tally-sqlstate')[0] === '42601', e.metadata);
    await fails(grpc.status.NOT_FOUND, execute(query, 'SELECT 1 FROM nowhere'));
    await s.stop();
  },

  async rows() {
    const s = await Server.start();
    const ingest = new tally.Ingest(s.address, insecure);
    const query = new tally.Query(s.address, insecure);
    const field = (name, v) => ({ name: bytes(name), ...v });
    const { acks, status } = await append(ingest, [{ producer: bytes('p'), sequence: 1, events: [
      { fields: [field('merchant_id', { int: 5 }), field('ts', { text: bytes('2024-05-01 10:00:00+00') }),
                 field('event_name', { text: bytes('signup') }),
                 field('props', { props: { props: [{ key: bytes('plan'), value: bytes('pro') }] } })] },
      { fields: [field('merchant_id', { text: bytes('five') }), field('ts', { int: 1 })] },
    ] }], 'AppendEvents');
    assert(status.code === 0 && acks[0].rows === 1 && acks[0].refused === 1 &&
           acks[0].refusals[0].row === 1, acks);
    const rows = await execute(query, "SELECT event_name, props['plan'], ts FROM events");
    assert(JSON.stringify(rows) === '[["signup","pro",1714557600000000]]', rows);
    await s.stop();
  },

  async deadline_and_cancel() {
    const s = await Server.start();
    const ingest = new tally.Ingest(s.address, insecure);
    const query = new tally.Query(s.address, insecure);
    const requests = [];
    for (let i = 0; i < 30; i++) requests.push({ batch: batch(20000, 1, '/page-' + i), import: true });
    const { acks } = await append(ingest, requests);
    assert(acks.every((a) => a.rows === 20000), acks[0]);
    const slow = 'SELECT ts, path, count(*) FROM events GROUP BY 1, 2 ORDER BY 2, 1';
    await fails(grpc.status.DEADLINE_EXCEEDED, execute(query, slow, { deadline: Date.now() + 15 }));
    await fails(grpc.status.DEADLINE_EXCEEDED, execute(query, slow, { timeout_ms: 5 }));
    await fails(grpc.status.CANCELLED, execute(query, slow, { cancelAfter: 30 }));
    const rows = await execute(query, 'SELECT count(*) FROM events');
    assert(rows[0][0] === 600000, rows);
    await s.stop();
  },

  async gzip() {
    const s = await Server.start();
    const ingest = new tally.Ingest(s.address, insecure, {
      'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip });
    const { acks, status } = await append(ingest, [{ batch: batch(5000, 1, '/z'), import: true }]);
    assert(status.code === 0 && acks[0].rows === 5000, status, acks);
    await s.stop();
  },

  async tls() {
    const folder = fs.mkdtempSync(path.join(process.env.TMPDIR || os.tmpdir(), 'tally-tls-'));
    const cert = path.join(folder, 'c.pem'), key = path.join(folder, 'k.pem');
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key,
                             '-out', cert, '-subj', '/CN=localhost', '-addext',
                             'subjectAltName=DNS:localhost,IP:127.0.0.1'], { stdio: 'ignore' });
    const s = await Server.start(['--tls-cert', cert, '--tls-key', key]);
    const credentials = grpc.credentials.createSsl(fs.readFileSync(cert));
    const ingest = new tally.Ingest(s.address, credentials);
    const { acks, status } = await append(ingest, Array.from({ length: 10 }, () => (
      { batch: batch(20000, 1, '/tls'), import: true })));
    assert(status.code === 0 && acks.length === 10 && acks.every((a) => a.rows === 20000), status);
    ingest.close();
    await s.stop();
    fs.rmSync(folder, { recursive: true });
  },

  async health_and_reflection() {
    const s = await Server.start();
    const health = new healthApi.Health(s.address, insecure);
    const check = await new Promise((resolve, reject) =>
      health.Check({ service: 'tally.v1.Query' }, (e, r) => (e ? reject(e) : resolve(r))));
    assert(check.status === 'SERVING', check);
    const reflection = new reflectionApi.ServerReflection(s.address, insecure);
    const names = await new Promise((resolve, reject) => {
      const call = reflection.ServerReflectionInfo();
      call.on('data', (r) => resolve(r.list_services_response.service.map((x) => x.name)));
      call.on('error', reject);
      call.write({ list_services: '*' });
      call.end();
    });
    assert(names.includes('tally.v1.Ingest') && names.includes('grpc.health.v1.Health'), names);
    await s.stop();
  },

  async drain() {
    const s = await Server.start();
    const ingest = new tally.Ingest(s.address, insecure);
    const status = await new Promise((resolve) => {
      const call = ingest.Append();
      let acks = 0;
      call.on('data', (a) => {
        assert(a.code === 'OK', a);
        if (++acks === 10) s.process.kill('SIGTERM');
      });
      call.on('error', () => {});
      call.on('status', resolve);
      const timer = setInterval(() => call.write({ batch: batch(10, 1, '/d'), import: true }), 2);
      call.on('status', () => clearInterval(timer));
    });
    assert(status.code === grpc.status.UNAVAILABLE, status);
    await s.stop();
  },
};

(async () => {
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    const started = Date.now();
    try {
      await Promise.race([test(), new Promise((_, no) => setTimeout(() => no(new Error('60 s')), 60000))]);
      console.log(`ok   ${name.padEnd(40)} ${((Date.now() - started) / 1000).toFixed(2)} s`);
    } catch (e) {
      console.log(`FAIL ${name}: ${e.stack}`);
      failed++;
    }
  }
  process.exit(failed ? 1 : 0);
})();
